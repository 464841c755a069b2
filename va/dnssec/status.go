// Package dnssec validates DNS answers by RFC 4035 section 5, RFC 5155 and RFC 6840.
//
// It is pure: messages, trust anchors, limits and the time come in as arguments, and a verdict with its reason comes out.
// The same code therefore proves an answer when it arrives and proves it again, years later, from the record.
package dnssec

import "fmt"

// Status is the security status of an answer (RFC 4035 section 4.3). The zero value is no status: it never stands for an
// answer that may be used.
type Status uint8

const (
	// Secure: a chain of signatures leads from a trust anchor to this answer.
	Secure Status = iota + 1
	// Insecure: a signed proof shows that the chain of signatures ends above this answer.
	Insecure
	// Bogus: a chain should exist and does not hold.
	Bogus
	// Failure: no answer could be had, or a limit was reached. RFC 4035 calls the first "indeterminate".
	Failure
)

// statusNames has "" for what is no status.
var statusNames = [...]string{Secure: "secure", Insecure: "insecure", Bogus: "bogus", Failure: "failure"}

func (s Status) name() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return ""
}

// Usable tells whether an answer of this status may be relied upon: only secure and insecure ones.
func (s Status) Usable() bool { return s == Secure || s == Insecure }

// String gives the field's term in lower case, or "no status" for a value that is none.
func (s Status) String() string {
	if n := s.name(); n != "" {
		return n
	}
	return "no status"
}

// AppendText and MarshalText give the field's term; a value that is no status is an error.
func (s Status) AppendText(b []byte) ([]byte, error) {
	n := s.name()
	if n == "" {
		return nil, fmt.Errorf("dnssec: %d is no status", uint8(s))
	}
	return append(b, n...), nil
}

// MarshalText is AppendText's.
func (s Status) MarshalText() ([]byte, error) { return s.AppendText(nil) }

// UnmarshalText reads the field's term and refuses everything else.
func (s *Status) UnmarshalText(text []byte) error {
	for v, n := range statusNames {
		if n != "" && n == string(text) {
			*s = Status(v)
			return nil
		}
	}
	return fmt.Errorf("dnssec: %q is no status (secure, insecure, bogus, failure)", text)
}

// Reason says why an answer has its status.
type Reason struct {
	// Code is stable and machine-readable, in lower case with dots, for example "dnssec.signature-expired" or
	// "dns.timeout". It is empty for a secure answer.
	Code string `json:"code,omitempty"`
	// EDE is the extended DNS error of RFC 8914 that fits best, and 0 ("Other") where none does.
	EDE uint16 `json:"ede,omitempty"`
	// Text is one sentence for a person; it names the zone, the owner and the type concerned.
	Text string `json:"text"`
}
