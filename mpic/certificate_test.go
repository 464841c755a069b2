package mpic

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// issued makes a certificate, as a CA does upon the permit of granted.
func issued(t testing.TB, change func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(0xabc), NotBefore: december, NotAfter: december.Add(90 * oneDay),
		DNSNames: []string{"example.com", "*.example.com"}}
	if change != nil {
		change(template)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA", Organization: []string{"Quorate"}}}
	der, err := x509.CreateCertificate(rand0{}, template, ca, permitKey.Public(), permitKey)
	require.NoError(t, err)
	return der
}

// rand0 makes certificates that are the same each time: Ed25519 needs no chance.
type rand0 struct{}

func (rand0) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// granted is a permit for example.com and its wildcard, from noon on for an hour.
func granted() PermitRecord {
	c := goodClaims()
	return PermitRecord{ID: "P", Number: 1, Outcome: OutcomeGranted, Caller: "test:1", Account: acct1, Requested: december, Issued: december,
		Expires: december.Add(time.Hour), Software: "quorate/test", Names: c.Names}
}

func extension(oid asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
	}
}

var (
	poison  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}
	sanOID  = asn1.ObjectIdentifier{2, 5, 29, 17}
	nullDER = []byte{5, 0}
)

// TestACertificateOfManyNamesHasFewProblems: one of 64 KiB has room for thirty thousand names, each of which is a problem of its own.
//
// Holds: D11
func TestACertificateOfManyNamesHasFewProblems(t *testing.T) {
	names := bytes.Repeat([]byte{0x82, 0}, 30_000)
	der := issued(t, func(c *x509.Certificate) {
		c.DNSNames = nil
		extension(sanOID, false, append([]byte{0x30, 0x82, byte(len(names) >> 8), byte(len(names))}, names...))(c)
	})
	require.Less(t, len(der), MaxCertificate)
	c := MatchCertificate(granted(), "test:1", der, december.Add(time.Minute))
	require.Equal(t, OutcomeRefused, c.Outcome)
	require.Len(t, c.Problems, maxProblems)
	require.Equal(t, "certificate.name", c.Problems[0].Code)
	require.Len(t, c.Names, 30_000, "the names are all there")
}

