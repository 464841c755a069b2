package mpic

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// Reply is a remote's signed reply, its payload, and the report that was read from it. Only ReadReply, Compact and the record make one, so
// that the report is the one that was signed: what Judge reads now is what the record gives back later. Whose signature it is, and
// whether it holds, is perspective.Verify's to say.
type Reply struct {
	signed  string
	payload string
	report  va.Report
}

// Compact is a compact JWS (RFC 7515 section 7.1) taken apart, once for all who read of it. Only CutCompact and a Reply make one.
type Compact struct {
	signed, header, payload string
	signature               []byte
}

// CutCompact takes a compact JWS apart. It takes only base64url that would be written again in the same way, so that what was signed
// is the text itself: no line feeds, padding or loose bits.
func CutCompact(signed string) (Compact, error) {
	c := Compact{signed: signed}
	header, payload, signature, err := cutCompact(signed)
	if err != nil {
		return Compact{}, err
	}
	c.header = header
	if err = onlyBase64URL("header", header); err == nil {
		c.payload, err = readPayload(payload)
	}
	if err == nil {
		c.signature, err = fromBase64URL("signature", signature)
	}
	if err != nil {
		return Compact{}, err
	}
	return c, nil
}

func cutCompact(signed string) (header, payload, signature string, err error) {
	header, rest, _ := strings.Cut(signed, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found || strings.Contains(signature, ".") {
		return "", "", "", fmt.Errorf("it is no compact JWS: it has %d dots instead of 2", strings.Count(signed, "."))
	}
	return header, payload, signature, nil
}

// strictURL refuses loose bits. What it does not refuse are line feeds.
var strictURL = base64.RawURLEncoding.Strict()

func fromBase64URL(what, text string) ([]byte, error) {
	octets, err := strictURL.DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("its %s is not base64url", what)
	}
	return octets, nil
}

// payloads are buffers for readPayload.
var payloads = sync.Pool{New: func() any { return new([]byte) }}

// readPayload decodes a payload. What is kept of it is one string, which those in the report are parts of.
func readPayload(encoded string) (string, error) {
	if strings.ContainsAny(encoded, "\r\n") {
		return "", errPayload
	}
	room := payloads.Get().(*[]byte)
	defer payloads.Put(room)
	octets, err := strictURL.AppendDecode((*room)[:0], []byte(encoded))
	if err != nil {
		return "", errPayload
	}
	if cap(octets) <= largestRoom {
		*room = octets
	}
	return string(octets), nil
}

var errPayload = errors.New("its payload is not base64url")

// largestRoom is how large a buffer may be that is kept for others, in octets.
const largestRoom = 64 << 10

func onlyBase64URL(what, text string) error {
	_, err := fromBase64URL(what, text)
	return err
}

// Header gives the protected header in base64url.
func (c Compact) Header() string { return c.header }

// Payload gives what was signed.
func (c Compact) Payload() string { return c.payload }

// Signature gives the signature's octets, to be read.
func (c Compact) Signature() []byte { return c.signature }

// Input gives the signing input (RFC 7515 section 5.1).
func (c Compact) Input() string { return c.signed[:strings.LastIndexByte(c.signed, '.')] }

// Read reads the report in the payload, as va.Report.ReadText does.
func (c Compact) Read() (*Reply, error) { return newReply(c.signed, c.payload) }

// ReadReply reads the report in a compact JWS.
func ReadReply(signed string) (*Reply, error) {
	c, err := CutCompact(signed)
	if err != nil {
		return nil, err
	}
	return c.Read()
}

func newReply(signed, payload string) (*Reply, error) {
	r := &Reply{signed: signed, payload: payload}
	if err := r.report.ReadText(payload); err != nil {
		return nil, err
	}
	return r, nil
}

// Compact takes the reply apart once more. Its payload is the one that was read.
func (r *Reply) Compact() (Compact, error) {
	header, _, signature, err := cutCompact(r.signed)
	if err != nil {
		return Compact{}, err
	}
	c := Compact{signed: r.signed, header: header, payload: r.payload}
	if err = onlyBase64URL("header", header); err == nil {
		c.signature, err = fromBase64URL("signature", signature)
	}
	if err != nil {
		return Compact{}, err
	}
	return c, nil
}

// Signed gives the reply as it was received.
func (r *Reply) Signed() string { return r.signed }

// Report gives a copy of the report, to be read.
func (r *Reply) Report() va.Report { return r.report }

// Supply gives the report the records that its proofs rest on, which are not part of what is signed. It is an error if one of them
// is missing, or has another digest.
func (r *Reply) Supply(sets dnssec.Sets) error { return supply(&r.report, sets) }

// Bring does what Supply does with the records that came beside the reply. It refuses others than those that the proofs rest on, and
// any that is there twice. The error completes "a report that ...".
func (r *Reply) Bring(records [][]byte) error {
	needs := r.report.Needs()
	if len(records) > len(needs) {
		return errors.New("comes with records on which it does not rest")
	}
	sets := make(dnssec.Sets, len(records))
	for _, octets := range records {
		sum := sha256.Sum256(octets)
		sets[hex.EncodeToString(sum[:])] = octets
	}
	for _, sum := range needs {
		if _, ok := sets[sum]; !ok {
			return fmt.Errorf("comes without the records %s, on which it rests", sum)
		}
	}
	r.report.Sets = sets
	return nil
}

