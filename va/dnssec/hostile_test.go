package dnssec_test

import (
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// Reading a public key costs as much as using it for the curves. A set of a thousand keys, of which the delegation names none
// or one, must not cost a thousand readings.
//
// Holds: DCV-09
func TestKeyTrap_OnlyKeysThatMatterAreRead(t *testing.T) {
	s := newSigner(t, "example.com.", dns.ECDSAP384SHA384, 384)
	section := []dns.RR{s.key}
	for i := range 600 {
		k := dns.Copy(s.key).(*dns.DNSKEY)
		raw, err := base64.StdEncoding.DecodeString(k.PublicKey)
		require.NoError(t, err)
		raw[90], raw[91] = byte(i>>8), byte(i)
		k.PublicKey = base64.StdEncoding.EncodeToString(raw)
		section = append(section, k)
	}
	read := 0
	counting := dnssec.Algorithms{dns.ECDSAP384SHA384: func(b []byte) (dnssec.VerifyFunc, error) {
		read++
		return dnssec.ECDSA(elliptic.P384(), crypto.SHA384)(b)
	}}
	set := dnssec.Group(append(section, s.sign(section, nil)))[0]
	v := dnssec.NewVerifier(counting, dnssec.DefaultLimits(), now)
	keys, verdict := v.Keys(set, delegation(t, s.key.ToDS(dns.SHA256)))
	require.Equal(t, dnssec.Secure, verdict.Status, verdict.Reason.Text)
	require.LessOrEqual(t, read, 2)
	require.Len(t, keys.Tags, 601)
	www := dnssec.Group(s.signed("www.example.com. A 192.0.2.1"))[0]
	for range 3 {
		require.Equal(t, dnssec.Secure, v.RRset(www, keys).Status)
	}
	require.LessOrEqual(t, read, 8)
}

const hostileNSEC = `
# name of the case            | NSEC records of example.com                                               | question               | nx  | want
owner after next               | d.example.com. b.example.com. A RRSIG NSEC                               | x.example.com. CAA     | no  | no
owner after next, between      | d.example.com. b.example.com. A RRSIG NSEC                               | c.example.com. CAA     | yes | no
owner after next, above all    | d.example.com. b.example.com. A RRSIG NSEC; example.com. b.example.com. SOA NS RRSIG NSEC | x.example.com. CAA | yes | no
the only name                  | example.com. example.com. SOA NS RRSIG NSEC                              | x.example.com. CAA     | yes | noname
the only name, and its apex    | example.com. example.com. SOA NS RRSIG NSEC                              | example.com. CAA       | no  | nodata
minimal covering record        | ml.example.com. \000.ml.example.com. RRSIG NSEC                          | ml.example.com. CAA    | no  | nodata
its next name                  | ml.example.com. \000.ml.example.com. RRSIG NSEC                          | \000.ml.example.com. CAA | yes | no
a dot inside a label           | a.example.com. c.example.com. A RRSIG NSEC; example.com. a.example.com. SOA NS RRSIG NSEC | b\.example.com. CAA | yes | no
octets sort without sign       | \127.example.com. example.com. A RRSIG NSEC; example.com. \127.example.com. SOA NS RRSIG NSEC | \200.example.com. CAA | yes | noname
case counts for nothing        | A.example.com. C.EXAMPLE.com. A RRSIG NSEC; EXAMPLE.com. A.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | noname
delegation's record, next wraps | sub.example.com. example.com. NS RRSIG NSEC                             | a.sub.example.com. CAA | no  | no
DNAME's own no data            | sub.example.com. x.example.com. DNAME RRSIG NSEC                         | sub.example.com. CAA   | no  | nodata
NS alone at a wildcard         | a.example.com. d.example.com. A RRSIG NSEC; *.example.com. a.example.com. NS RRSIG NSEC | b.example.com. CAA | no | no
the wildcard by its own name   | *.example.com. a.example.com. A RRSIG NSEC                               | *.example.com. CAA     | no  | nodata
a wildcard's record for both   | *.example.com. c.example.com. A RRSIG NSEC                               | b.example.com. CAA     | yes | nodata
wildcard is empty, RFC 4592 2.2.2 | a.example.com. d.example.com. A RRSIG NSEC; example.com. x.*.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | no | nodata
empty wildcard is no name error | a.example.com. d.example.com. A RRSIG NSEC; example.com. x.*.example.com. SOA NS RRSIG NSEC | b.example.com. CAA | yes | nodata
empty wildcard elsewhere       | a.b.example.com. d.b.example.com. A RRSIG NSEC; example.com. x.*.example.com. SOA NS RRSIG NSEC | c.b.example.com. CAA | no | no
no DS at an empty non-terminal | a.example.com. c.b.example.com. A RRSIG NSEC                             | b.example.com. DS      | no  | nodata
DS at a CNAME                  | b.example.com. c.example.com. CNAME RRSIG NSEC                           | b.example.com. DS      | no  | no
`

// Holds: DCV-05, DCV-08, C9
func TestRFC4034_6_1_HostileNSEC(t *testing.T) {
	s := p256(t, "example.com.")
	k := keys(t, s)
	for _, c := range cases(t, hostileNSEC, 5) {
		t.Run(c[0], func(t *testing.T) {
			var authority []dns.RR
			for _, rec := range strings.Split(c[1], ";") {
				f := strings.Fields(rec)
				authority = append(authority, s.signed(f[0]+" NSEC "+strings.Join(f[1:], " "))...)
			}
			q := strings.Fields(c[2])
			name, err := dnssec.Canonical(q[0])
			require.NoError(t, err)
			got, v := verifier(t).Denial(dnssec.Group(authority), k).Negative(name, dns.StringToType[q[1]], c[3] == "yes")
			expect(t, c[4], got, v)
		})
	}
}

// A record with an unknown hash beside a whole proof is left out, and one that the zone does not vouch for changes nothing.
//
// Holds: DCV-06
func TestRFC5155_8_1_UselessRecordsBesideAProof(t *testing.T) {
	s, stranger := p256(t, "example.com."), p256(t, "example.com.")
	k := keys(t, s)
	good := records3(s, "www.example.com. 0 A RRSIG")
	label := strings.Repeat("0", 32)
	for _, c := range []struct {
		name   string
		beside []dns.RR
	}{
		{"unknown hash", s.signed(label + ".example.com. NSEC3 7 0 0 - " + label + " A RRSIG")},
		{"unknown flags", s.signed(label + ".example.com. NSEC3 1 128 0 - " + label + " A RRSIG")},
		{"a stranger's iterations", stranger.signed(label + ".example.com. NSEC3 1 0 65535 - " + label + " A RRSIG")},
		{"unsigned", rrs(t, label+".example.com. NSEC3 1 0 65535 - "+label+" A RRSIG")},
		{"a neighbour zone's", p256(t, "org.").signed(label + ".org. NSEC3 1 1 9 - " + label + " A RRSIG")},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, first %t", c.name, first), func(t *testing.T) {
				section := append(append([]dns.RR{}, good...), c.beside...)
				if first {
					section = append(append([]dns.RR{}, c.beside...), good...)
				}
				got, v := verifier(t).Denial(dnssec.Group(section), k).Negative("www.example.com.", dns.TypeCAA, false)
				expect(t, "nodata", got, v)
			})
		}
	}
}