// Holds: DCV-01, DCV-03, CAA-05, C1, C8, D1, D5
func TestACertificateIsHeldToItsPermit(t *testing.T) {
	names := func(n ...string) func(*x509.Certificate) { return func(c *x509.Certificate) { c.DNSNames = n } }
	from := func(at time.Time) func(*x509.Certificate) { return func(c *x509.Certificate) { c.NotBefore = at } }
	common := func(cn string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.Subject.CommonName = cn }
	}
	soon := december.Add(time.Minute)
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		permit func(*PermitRecord)
		at     time.Time
		want   []string
		about  string
	}{
		"all names":                  {},
		"one of the names":           {change: names("*.example.com")},
		"a precertificate":           {change: extension(poison, true, nullDER)},
		"with a common name":         {change: func(c *x509.Certificate) { common("example.com")(c); c.Subject.Organization = []string{"Example"} }},
		"another name":               {change: names("example.com", "www.example.com"), want: []string{"certificate.name"}, about: "www.example.com"},
		"each name that is too many": {change: names("a.org", "b.org"), want: []string{"certificate.name", "certificate.name"}, about: "a.org"},
		"a name that ends alike":     {change: names("badexample.com"), want: []string{"certificate.name"}, about: "badexample.com"},
		"a name below":               {change: names("a.example.com"), want: []string{"certificate.name"}, about: "a.example.com"},
		"another case":               {change: names("Example.com"), want: []string{"certificate.name"}, about: "Example.com"},
		"a dot":                      {change: names("example.com."), want: []string{"certificate.name"}, about: "example.com."},
		"a NUL":                      {change: names("example.com\x00.evil.org"), want: []string{"certificate.name"}, about: "example.com\x00.evil.org"},
		"no names":                   {change: names(), want: []string{"certificate.unreadable"}},
		"an empty list of names":     {change: func(c *x509.Certificate) { c.DNSNames = nil; extension(sanOID, false, []byte{0x30, 0})(c) }, want: []string{"certificate.name"}},
		"an address":                 {change: func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} }, want: []string{"certificate.name-type"}},
		"an e-mail address":          {change: func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.com"} }, want: []string{"certificate.name-type"}},
		"a URI":                      {change: func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "example.com"}} }, want: []string{"certificate.name-type"}},
		"a name that Go passes over": {change: func(c *x509.Certificate) {
			c.DNSNames = nil
			extension(sanOID, false, []byte{0x30, 5, 0x88, 3, 42, 3, 4})(c)
		}, want: []string{"certificate.name-type"}},
		"another common name":         {change: common("www.example.com"), want: []string{"certificate.common-name"}, about: "www.example.com"},
		"a common name in other case": {change: common("EXAMPLE.com"), want: []string{"certificate.common-name"}, about: "EXAMPLE.com"},
		"a second common name": {change: func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "evil.org"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "example.com"}}
		}, want: []string{"certificate.common-name"}, about: "evil.org"},
		"an authority":                 {change: func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, want: []string{"certificate.authority"}},
		"two hours before":             {change: from(december.Add(-2 * time.Hour))},
		"more than two hours before":   {change: from(december.Add(-2*time.Hour - time.Second)), want: []string{"certificate.early"}},
		"a second before it ends":      {change: from(december.Add(time.Hour - time.Second))},
		"as the permit ends":           {change: from(december.Add(time.Hour)), want: []string{"certificate.late"}},
		"after the permit ended":       {change: from(december.Add(time.Hour + time.Second)), want: []string{"certificate.late"}},
		"linked as the permit is made": {at: december},
		"linked before":                {at: december.Add(-1), want: []string{"certificate.early"}},
		"linked a day after its end":   {at: december.Add(25 * time.Hour)},
		"linked later than that":       {at: december.Add(25*time.Hour + 1), want: []string{"certificate.late"}},
		"a permit that was refused":    {permit: func(p *PermitRecord) { p.Outcome = OutcomeRefused }, want: []string{"certificate.permit"}},
		"a permit of no outcome":       {permit: func(p *PermitRecord) { p.Outcome = "" }, want: []string{"certificate.permit"}},
		"all of it": {change: func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.NotBefore, c.DNSNames = true, true, december.Add(-oneDay), []string{"a.org"}
		}, want: []string{"certificate.authority", "certificate.name", "certificate.early"}},
	} {
		t.Run(name, func(t *testing.T) {
			permit := granted()
			if c.permit != nil {
				c.permit(&permit)
			}
			if c.at.IsZero() {
				c.at = soon
			}
			der := issued(t, c.change)
			r := MatchCertificate(permit, "test:1", der, c.at)
			var got []string
			for _, p := range r.Problems {
				got = append(got, p.Code)
				require.NotEmpty(t, p.Detail)
			}
			require.Equal(t, c.want, got, "%v", r.Problems)
			require.Equal(t, len(c.want) == 0, r.Outcome == OutcomeLinked)
			require.Equal(t, len(c.want) > 0, r.Outcome == OutcomeRefused)
			if c.about != "" {
				require.Equal(t, c.about, r.Problems[0].Name, "the name is named")
			}
			sum := sha256.Sum256(der)
			require.Equal(t, hex.EncodeToString(sum[:]), r.SHA256)
			require.Equal(t, der, r.DER)
			require.Equal(t, "abc", r.Serial)
			require.Equal(t, "CN=Test CA,O=Quorate", r.Issuer)
			require.Equal(t, name == "a precertificate", r.Precertificate)
			text, err := json.Marshal(r)
			require.NoError(t, err)
			var again CertificateRecord
			require.NoError(t, json.Unmarshal(text, &again))
			require.Equal(t, r, again, "the record gives back what was kept")
		})
	}
	der := issued(t, nil)
	for name, der := range map[string][]byte{"no certificate": []byte("hello"), "cut": der[:len(der)-1], "two": append(der, der...)} {
		r := MatchCertificate(granted(), "test:1", der, soon)
		require.Equal(t, "certificate.unreadable", r.Problems[0].Code, name)
		require.Equal(t, OutcomeRefused, r.Outcome)
		require.Equal(t, der, r.DER, "nothing is lost")
	}
}

