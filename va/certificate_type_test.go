package va

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// mail is a probe for CAA alone, for an S/MIME certificate.
func mail() Probe {
	p := recheck(DNS01)
	p.Request.CertificateType = SMIME
	return p
}

// Holds: CAA-10
func TestRFC9495_SMIMEIsForCAAAlone(t *testing.T) {
	for what, c := range map[string]struct {
		change      func(*Probe)
		want, field string
	}{
		"CAA alone":                  {func(*Probe) {}, "ok", ""},
		"DCV too":                    {func(p *Probe) { *p = probe(request(DNS01)); p.Request.CertificateType = SMIME }, "request.certificate-type", "certificate_type"},
		"DCV, without a challenge":   {func(p *Probe) { p.CAAAlone = false }, "request.certificate-type", "certificate_type"},
		"a wildcard":                 {func(p *Probe) { p.Request.Identifier = "*.example.com" }, "request.certificate-type", "certificate_type"},
		"a type that is none":        {func(p *Probe) { p.Request.CertificateType = 2 }, "request.certificate-type", "certificate_type"},
		"one that is none, with DCV": {func(p *Probe) { *p = probe(request(DNS01)); p.Request.CertificateType = 2 }, "request.certificate-type", "certificate_type"},
		"an address":                 {func(p *Probe) { p.Request.Identifier = "me@example.com" }, "name.syntax", "identifier"},
	} {
		t.Run(what, func(t *testing.T) {
			p := mail()
			c.change(&p)
			problem := p.Admit(now)
			require.Equal(t, c.want, code(problem), "%v", problem)
			if problem == nil {
				return
			}
			require.Equal(t, c.field, problem.Field)
			s := &table{}
			r := checker(t, s).Check(t.Context(), p)
			require.Empty(t, s.asked)
			require.NotEqual(t, Pass, r.CAA.Outcome)
			require.NotEqual(t, Pass, r.DCV.Outcome)
		})
	}
}

// TestCertificateTypesHaveTheirNamesAlone: a type that is not named is TLS server's, and one that is none has no form and no digest.
//
// Holds: CAA-10, F6
func TestCertificateTypesHaveTheirNamesAlone(t *testing.T) {
	for _, name := range []string{"tls-server", "s-mime"} {
		v, err := ParseCertificateType(name)
		require.NoError(t, err)
		require.Equal(t, name, v.String())
	}
	for _, name := range []string{"", "S-MIME", "smime", "s/mime", "tls", "no certificate type"} {
		_, err := ParseCertificateType(name)
		require.ErrorContains(t, err, "is no certificate type")
		var r Request
		require.Error(t, json.Unmarshal([]byte(`{"certificate_type":"`+name+`"}`), &r))
	}
	require.Equal(t, "no certificate type", CertificateType(9).String())

	tls, smime := recheck(DNS01), mail()
	text, err := json.Marshal(tls)
	require.NoError(t, err)
	require.NotContains(t, string(text), "certificate_type")
	text, err = json.Marshal(smime)
	require.NoError(t, err)
	require.Contains(t, string(text), `"certificate_type":"s-mime"`)
	var again Probe
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, smime, again)
	require.NotEqual(t, tls.Digest(), smime.Digest())
	smime.Request.CertificateType = 2
	require.Empty(t, smime.Digest())
	require.False(t, CertificateType(2).decides("issue") || CertificateType(2).decides("issuemail"))
}

// TestRFC9495_3_ABackslashThatDecidesOnOthersIsNothing: see TestABackslashInAnIssueValuePermitsNobody.
//
// Holds: CAA-02, CAA-10
func TestRFC9495_3_ABackslashThatDecidesOnOthersIsNothing(t *testing.T) {
	for tag, want := range map[string][2]string{
		"issue": {"caa.malformed", "ok"}, "issuewild": {"caa.malformed", "ok"}, "issuemail": {"ok", "caa.malformed"}, "iodef": {"ok", "ok"},
	} {
		for i, p := range []Probe{recheck(DNS01), mail()} {
			s := &table{records: map[string][]string{"shop.example.com CAA": {`CAA 0 issue "ca.example"`, `CAA 0 issuemail "ca.example"`,
				`CAA 0 ` + tag + ` "c\\\\097.example"`}}}
			f := checker(t, s).Check(t.Context(), p).CAA
			require.Equal(t, want[i], code(f.Problem), "%s, %s", tag, p.Request.CertificateType)
		}
	}
}

// TestRFC9495_InTheWorld: signed zones, a resolver that validates, and the climb. The certificate's type changes which property
// decides, and nothing else.
//
// Holds: CAA-01, CAA-07, CAA-10
func TestRFC9495_InTheWorld(t *testing.T) {
	w := startWorld(t)
	c := perspective(t, w, "127.0.9.1")
	set := func(name string, values ...string) { require.NoError(t, w.Set(name, dns.TypeCAA, values...)) }
	set("mail.example.com", `128 issuemail "ca.example.net"`, `0 issue ";"`)
	set("other.example.com", `0 issuemail "other-ca.example.net"`, `0 issue "ca.example.net"`)
	set("web.example.com", `0 issue ";"`)
	set("account.example.com", `0 issuemail "ca.example.net; accounturi=https://ca.example/acct/2"`)
	for name, want := range map[string]struct{ mail, tls, found string }{
		"mail.example.com":      {"ok", "caa.forbidden", "mail.example.com"},
		"me.mail.example.com":   {"ok", "caa.forbidden", "mail.example.com"},
		"other.example.com":     {"caa.forbidden", "ok", "other.example.com"},
		"web.example.com":       {"ok", "caa.forbidden", "web.example.com"},
		"account.example.com":   {"caa.account", "ok", "account.example.com"},
		"caa-none.com":          {"ok", "caa.forbidden", "caa-none.com"},
		"caa-critical.com":      {"caa.critical", "caa.critical", "caa-critical.com"},
		"deep.sub.caa-tree.com": {"ok", "caa.forbidden", "caa-tree.com"},
		"bogus-caa.com":         {"caa.bogus", "caa.bogus", ""},
		"servfail-caa.com":      {"caa.lookup", "caa.lookup", ""},
		"unsigned.com":          {"ok", "ok", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, certificate := range []CertificateType{TLSServer, SMIME} {
				p := live(name, DNS01)
				p.CAAAlone, p.Request.CertificateType = true, certificate
				p.Request.Token, p.Request.KeyAuthorization, p.Request.TokenCreated = "", "", time.Time{}
				r := c.Check(t.Context(), p)
				expected := map[CertificateType]string{TLSServer: want.tls, SMIME: want.mail}[certificate]
				require.Equal(t, expected, code(r.CAA.Problem), "%s: %v", certificate, r.CAA.Problem)
				require.Equal(t, want.found, r.CAA.Found)
				require.Equal(t, expected == "ok", r.CAA.Outcome == Pass)
				require.True(t, r.DCV.NotChecked())
				require.Equal(t, p.Digest(), r.Digest)
			}
		})
	}
	require.Equal(t, dnssec.Secure, c.Check(t.Context(), live("mail.example.com", DNS01)).CAA.Lookups[0].Status)
}
