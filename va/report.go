package va

import (
	"iter"
	"slices"
	"time"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Report is one perspective's account of one probe.
type Report struct {
	// Perspective is what the perspective calls itself. It is never used to identify it: see mpic.Attestation.
	Perspective string `json:"perspective"`
	// Software is the program and its version.
	Software string `json:"software"`
	// Attempt, Nonce and Digest are the probe's; a report that repeats others speaks for another probe.
	Attempt string `json:"attempt"`
	Nonce   string `json:"nonce"`
	Digest  string `json:"digest"`
	// Started and Finished are UTC by the perspective's clock.
	Started  time.Time  `json:"started"`
	Finished time.Time  `json:"finished"`
	DCV      DCVFinding `json:"dcv"`
	CAA      CAAFinding `json:"caa"`
	// Resolver says how the perspective's resolver was set: trust anchors, limits, clock slack.
	Resolver resolver.Settings `json:"resolver"`
	// Sets are the records that the proofs of the lookups rest on. They are no part of the report's JSON form, and of what is
	// signed: the proofs name them by their digests, and they are sent and stored beside it, each once.
	Sets dnssec.Sets `json:"-"`
}

// Lookups gives all lookups of a report, to be read.
func (r *Report) Lookups() []*resolver.Lookup {
	return slices.Collect(r.EachLookup())
}

// EachLookup visits them.
func (r *Report) EachLookup() iter.Seq[*resolver.Lookup] {
	return func(yield func(*resolver.Lookup) bool) {
		for _, lookups := range [...][]resolver.Lookup{r.DCV.Lookups, r.CAA.Lookups} {
			for i := range lookups {
				if !yield(&lookups[i]) {
					return
				}
			}
		}
		for i := range r.CAA.Failures {
			f := &r.CAA.Failures[i]
			if !yield(&f.Retry) || !yield(&f.DS) || !yield(&f.Control) {
				return
			}
		}
	}
}

// WithoutOctets gives a copy of a report whose lookups are without octets and proofs.
func (r Report) WithoutOctets() Report {
	r.DCV.Lookups, r.CAA.Lookups, r.CAA.Failures = slices.Clone(r.DCV.Lookups), slices.Clone(r.CAA.Lookups), slices.Clone(r.CAA.Failures)
	for _, l := range r.Lookups() {
		*l = l.WithoutOctets()
	}
	r.Sets = nil
	return r
}

// lately is how far back Needs looks for what it has: the lookups of a report rest on much the same records.
const lately = 16

// Needs gives the digests of the records that the proofs of a report rest on, each once and in order.
func (r *Report) Needs() []string {
	var needs []string
	for l := range r.EachLookup() {
		for i := range l.Proof {
			if sum := l.Proof[i].Records; sum != "" && !slices.Contains(needs[max(0, len(needs)-lately):], sum) {
				needs = append(needs, sum)
			}
		}
	}
	slices.Sort(needs)
	return slices.Compact(needs)
}

// Choose puts what the proofs of a report rest on from one collection into another, and names what is missing there, if anything is.
func (r *Report) Choose(into, from dnssec.Sets) (missing string) {
	for l := range r.EachLookup() {
		for i := range l.Proof {
			sum := l.Proof[i].Records
			if sum == "" {
				continue
			}
			if octets, ok := from[sum]; ok {
				into[sum] = octets
			} else if missing == "" {
				missing = sum
			}
		}
	}
	return missing
}

// DCVFinding is what one perspective found of the applicant's control.
type DCVFinding struct {
	Outcome Outcome `json:"outcome"`
	// Problem is nil exactly when Outcome is Pass or NotChecked.
	Problem *Problem `json:"problem,omitempty"`
	// Queried is the name whose record or host was examined: the FQDN, or its _acme-challenge label for dns-01. No
	// trailing dot. Where nothing was checked it is empty, and so is all that follows but the times.
	Queried string `json:"queried"`
	// Observed is the challenge information that was seen (MPIC-10): the key authorization for http-01, the TXT value for
	// dns-01, the acmeIdentifier digest in hexadecimal for tls-alpn-01. Set when Outcome is Pass; at most 1 KiB, cut, of what
	// was there instead when it is Fail.
	Observed string `json:"observed,omitempty"`
	// Lookups are all, in the order of their use: for dns-01 the one for TXT, otherwise two for each fetch or handshake, of its
	// host's AAAA and A records. mpic.Judge takes them by their places.
	Lookups    []resolver.Lookup `json:"lookups,omitempty"`
	Fetches    []Fetch           `json:"fetches,omitempty"`
	Handshakes []Handshake       `json:"handshakes,omitempty"`
	Started    time.Time         `json:"started"`
	Finished   time.Time         `json:"finished"`
}

// Fetch is one HTTP request of http-01: the first, or one that a redirect asked for.
type Fetch struct {
	URL string `json:"url"`
	// Address is the IP address and port dialled: the very one that was checked. Empty when none could be.
	Address string `json:"address,omitempty"`
	// Considered are all addresses that the lookups gave, in the order of preference.
	Considered []string `json:"considered,omitempty"`
	// Status is the HTTP status code, 0 when no response came.
	Status int `json:"status,omitempty"`
	// Location is the redirect's target as received.
	Location string `json:"location,omitempty"`
	// ContentType and Bytes describe the body; Body is its first 1 KiB at most.
	ContentType string `json:"content_type,omitempty"`
	Bytes       int    `json:"bytes,omitempty"`
	Body        string `json:"body,omitempty"`
	// Certificate is the SHA-256 of the server's certificate in hexadecimal, for https.
	Certificate  string  `json:"certificate,omitempty"`
	Milliseconds float64 `json:"ms"`
	Error        string  `json:"error,omitempty"`
}

// Handshake is one TLS handshake of tls-alpn-01.
type Handshake struct {
	Address    string   `json:"address"`
	Considered []string `json:"considered,omitempty"`
	ServerName string   `json:"server_name"`
	// Version and Protocol are what was negotiated, for example "TLS 1.3" and "acme-tls/1".
	Version  string `json:"version,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	// Certificates are the SHA-256 digests, in hexadecimal, of the certificates that the server sent, ten at most.
	Certificates []string `json:"certificates,omitempty"`
	// Names are the leaf's subject alternative names, ten at most.
	Names        []string `json:"names,omitempty"`
	Milliseconds float64  `json:"ms"`
	Error        string   `json:"error,omitempty"`
}

// NotChecked tells whether a finding says that DCV was not asked for, and nothing else.
func (f DCVFinding) NotChecked() bool {
	return f.Outcome == NotChecked && f.Problem == nil && f.Queried == "" && f.Observed == "" &&
		len(f.Lookups) == 0 && len(f.Fetches) == 0 && len(f.Handshakes) == 0
}

// NotChecked tells whether a finding says that CAA was not asked for, and nothing else.
func (f CAAFinding) NotChecked() bool {
	return f.Outcome == NotChecked && f.Problem == nil && f.Name == "" && f.Found == "" && f.Permits == "" && f.TTL == 0 &&
		f.FreshUntil.IsZero() && len(f.Records) == 0 && len(f.Lookups) == 0 && len(f.Failures) == 0
}

// CAAFinding is what one perspective found of the permission to issue.
type CAAFinding struct {
	Outcome Outcome `json:"outcome"`
	// Problem is nil exactly when Outcome is Pass or NotChecked. Where nothing was checked all that follows but the times is empty.
	Problem *Problem `json:"problem,omitempty"`
	// Name is the FQDN that was checked, as the lookups themselves report it.
	Name string `json:"name"`
	// Found is the name at which the relevant RRset stands (RFC 8659 section 3), without trailing dot; empty when the climb
	// ended without one.
	Found string `json:"found,omitempty"`
	// Records is the relevant RRset in presentation format.
	Records []string `json:"records,omitempty"`
	// Permits is the property that permitted, in presentation format; empty when there is no relevant RRset or nothing permits.
	Permits string `json:"permits,omitempty"`
	// TTL is the relevant RRset's, in seconds; FreshUntil is when the finding is too old to rely upon (CAA-05): the TTL or 8
	// hours after Started, whichever is greater.
	TTL        uint32    `json:"ttl"`
	FreshUntil time.Time `json:"fresh_until"`
	// Lookups are those of the climb, one for each name from Name up to Found or the top-level domain, in this order.
	Lookups []resolver.Lookup `json:"lookups,omitempty"`
	// Failures has, for each of Lookups that failed in a way that might be excused, what was asked further, in their order.
	// It is empty unless the probe's CAALookupFailure is PermitProvenFailure.
	Failures []LookupFailure `json:"failures,omitempty"`
	Started  time.Time       `json:"started"`
	Finished time.Time       `json:"finished"`
}

// LookupFailure is what was asked after a CAA lookup had failed, to see whether BR 3.2.2.8 lets that count as permission
// (CAA-06). It is no verdict: Excuse gives one.
type LookupFailure struct {
	// Name is the name whose CAA lookup failed, without trailing dot.
	Name string `json:"name"`
	// Retry is the same question once more, as a complete lookup of its own. Where it was answered, the answer counts.
	Retry resolver.Lookup `json:"retry"`
	// DS is the question for the DS records of the zone at which the chain of trust ended.
	DS resolver.Lookup `json:"ds"`
	// Control is the question for the root's SOA record, which others answer than those that failed.
	Control resolver.Lookup `json:"control"`
}
