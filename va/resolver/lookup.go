package resolver

import (
	"slices"
	"time"

	"github.com/quorate/quorate/va/dnssec"
)

// Lookup is the account of one resolution: what was asked, what came back, from whom, and why it has its status. It is
// what `quorate resolve --json` prints and what a report keeps as evidence.
type Lookup struct {
	// Name is the question's name: lower case, absolute, with the trailing dot.
	Name string `json:"name"`
	// Type is the question's type by its mnemonic, for example "CAA".
	Type   string        `json:"type"`
	Status dnssec.Status `json:"status"`
	// Rcode is the response code by its mnemonic ("NOERROR", "NXDOMAIN"), and empty where no answer was had.
	Rcode string `json:"rcode"`
	// Answers are the records of the answer in presentation format: the aliases followed, in order, then the records of
	// the type asked. Empty unless Status is usable.
	Answers []string `json:"answers"`
	// TTL is the smallest TTL of Answers in seconds, never above what a signature vouches for; 0 without answers.
	TTL uint32 `json:"ttl"`
	// Why is one sentence that gives the reason of Status.
	Why string `json:"why"`
	// Code is dnssec.Reason's stable code; empty for a secure answer.
	Code string `json:"code,omitempty"`
	// EDE is the extended DNS error (RFC 8914) that fits, if any.
	EDE uint16 `json:"ede,omitempty"`
	// Upstream is the recursive resolver that was asked, as "192.0.2.53:53"; empty where the lookup began at the root's servers.
	Upstream string `json:"upstream,omitempty"`
	// Queries are all packets sent for this lookup, in the order sent, failures included.
	Queries []Query `json:"queries"`
	// Chain is the chain of trust from the anchor down to the zone of the answer (of each answer, where there are aliases).
	Chain []Link `json:"chain"`
	// Proof is what Status rests on, stage by stage: see Prove. A status of bogus or failure has the proof as far as it went,
	// and none where no records were judged.
	Proof []dnssec.Stage `json:"proof,omitempty"`
	// Started and Finished are UTC.
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
}

// WithoutOctets gives a copy for people and programs that do not audit: without the octets of messages and without the proof.
func (l Lookup) WithoutOctets() Lookup {
	l.Proof = nil
	l.Queries = slices.Clone(l.Queries)
	for i := range l.Queries {
		l.Queries[i].Query, l.Queries[i].Response = nil, nil
	}
	return l
}

// Query is one query sent to one name server.
type Query struct {
	// At is when it was sent; UTC.
	At time.Time `json:"at"`
	// Server is the address and port asked, for example "192.0.2.1:53".
	Server string `json:"server"`
	// Transport is "udp" or "tcp".
	Transport string `json:"transport"`
	// Question is "name TYPE".
	Question string `json:"question"`
	// Rcode is the mnemonic, and empty where no acceptable response came.
	Rcode string `json:"rcode,omitempty"`
	// Milliseconds until the response or the failure.
	Milliseconds float64 `json:"ms"`
	// Error says why the response was not used: a time-out, a wrong question, a lame server.
	Error string `json:"error,omitempty"`
	// Query and Response are the octets of the DNS messages, without the length that precedes them over TCP. Response is the
	// last that came, whether or not it was used.
	Query    []byte `json:"query,omitempty"`
	Response []byte `json:"response,omitempty"`
}

// Link is one step of the chain of trust: a zone, and how its keys were established.
type Link struct {
	Zone string `json:"zone"`
	// DS and DNSKEY are key tags; for the zone of a trust anchor DS holds the anchors' tags.
	DS     []uint16 `json:"ds,omitempty"`
	DNSKEY []uint16 `json:"dnskey,omitempty"`
	// Algorithm is the mnemonic of the algorithm that signed the zone's keys, for example "ECDSAP256SHA256".
	Algorithm string `json:"algorithm,omitempty"`
	// Until is when the signature over the zone's keys expires; UTC.
	Until time.Time `json:"until,omitzero"`
	// Result is the status of the zone.
	Result dnssec.Status `json:"result"`
	// Why gives the reason where Result is not secure: which proof ended the chain, or what failed.
	Why string `json:"why,omitempty"`
}
