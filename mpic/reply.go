package mpic

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// Reply is a remote's signed reply, and the report that was read from its payload. Only ReadReply and the record make one, so that
// the report is the one that was signed: what Judge reads now is what the record gives back later. Whose signature it is, and
// whether it holds, is perspective.Verify's to say.
type Reply struct {
	signed string
	report va.Report
}

// ReadReply reads the report in a compact JWS (RFC 7515 section 7.1), as va.Report.UnmarshalJSON does.
func ReadReply(signed string) (*Reply, error) {
	_, payload, _, err := parts(signed)
	if err != nil {
		return nil, err
	}
	return newReply(signed, payload)
}

func newReply(signed string, payload []byte) (*Reply, error) {
	r := &Reply{signed: signed}
	if err := r.report.UnmarshalJSON(payload); err != nil {
		return nil, err
	}
	return r, nil
}

// Signed gives the reply as it was received.
func (r *Reply) Signed() string { return r.signed }

// Report gives a copy of the report, to be read.
func (r *Reply) Report() va.Report { return r.report }

// Supply gives the report the records that its proofs rest on, which are not part of what is signed. It is an error if one of them
// is missing, or has another digest.
func (r *Reply) Supply(sets dnssec.Sets) error { return supply(&r.report, sets) }

// complete is an error where they are not there. Nothing but Supply gives a reply any, and it gives all.
func (r *Reply) complete() error {
	if r.report.Sets != nil {
		return nil
	}
	return r.Supply(nil)
}

// Answers tells whether the report of an attestation is the very one that was read from its signed reply.
func (a Attestation) Answers() bool {
	return a.Reply != nil && a.Report == &a.Reply.report && a.Signed == a.Reply.signed
}

// parts takes a compact JWS apart. It takes only base64url that would be written again in the same way.
func parts(signed string) (protected string, payload []byte, signature string, err error) {
	protected, rest, _ := strings.Cut(signed, ".")
	encoded, signature, found := strings.Cut(rest, ".")
	if !found || strings.Contains(signature, ".") {
		return "", nil, "", errors.New("it is no compact JWS")
	}
	if payload, err = base64.RawURLEncoding.Strict().DecodeString(encoded); err != nil || strings.ContainsAny(encoded, "\r\n") {
		return "", nil, "", errors.New("its payload is not base64url")
	}
	return protected, payload, signature, nil
}

// flattened is a signed reply as the record keeps it: the members of RFC 7515 section 7.2.2, but the payload as the JSON text that
// was signed, octet for octet, so that it can be read and searched without decoding.
type flattened struct {
	Protected string          `json:"protected"`
	Payload   json.RawMessage `json:"payload"`
	Signature string          `json:"signature"`
}

// readFlattened reads what MarshalJSON writes. A text that is set otherwise, as by a tool that indents, is read too, only slower;
// whether the signature still holds is seen later.
func readFlattened(text []byte) (f flattened, err error) {
	if f, ok := cutFlattened(text); ok {
		return f, nil
	}
	err = json.Unmarshal(text, &f)
	return f, err
}

// cutFlattened takes what MarshalJSON writes apart. Whether the payload is one JSON value is for its reader to find.
func cutFlattened(text []byte) (flattened, bool) {
	const first, second, third = `{"protected":"`, `","payload":`, `,"signature":"`
	start, end := bytes.Index(text, []byte(second)), bytes.LastIndex(text, []byte(third))
	if !bytes.HasPrefix(text, []byte(first)) || !bytes.HasSuffix(text, []byte(`"}`)) || start < len(first) || end < start+len(second) {
		return flattened{}, false
	}
	if end+len(third) > len(text)-2 {
		return flattened{}, false
	}
	f := flattened{string(text[len(first):start]), text[start+len(second) : end], string(text[end+len(third) : len(text)-2])}
	return f, plain.MatchString(f.Protected) && plain.MatchString(f.Signature)
}

// plain is base64url.
var plain = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)

