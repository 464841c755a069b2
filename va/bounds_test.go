package va

import (
	"bytes"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// TestWhatAServerPresentsIsCut: a handshake may bring certificates of 256 KiB, and each name of two octets, each digest and each octet of
// an identifier would stand in the record several times over.
//
// Holds: D11
func TestWhatAServerPresentsIsCut(t *testing.T) {
	oid := acmeIdentifier(t, secret).Id
	names := slices.Repeat([]asn1.RawValue{dnsName("")}, 50_000)
	for what, c := range map[string]struct {
		leaf  leaf
		chain int
		want  string
	}{
		"names":         {leaf{names: names}, 1, "tls.names"},
		"long names":    {leaf{names: slices.Repeat([]asn1.RawValue{dnsName(strings.Repeat("a", 60_000))}, 2)}, 1, "tls.names"},
		"an identifier": {leaf{extensions: []pkix.Extension{extension(t, oid, true, make([]byte, 100_000))}}, 1, "tls.identifier"},
		"certificates":  {leaf{}, 400, "tls.certificate"},
	} {
		t.Run(what, func(t *testing.T) {
			cert := c.leaf.make(t)
			cert.Certificate = slices.Repeat(cert.Certificate, c.chain)
			l, _ := tlsServer(t, &tls.Config{NextProtos: []string{acmeTLS1}, Certificates: []tls.Certificate{cert}})
			f := checker(t, loopback("shop.example.com"), inWorld(nil, l)).Check(t.Context(), probe(request(TLSALPN01))).DCV
			require.Equal(t, c.want, code(f.Problem))
			text, err := json.Marshal(f)
			require.NoError(t, err)
			require.Less(t, len(text), 20_000)
			require.LessOrEqual(t, len(f.Observed), maxObserved)
		})
	}
}

// TestAReasonIsShort: a decision repeats it, and takes none that is long for a reason (mpic.Judge), whatever a zone or a web server writes.
//
// Holds: CAA-08, D11
func TestAReasonIsShort(t *testing.T) {
	const most = 8 << 10 // octets of JSON, mpic's bound
	for what, value := range map[string]string{"an issuer": "other.example; a=" + strings.Repeat("<", 60_000), "quotes": strings.Repeat(`"`, 60_000),
		"octets": strings.Repeat("\x01", 60_000), "an escape": strings.Repeat("<", 60_000) + `\`} {
		t.Run(what, func(t *testing.T) {
			rr := caaOnTheWire(t, []byte("\x00\x05issue"+value))
			f := caaOf(t, &table{answer: func(name, qtype string, _ int) *resolver.Answer {
				a := answered(resolver.Lookup{Name: name + ".", Type: qtype, Status: dnssec.Secure})
				a.Records = []dns.RR{rr}
				return a
			}}, request(HTTP01))
			require.Equal(t, Fail, f.Outcome)
			text, err := json.Marshal(f.Problem)
			require.NoError(t, err)
			require.Less(t, len(text), most)
			require.Contains(t, f.Problem.Detail, "issue")
			require.Equal(t, "shop.example.com", f.Problem.Name)
		})
	}
	t.Run("a URL", func(t *testing.T) {
		l := raw(t, text("HTTP/1.1 302 Found\r\nLocation: /?"+strings.Repeat("&", 2000)+"\r\n\r\n"))
		f := checker(t, loopback("shop.example.com"), inWorld(l, nil)).Check(t.Context(), probe(request(HTTP01))).DCV
		require.Equal(t, "http.loop", code(f.Problem))
		require.Len(t, f.Fetches, 2)
		require.Greater(t, len(f.Fetches[1].URL), 2000, "the fetch has it whole")
		text, err := json.Marshal(f.Problem)
		require.NoError(t, err)
		require.Less(t, len(text), most)
	})
}

// TestRFC8659_4_1_ATagWithABlankIsNoOther: the presentation format of the DNS library does not escape a blank in a tag, so that `0 issue  "x"`
// could be of "issue" or of "issue ", and a critical property that nobody knows could pass for one that is known.
//
// Holds: CAA-02, CAA-03
func TestRFC8659_4_1_ATagWithABlankIsNoOther(t *testing.T) {
	for what, c := range map[string]struct {
		flags byte
		tag   string
	}{
		"issue and a blank":                  {0, "issue "},
		"a blank and issue":                  {0, " issue"},
		"issuewild and a blank":              {0, "issuewild "},
		"iodef and a blank, critical":        {128, "iodef "},
		"two words, the first one known":     {128, "iodef x"},
		"a quoted value inside the tag":      {0, `issue "ca.example" `},
		"no tag":                             {0, ""},
		"nothing but blanks":                 {128, "  "},
		"issue, a tabulator and another one": {128, "issue\tx"},
	} {
		t.Run(what, func(t *testing.T) {
			rr := caaOnTheWire(t, append([]byte{c.flags, byte(len(c.tag))}, c.tag+"ca.example"...))
			_, p := EvaluateCAA([]string{rr.String()}, request(HTTP01))
			require.Contains(t, []string{"caa.malformed", "caa.critical"}, code(p), "the library's text is %s", rr)
		})
	}
}

// caaOnTheWire reads a CAA record at shop.example.com from its RDATA.
func caaOnTheWire(t *testing.T, rdata []byte) dns.RR {
	t.Helper()
	var m bytes.Buffer
	m.WriteString("\x04shop\x07example\x03com\x00\x01\x01\x00\x01\x00\x00\x01\x2c")
	m.Write([]byte{byte(len(rdata) >> 8), byte(len(rdata))})
	m.Write(rdata)
	rr, _, err := dns.UnpackRR(m.Bytes(), 0)
	require.NoError(t, err)
	return rr
}
