package va

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/quorate/quorate/va/internal/jsonappend"
)

// Text gives the probe's JSON form, in which it is sent and hashed: what encoding/json makes of it. The error is that of a method,
// rule or type that is none, or of a time beyond the year 9999.
func (p Probe) Text() ([]byte, error) {
	w := jsonappend.NewWriter(640)
	w.Object(func() {
		w.Name("attempt")
		w.String(p.Attempt)
		w.Name("nonce")
		w.String(p.Nonce)
		w.Name("deadline")
		w.Time(p.Deadline)
		w.Name("request")
		w.Object(func() { p.Request.write(w) })
		if p.CAALookupFailure != 0 {
			w.Name("caa_lookup_failure")
			w.Word(p.CAALookupFailure)
		}
		w.TrueMember("caa_alone", p.CAAAlone)
		w.TrueMember("dcv_alone", p.DCVAlone)
	})
	return w.Text()
}

func (r *Request) write(w *jsonappend.Writer) {
	w.Name("identifier")
	w.String(r.Identifier)
	if r.Method != 0 {
		w.Name("method")
		w.Word(r.Method)
	}
	w.Name("token")
	w.String(r.Token)
	w.Name("key_authorization")
	w.String(r.KeyAuthorization)
	w.StringMember("key_authorization_digest", r.KeyAuthorizationDigest)
	if !r.TokenCreated.IsZero() {
		w.Name("token_created")
		w.Time(r.TokenCreated)
	}
	w.Name("account_uri")
	w.String(r.AccountURI)
	w.StringsMember("account_aliases", r.AccountAliases)
	w.Name("issuers")
	w.Strings(r.Issuers)
	if r.CertificateType != 0 {
		w.Name("certificate_type")
		w.Word(r.CertificateType)
	}
}

// Digest is the SHA-256, in hexadecimal, of the probe's JSON form. A reply is bound to it.
func (p Probe) Digest() string {
	text, err := p.Text()
	if err != nil { // such a request was refused at the entrance
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
