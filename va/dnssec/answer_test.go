package dnssec_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

func message(rcode int, answer, authority []dns.RR) dnssec.Message {
	m := new(dns.Msg)
	m.Rcode, m.Answer, m.Ns = rcode, answer, authority
	return dnssec.Message{Msg: m, Query: 1}
}

// Aliases that the zone's key really signed, and that are none all the same.
//
// Holds: DCV-05
func TestRFC6672_AliasesThatAreNone(t *testing.T) {
	s := newSigner(t, "example.com.", dns.ED25519, 256)
	k := keys(t, s)
	expanded := func(text, wildcard string) []dns.RR {
		rr := rrs(t, text)
		signed := dns.Copy(rr[0])
		signed.Header().Name = wildcard
		sig := byHand(t, s, signed, func(r *dns.RRSIG) { r.Labels-- })
		sig.Hdr.Name = rr[0].Header().Name
		return append(rr, sig)
	}
	proof := s.signed("a.example.com. NSEC z.example.com. A RRSIG NSEC")
	for _, c := range []struct {
		name    string
		rcode   int
		answer  []dns.RR
		ask     string
		status  dnssec.Status
		code    string
		aliased bool
	}{
		{"one CNAME", 0, s.signed("www.example.com. CNAME b.example.org."), "www.example.com.", dnssec.Secure, "", true},
		{"two CNAMEs", 0, s.signed("www.example.com. CNAME b.example.org.", "www.example.com. CNAME c.example.org."),
			"www.example.com.",
			dnssec.Failure, dnssec.CodeAliasAmbiguous, false},
		{"two DNAMEs", 0, s.signed("d.example.com. DNAME b.example.org.", "d.example.com. DNAME c.example.org."),
			"www.d.example.com.",
			dnssec.Failure, dnssec.CodeAliasAmbiguous, false},
		{"the same CNAME twice", 0, append(s.signed("www.example.com. CNAME b.example.org."),
			rrs(t, "WWW.example.com. CNAME b.example.org.")...), "www.example.com.", dnssec.Secure, "", true},
		{"CNAME from a wildcard", 0, expanded("www.example.com. CNAME b.example.org.", "*.example.com."),
			"www.example.com.",
			dnssec.Secure, "", true},
		{"DNAME", 0, s.signed("d.example.com. DNAME b.example.org."), "www.d.example.com.", dnssec.Secure, "", true},
		{"DNAME from a wildcard", 0, expanded("d.example.com. DNAME b.example.org.", "*.example.com."),
			"www.d.example.com.", dnssec.Bogus,
			dnssec.CodeSignatureInvalid, false},
		{"DNAME at the name itself", 0, s.signed("d.example.com. DNAME b.example.org."), "d.example.com.", dnssec.Bogus,
			dnssec.CodeDenialInvalid, false},
		{"DNAME beside the name", 0, s.signed("d.example.com. DNAME b.example.org."), "wwwd.example.com.", dnssec.Bogus,
			dnssec.CodeDenialInvalid, false},
		{"YXDOMAIN alone", dns.RcodeYXDomain, nil, "www.example.com.", dnssec.Failure, dnssec.CodeAliasLong, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := verifier(t).Answer(message(c.rcode, c.answer, proof), k, c.ask, dns.TypeA)
			require.Equal(t, c.status, a.Verdict.Status, a.Verdict.Reason.Text)
			require.Equal(t, c.code, a.Verdict.Reason.Code, a.Verdict.Reason.Text)
			require.Equal(t, c.aliased, a.Target != "")
			require.Equal(t, c.aliased, len(a.Records) > 0)
		})
	}
}