// complete is an error where they are not there. Nothing but Supply and Bring give a reply any, and they give all.
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

// parts takes a compact JWS apart. Of its payload it takes only base64url that would be written again in the same way.
func parts(signed string) (protected, payload, signature string, err error) {
	protected, encoded, signature, err := cutCompact(signed)
	if err == nil {
		payload, err = readPayload(encoded)
	}
	return protected, payload, signature, err
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
	return f, plain(f.Protected) && plain(f.Signature)
}

// plain tells base64url.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// compact gives the JWS as it was received.
func (f flattened) compact() string {
	b := make([]byte, 0, len(f.Protected)+base64.RawURLEncoding.EncodedLen(len(f.Payload))+len(f.Signature)+2)
	b = append(base64.RawURLEncoding.AppendEncode(append(append(b, f.Protected...), '.'), f.Payload), '.')
	return string(append(b, f.Signature...))
}

// attestation is the JSON form of an Attestation, but for Signed.
type attestation Attestation

type keptAttestation[S any] struct {
	attestation
	Report *va.Report `json:"report,omitempty"`
	Signed S          `json:"signed,omitempty"`
}

// MarshalJSON and UnmarshalJSON serve the record: a report that was signed is kept once, as it was signed. It stands there as JSON
// where it was read as a report and its octets survive that, and otherwise in the string that was received: what was rejected may be JSON that
// other readers do not take, or nest so deep that nobody could read the record.
func (a Attestation) MarshalJSON() ([]byte, error) { return a.AppendJSON(nil) }

// AppendJSON appends to b what MarshalJSON gives, an answer without going over the report as JSON again.
func (a Attestation) AppendJSON(b []byte) ([]byte, error) {
	if out, ok := a.appendAnswer(b); ok {
		return out, nil
	}
	text, err := a.marshal()
	return append(b, text...), err
}

func (a Attestation) marshal() ([]byte, error) {
	k := keptAttestation[any]{attestation: attestation(a), Report: a.Report}
	if a.Signed == "" {
		return json.Marshal(k)
	}
	k.Signed = a.Signed
	if a.State != Answered {
		return json.Marshal(k)
	}
	k.Report = nil
	if protected, payload, signature, err := parts(a.Signed); err == nil && strings.HasPrefix(payload, "{") {
		k.Signed = flattened{protected, json.RawMessage(payload), signature}
		// Written again, a text is shorter or longer than before, or the same.
		if b, err := json.Marshal(k); err == nil && bytes.Contains(b, []byte(payload)) {
			return b, nil
		}
	}
	k.Signed = a.Signed
	return json.Marshal(k)
}

// appendAnswer writes an answer whose report was read from its signed reply, so that the payload is known to be one JSON value. False is
// for everything else, and where the payload may be a text that encoding/json would write otherwise.
func (a Attestation) appendAnswer(b []byte) ([]byte, bool) {
	if a.State != Answered || !a.Answers() {
		return nil, false
	}
	protected, _, signature, err := cutCompact(a.Signed)
	if payload := a.Reply.payload; err != nil || !plain(protected) || !plain(signature) || !strings.HasPrefix(payload, "{") || !settled(payload) {
		return nil, false
	}
	head := attestation(a)
	head.Report, head.Signed = nil, ""
	text, err := json.Marshal(head)
	if err != nil {
		return nil, false
	}
	b = append(append(b, text[:len(text)-1]...), `,"signed":{"protected":"`...)
	b = append(append(b, protected...), `","payload":`...)
	b = append(append(b, a.Reply.payload...), `,"signature":"`...)
	b = append(b, signature...)
	return append(b, `"}}`...), true
}

// settled tells that encoding/json writes a JSON text again as it is: nothing in it has to be escaped, and no white space stands between
// its tokens. It may say no to a text where a blank in a string looks as if it stood between tokens.
func settled(text string) bool {
	for _, c := range []byte("<>&\t\n\r") {
		if strings.IndexByte(text, c) >= 0 {
			return false
		}
	}
	if strings.Contains(text, "\u2028") || strings.Contains(text, "\u2029") {
		return false
	}
	for at := 0; ; at++ {
		next := strings.IndexByte(text[at:], ' ')
		if next < 0 {
			return true
		}
		at += next
		// In a string the last quotation mark begins it or is escaped. One that ends a string has a sign of punctuation behind it.
		quote := strings.LastIndexByte(text[:at], '"')
		if quote < 1 {
			return false
		}
		escaped := text[quote-1] == '\\' && text[max(quote-2, 0)] != '\\'
		if c := text[quote+1]; !escaped && (c == ':' || c == ',' || c == '}' || c == ']' || c == ' ' || text[quote-1] == '\\') {
			return false
		}
	}
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
	if jsonv2.Unmarshal(append(b[:start:start], '}'), &k) != nil || k.State != Answered || k.Report != nil || k.Signed != nil {
		return false
	}
	signed := f.compact()
	reply, err := newReply(signed, string(f.Payload))
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
	var payload string
	switch {
	case bytes.HasPrefix(k.Signed, []byte("{")):
		f, err := readFlattened(k.Signed)
		if err != nil {
			return err
		}
		a.Signed, payload = f.compact(), string(f.Payload)
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
	if payload != "" {
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