// compact gives the JWS as it was received.
func (f flattened) compact() string {
	return f.Protected + "." + base64.RawURLEncoding.EncodeToString(f.Payload) + "." + f.Signature
}

// attestation is the JSON form of an Attestation, but for Signed.
type attestation Attestation

type keptAttestation[S any] struct {
	attestation
	Report *va.Report `json:"report,omitempty"`
	Signed S          `json:"signed,omitempty"`
}

// MarshalJSON and UnmarshalJSON serve the record: a report that was signed is kept once, as it was signed. It stands there as JSON
// where its octets survive that, and otherwise in the string that was received.
func (a Attestation) MarshalJSON() ([]byte, error) {
	k := keptAttestation[any]{attestation: attestation(a), Report: a.Report}
	if a.Signed == "" {
		return json.Marshal(k)
	}
	if a.State == Answered {
		k.Report = nil
	}
	if protected, payload, signature, err := parts(a.Signed); err == nil && bytes.HasPrefix(payload, []byte("{")) {
		k.Signed = flattened{protected, payload, signature}
		// Written again, a text is shorter or longer than before, or the same.
		if b, err := json.Marshal(k); err == nil && bytes.Contains(b, payload) {
			return b, nil
		}
	}
	k.Signed = a.Signed
	return json.Marshal(k)
}

// readAnswer reads an answer in the form that MarshalJSON writes, without going over the report more than once. False is for
// everything else. What it takes is JSON, and what UnmarshalJSON would read: what stands before the signed reply is an object without
// one, and the payload, which is read as one value to its end, stands between two members that cannot be anything else.
func (a *Attestation) readAnswer(b []byte) bool {
	const member = `"signed":`
	start := bytes.Index(b, []byte(","+member+`{"protected":"`))
	if start < 1 || b[start-1] != '"' || !bytes.HasSuffix(b, []byte(`"}}`)) {
		return false
	}
	f, ok := cutFlattened(b[start+1+len(member) : len(b)-1])
	if !ok {
		return false
	}
	var k keptAttestation[json.RawMessage]
	if json.Unmarshal(append(b[:start:start], '}'), &k) != nil || k.State != Answered || k.Report != nil || k.Signed != nil {
		return false
	}
	signed := f.compact()
	reply, err := newReply(signed, f.Payload)
	if err != nil {
		return false
	}
	*a = Attestation(k.attestation)
	a.Signed, a.Reply, a.Report = signed, reply, &reply.report
	return true
}

// UnmarshalJSON reads the report in Signed. It refuses another one beside it. The signature is for who audits to check.
func (a *Attestation) UnmarshalJSON(b []byte) error {
	if a.readAnswer(b) {
		return nil
	}
	return a.readAny(b)
}

func (a *Attestation) readAny(b []byte) error {
	var k keptAttestation[json.RawMessage]
	if err := json.Unmarshal(b, &k); err != nil {
		return err
	}
	*a = Attestation(k.attestation)
	a.Report = k.Report
	var payload []byte
	switch {
	case bytes.HasPrefix(k.Signed, []byte("{")):
		f, err := readFlattened(k.Signed)
		if err != nil {
			return err
		}
		a.Signed, payload = f.compact(), f.Payload
	case len(k.Signed) > 0:
		if err := json.Unmarshal(k.Signed, &a.Signed); err != nil {
			return err
		}
	}
	if a.State != Answered || a.Signed == "" {
		return nil
	}
	if a.Report != nil {
		return fmt.Errorf("mpic: the answer of %s has a report beside the one that was signed", a.Perspective)
	}
	var err error
	if payload != nil {
		a.Reply, err = newReply(a.Signed, payload)
	} else {
		a.Reply, err = ReadReply(a.Signed)
	}
	if err != nil {
		return fmt.Errorf("mpic: the signed reply of %s holds no report: %w", a.Perspective, err)
	}
	a.Report = &a.Reply.report
	return nil
}