// Delegations that the zone's key really signed, and those that it denies.
//
// Holds: DCV-05, DCV-08
func TestRFC4035_5_2_DelegationsByRecords(t *testing.T) {
	s := newSigner(t, "example.com.", dns.ED25519, 256)
	k := keys(t, s)
	child := p256(t, "sub.example.com.").key.ToDS(dns.SHA256)
	child.Hdr.Ttl = 300
	wild := dns.Copy(child)
	wild.Header().Name = "*.example.com."
	fromWildcard := byHand(t, s, wild, func(r *dns.RRSIG) { r.Labels-- })
	fromWildcard.Hdr.Name = "sub.example.com."
	aliasFromWildcard := byHand(t, s, rrs(t, "*.example.com. CNAME b.example.org.")[0], func(r *dns.RRSIG) { r.Labels-- })
	aliasFromWildcard.Hdr.Name = "sub.example.com."
	join := func(sections ...[]dns.RR) []dns.RR {
		var all []dns.RR
		for _, s := range sections {
			all = append(all, s...)
		}
		return all
	}
	proof := s.signed("a.example.com. NSEC z.example.com. A RRSIG NSEC")
	for _, c := range []struct {
		name    string
		section []dns.RR
		want    string
		status  dnssec.Status
	}{
		{"DS", []dns.RR{child, s.sign([]dns.RR{child}, nil)}, "delegation", dnssec.Secure},
		{"DS without signature", []dns.RR{child}, "nothing", dnssec.Bogus},
		{"DS from a wildcard", append([]dns.RR{child, fromWildcard}, proof...), "nothing", dnssec.Bogus},
		{"DS and its denial", append([]dns.RR{child, s.sign([]dns.RR{child}, nil)},
			s.signed("sub.example.com. NSEC z.example.com. NS RRSIG NSEC")...), "delegation", dnssec.Secure},
		{"forged DS and the denial", append([]dns.RR{child},
			s.signed("sub.example.com. NSEC z.example.com. NS RRSIG NSEC")...),
			"nothing", dnssec.Bogus},
		{"denial at the cut", s.signed("sub.example.com. NSEC z.example.com. NS RRSIG NSEC"), "delegation",
			dnssec.Insecure},
		{"CNAME", s.signed("sub.example.com. CNAME b.example.org."), "no cut", dnssec.Secure},
		{"CNAME without signature", rrs(t, "sub.example.com. CNAME b.example.org."), "nothing", dnssec.Bogus},
		{"CNAME from a wildcard", join(rrs(t, "sub.example.com. CNAME b.example.org."), []dns.RR{aliasFromWildcard},
			proof), "no cut",
			dnssec.Secure},
		{"CNAME from a wildcard, without proof", append(rrs(t, "sub.example.com. CNAME b.example.org."),
			aliasFromWildcard), "nothing",
			dnssec.Bogus},
		{"nothing at all", nil, "nothing", dnssec.Bogus},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, what, v := verifier(t).Delegation(dnssec.Group(c.section), k, "sub.example.com.")
			require.Equal(t, c.status, v.Status, v.Reason.Text)
			require.Equal(t, c.want == "delegation", d != nil)
			require.Equal(t, c.want == "no cut", what == dnssec.NoCut)
		})
	}
	t.Run("DNAME above", func(t *testing.T) {
		d, what, v := verifier(t).Delegation(dnssec.Group(s.signed("sub.example.com. DNAME b.example.org.")), k,
			"a.sub.example.com.")
		require.Nil(t, d)
		require.Equal(t, dnssec.NoName, what)
		require.Equal(t, dnssec.Secure, v.Status)
	})
	t.Run("the zone itself", func(t *testing.T) {
		d, _, v := verifier(t).Delegation(dnssec.Group(proof), k, "example.com.")
		require.Nil(t, d)
		require.Equal(t, dnssec.Bogus, v.Status)
	})
}

// Keys of another owner are not the zone's, though one of its keys signed them and a DS record names one.
//
// Holds: DCV-05
func TestRFC4035_5_2_KeysStandAtTheApex(t *testing.T) {
	s := p256(t, "example.com.")
	below := dns.Copy(s.key)
	below.Header().Name = "x.example.com."
	k, v := verifier(t).Keys(dnssec.Group([]dns.RR{below, s.sign([]dns.RR{below}, nil)})[0], delegation(t,
		s.key.ToDS(dns.SHA256)))
	require.Nil(t, k)
	require.Equal(t, dnssec.Bogus, v.Status)
}

// Where nothing is signed, an answer to another question is no "there is none".
//
// Holds: DCV-05, CAA-07
func TestUnsignedAnswersToAnotherQuestion(t *testing.T) {
	s := p256(t, "example.com.")
	cut, _, v := verifier(t).Delegation(dnssec.Group(s.signed("sub.example.com. NSEC z.example.com. NS RRSIG NSEC")),
		keys(t, s),
		"sub.example.com.")
	require.Equal(t, dnssec.Insecure, v.Status)
	for _, c := range []struct {
		name   string
		rcode  int
		answer string
		want   dnssec.Status
	}{
		{"the answer", 0, "www.sub.example.com. CAA 0 issue \"ca.example.net\"", dnssec.Insecure},
		{"an alias", 0, "www.sub.example.com. CNAME sub.example.com.", dnssec.Insecure},
		{"none", 0, "", dnssec.Insecure},
		{"another name's", 0, "sub.example.com. CAA 0 issue \"ca.example.net\"", dnssec.Failure},
		{"another type", 0, "www.sub.example.com. A 192.0.2.1", dnssec.Failure},
		{"a DNAME above the zone", 0, "example.com. DNAME example.org.", dnssec.Failure},
		{"YXDOMAIN", dns.RcodeYXDomain, "", dnssec.Failure},
	} {
		var answer []dns.RR
		if c.answer != "" {
			answer = rrs(t, c.answer)
		}
		a := verifier(t).Unsigned(message(c.rcode, answer, nil), cut, "sub.example.com.", "www.sub.example.com.",
			dns.TypeCAA)
		require.Equal(t, c.want, a.Verdict.Status, "%s: %s", c.name, a.Verdict.Reason.Text)
	}
}

// Names are compared as they are on the wire: case and escapes make no other name, and a dot in a label makes no other
// label.
//
// Holds: DCV-05
func TestRFC4343_NamesAreComparedAsOnTheWire(t *testing.T) {
	for text, want := range map[string]string{
		"Example.COM": "example.com.", `ex\097mple.com.`: "example.com.", `ex\065mple.com.`: "example.com.",
		`a\.b.example.com.`: `a\.b.example.com.`, `a\046b.example.com.`: `a\.b.example.com.`,
		`\000.example.com.`: `\000.example.com.`,
		".":                 ".", `\*.example.com.`: "*.example.com.",
	} {
		got, err := dnssec.Canonical(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"a..b", ".a", strings.Repeat("a", 64) + ".com", strings.Repeat("abcdefg.", 32) + "com"} {
		_, err := dnssec.Canonical(text)
		require.Error(t, err, text)
	}
	require.False(t, dnssec.Below(`a\.example.com.`, "example.com."), "one label, which ends like the name")
	require.False(t, dnssec.Below("example.com.", "ple.com."))
	require.True(t, dnssec.Below(`a\.b.example.com.`, "example.com."))
}