const hostileNSEC3 = `
only record of the zone        | NSEC3 | example.com. 0 NS SOA RRSIG                       | x.example.com. CAA yes       | no
opt-out, NXDOMAIN no wildcard  | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 1    | b.example.com. CAA yes       | no
wildcard's cover is opt-out    | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; ~*.example.com. 1 | b.example.com. CAA yes | noname insecure
wildcard is a delegation       | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; *.example.com. 0 NS | b.example.com. CAA no | no
wildcard is an alias           | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; *.example.com. 0 CNAME RRSIG | b.example.com. CAA no | no
empty wildcard                 | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0; *.example.com. 0 | b.example.com. CAA no | nodata
DS denied by the child         | NSEC3 | example.com. 0 NS SOA RRSIG                       | example.com. DS no           | no
DS in an opt-out span          | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 1    | b.example.com. DS no         | nodata insecure
DS of a name that is not       | NSEC3 | example.com. 0 NS SOA RRSIG; ~b.example.com. 0    | b.example.com. DS no         | no
a longer encloser left out     | NSEC3 | example.com. 0 NS SOA RRSIG; ~a.b.example.com. 0; ~*.example.com. 0 | a.b.example.com. CAA yes | no
delegation hides as encloser   | NSEC3 | example.com. 0 NS SOA RRSIG; b.example.com. 0 NS DS RRSIG; ~a.b.example.com. 1; ~*.b.example.com. 1 | a.b.example.com. CAA yes | no
`

