package va

import (
	"cmp"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Canonical gives the one text of a probe: what encoding/json writes of it, octet for octet. A gate works its digest out for each
// remote, and again with each judgement, so that it is written without reflection. The error is that of a method, rule or type that
// is none, or of a time that has no text.
func (p Probe) Canonical() ([]byte, error) {
	b := make([]byte, 0, 768)
	b = appendQuoted(append(b, `{"attempt":`...), p.Attempt)
	b = appendQuoted(append(b, `,"nonce":`...), p.Nonce)
	b, noTime := appendTime(append(b, `,"deadline":`...), p.Deadline)
	b, noRequest := p.Request.appendTo(append(b, `,"request":`...))
	var noRule error
	if p.CAALookupFailure != 0 {
		b, noRule = appendWord(append(b, `,"caa_lookup_failure":`...), p.CAALookupFailure)
	}
	if p.CAAAlone {
		b = append(b, `,"caa_alone":true`...)
	}
	if p.DCVAlone {
		b = append(b, `,"dcv_alone":true`...)
	}
	return append(b, '}'), cmp.Or(noTime, noRequest, noRule)
}

// Digest is the SHA-256, in hexadecimal, of the probe's one text. A reply is bound to it.
func (p Probe) Digest() string {
	b, err := p.Canonical()
	if err != nil { // such a request was refused at the entrance
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (r *Request) appendTo(b []byte) ([]byte, error) {
	var noMethod, noTime, noType error
	b = appendQuoted(append(b, `{"identifier":`...), r.Identifier)
	if r.Method != 0 {
		b, noMethod = appendWord(append(b, `,"method":`...), r.Method)
	}
	b = appendQuoted(append(b, `,"token":`...), r.Token)
	b = appendQuoted(append(b, `,"key_authorization":`...), r.KeyAuthorization)
	if r.KeyAuthorizationDigest != "" {
		b = appendQuoted(append(b, `,"key_authorization_digest":`...), r.KeyAuthorizationDigest)
	}
	if !r.TokenCreated.IsZero() {
		b, noTime = appendTime(append(b, `,"token_created":`...), r.TokenCreated)
	}
	b = appendQuoted(append(b, `,"account_uri":`...), r.AccountURI)
	if len(r.AccountAliases) > 0 {
		b = appendList(append(b, `,"account_aliases":`...), r.AccountAliases)
	}
	b = appendList(append(b, `,"issuers":`...), r.Issuers)
	if r.CertificateType != 0 {
		b, noType = appendWord(append(b, `,"certificate_type":`...), r.CertificateType)
	}
	return append(b, '}'), cmp.Or(noMethod, noTime, noType)
}

// appendQuoted appends a string. What needs an escape, or is not ASCII, is encoding/json's to write.
func appendQuoted(b []byte, s string) []byte {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always has a text
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendList(b []byte, all []string) []byte {
	if all == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, s := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, s)
	}
	return append(b, ']')
}

func appendWord(b []byte, w encoding.TextMarshaler) ([]byte, error) {
	text, err := w.MarshalText()
	return appendQuoted(b, string(text)), err
}

func appendTime(b []byte, at time.Time) ([]byte, error) {
	text, err := at.AppendText(append(b, '"'))
	if err != nil {
		return b, err
	}
	return append(text, '"'), nil
}