// Holds: REC-05, REC-06, F4
func TestCertificatesAreOnRecordWhateverTheyAre(t *testing.T) {
	inScene(t, func(n *counter) {
		ctx := context.Background()
		n.show("example.com", va.HTTP01, acct1)
		p := n.permit("example.com")
		right := issued(t, func(c *x509.Certificate) { c.DNSNames = []string{"example.com"} })
		pre := issued(t, func(c *x509.Certificate) { c.DNSNames = []string{"example.com"}; extension(poison, true, nullDER)(c) })
		wrong := issued(t, nil)
		for i, der := range [][]byte{pre, right, right, wrong, wrong, []byte("hello")} {
			time.Sleep(time.Second)
			c, err := n.permits.Certificate(ctx, "test:1", p.ID, der)
			require.NoError(t, err)
			require.Equal(t, i < 3, c.Outcome == OutcomeLinked, "%v", c.Problems)
			require.Equal(t, p.ID, c.Permit)
			require.Equal(t, "test:1", c.Caller)
		}
		require.Len(t, n.book.certificates, 4, "a second time changes nothing")
		require.Equal(t, []string{"linked", "linked", "refused", "refused"}, []string{n.book.certificates[0].Outcome, n.book.certificates[1].Outcome,
			n.book.certificates[2].Outcome, n.book.certificates[3].Outcome})

		refused := n.permit("example.net")
		c, err := n.permits.Certificate(ctx, "test:1", refused.ID, issued(t, func(c *x509.Certificate) { c.DNSNames = []string{"example.net"} }))
		require.NoError(t, err)
		require.Equal(t, "certificate.permit", c.Problems[0].Code)

		kept := len(n.book.certificates)
		_, err = n.permits.Certificate(ctx, "test:2", p.ID, right)
		require.ErrorIs(t, err, ErrNoPermit)
		_, err = n.permits.Certificate(ctx, "test:1", "OTHER", right)
		require.ErrorIs(t, err, ErrNoPermit)
		for _, der := range [][]byte{nil, make([]byte, MaxCertificate+1)} {
			_, err = n.permits.Certificate(ctx, "test:1", p.ID, der)
			require.ErrorIs(t, err, ErrRequest)
		}
		n.book.failCert = errors.New("disk full")
		c, err = n.permits.Certificate(ctx, "test:1", p.ID, right)
		require.ErrorIs(t, err, ErrRecord)
		require.Equal(t, CertificateRecord{}, c)
		n.book.failFind = errors.New("disk")
		_, err = n.permits.Certificate(ctx, "test:1", p.ID, right)
		require.ErrorIs(t, err, ErrUnread)
		require.Len(t, n.book.certificates, kept)
	})
}

// FuzzMatchCertificate: no octets are linked that are not a certificate for the permit's names alone.
func FuzzMatchCertificate(f *testing.F) {
	f.Add(issued(f, nil))
	f.Add(issued(f, extension(poison, true, nullDER)))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		r := MatchCertificate(granted(), "test:1", der, december)
		_, err := json.Marshal(r)
		require.NoError(t, err)
		if r.Outcome != OutcomeLinked {
			require.NotEmpty(t, r.Problems)
			return
		}
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		require.NotEmpty(t, cert.DNSNames)
		require.Subset(t, []string{"example.com", "*.example.com"}, cert.DNSNames)
	})
}