// Holds: DCV-06, DCV-08, C9
func TestRFC5155_8_HostileNSEC3(t *testing.T) {
	s := p256(t, "example.com.")
	k := keys(t, s)
	for _, c := range cases(t, hostileNSEC3, 5) {
		t.Run(c[0], func(t *testing.T) {
			q := strings.Fields(c[3])
			d := verifier(t).Denial(dnssec.Group(records3(s, c[2])), k)
			got, v := d.Negative(q[0], dns.StringToType[q[1]], q[2] == "yes")
			expect(t, c[4], got, v)
		})
	}
}

// The asterisk is no label of a wildcard's count (RFC 4034 section 3.1.3), and a signature over a wildcard that says otherwise
// must not pass; nor does one that was made for a wildcard above the signer's zone.
//
// Holds: DCV-05
func TestRFC4034_3_1_3_LabelsOfWildcards(t *testing.T) {
	s := p256(t, "example.com.")
	k := keys(t, s)
	set := rrs(t, "*.example.com. A 192.0.2.1")
	sig := s.sign(set, nil)
	require.EqualValues(t, 2, sig.Labels)
	whole := func(labels uint8, owner string) *dnssec.RRset {
		a, b := dns.Copy(set[0]), dns.Copy(sig).(*dns.RRSIG)
		a.Header().Name, b.Hdr.Name, b.Labels = owner, owner, labels
		return dnssec.Group([]dns.RR{a, b})[0]
	}
	require.Equal(t, dnssec.Secure, verifier(t).RRset(whole(2, "*.example.com."), k).Status)
	require.Equal(t, dnssec.Bogus, verifier(t).RRset(whole(3, "*.example.com."), k).Status)
	require.Equal(t, dnssec.Bogus, verifier(t).RRset(whole(1, "*.example.com."), k).Status)
	require.True(t, verifier(t).RRset(whole(2, "*.*.example.com."), k).Expanded)
	require.True(t, verifier(t).RRset(whole(2, "*.a.example.com."), k).Expanded)
	require.Equal(t, dnssec.Bogus, verifier(t).RRset(whole(2, "example.com."), k).Status, "the wildcard does not cover its encloser")
}

// The work of putting an RRset into its canonical form is done once, not once for each signature that claims to cover it.
//
// Holds: DCV-09
func BenchmarkKeyTrapWithALargeSet(b *testing.B) {
	s := p256(b, "example.com.")
	k := keys(b, s)
	var set []dns.RR
	for i := range 3000 {
		set = append(set, rrs(b, fmt.Sprintf("www.example.com. A 10.0.%d.%d", i/250, i%250))...)
	}
	section := set
	for i := range 100 {
		sig := s.sign(set[:1], func(r *dns.RRSIG) { r.Inception -= uint32(i) })
		section = append(section, sig)
	}
	group := dnssec.Group(section)[0]
	for b.Loop() {
		v := verifier(b)
		for range 8 {
			require.NotEqual(b, dnssec.Secure, v.RRset(group, k).Status)
		}
	}
}
