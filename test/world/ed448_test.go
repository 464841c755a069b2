package world

import (
	"encoding/base64"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
)

// ed448World has an ED448 zone for each kind of denial, and one with a single key.
func ed448World(t *testing.T) *World {
	t.Helper()
	at := func(host, addr string) []Server { return []Server{{Host: host, Addr: netip.MustParseAddr(addr)}} }
	const records = "@ A 192.0.2.1\n@ CAA 0 issue \"ca.example.net\"\n@ MX 10 MAIL.Upper.\n*.wild A 192.0.2.3\nwww CNAME @\n"
	cfg := Config{Zones: []Zone{{Name: ".", Servers: at("root.ns-root", "127.0.53.130"), Algorithm: dns.ED448, CSK: true}}}
	for name, z := range map[string]Zone{"nsec": {}, "nsec3": {Denial: NSEC3, Salt: "448a", Iterations: 3},
		"optout": {Denial: NSEC3OptOut}, "csk": {CSK: true}} {
		z.Name, z.Algorithm, z.Records, z.Servers = name, dns.ED448, records, at("ns."+name, "127.0.53.131")
		cfg.Zones = append(cfg.Zones, z)
	}
	return start(t, cfg)
}

// What is signed, stated a second time by hand: RFC 4034 section 3.1.8.1 for one record, with the algorithm's own number.
func TestRFC8080_ED448SignsWhatItShould(t *testing.T) {
	w := ed448World(t)
	var public ed448.PublicKey
	for _, rr := range w.RRset("nsec", "nsec", dns.TypeDNSKEY) {
		if k, ok := rr.(*dns.DNSKEY); ok && k.Flags == dns.ZONE {
			require.EqualValues(t, 16, k.Algorithm)
			raw, err := base64.StdEncoding.DecodeString(k.PublicKey)
			require.NoError(t, err)
			require.Len(t, raw, 57, "RFC 8080 section 3")
			public = raw
		}
	}
	set := w.RRset("nsec", "nsec", dns.TypeMX)
	require.Len(t, set, 2)
	sig := set[1].(*dns.RRSIG)
	raw, err := base64.StdEncoding.DecodeString(sig.Signature)
	require.NoError(t, err)
	require.Len(t, raw, 114, "RFC 8080 section 4")
	be := func(n uint32, octets int) []byte {
		b := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
		return b[4-octets:]
	}
	var data []byte
	for _, part := range [][]byte{
		be(15, 2), {16, 1}, be(300, 4), be(sig.Expiration, 4), be(sig.Inception, 4), be(uint32(sig.KeyTag), 2), []byte("\x04nsec\x00"),
		[]byte("\x04nsec\x00"), be(15, 2), be(1, 2), be(300, 4), be(2+12, 2), be(10, 2),
		[]byte("\x04mail\x05upper\x00"),
	} {
		data = append(data, part...)
	}
	require.True(t, ed448.Verify(public, data, raw, ""))
	data[2] = dns.ED25519
	require.False(t, ed448.Verify(public, data, raw, ""), "the algorithm's number is signed")
}

func TestED448KeysSignNothingElse(t *testing.T) {
	k, err := newKey(Zone{Name: "example.", Algorithm: dns.ED448}, dns.ZONE)
	require.NoError(t, err)
	_, err = k.signer.Sign(nil, []byte("not what an RRSIG record signs"), nil)
	require.Error(t, err)
	_, err = k.signer.Sign(nil, nil, nil)
	require.Error(t, err)
	other, err := newKey(Zone{Name: "example.", Algorithm: dns.ED25519}, dns.ZONE)
	require.NoError(t, err)
	other.record = k.record
	_, err = signWith(other, []dns.RR{k.record}, Window{}, time.Now())
	require.ErrorContains(t, err, "does not sign with ED448")
}

func TestUnboundAgreesOnED448(t *testing.T) {
	w := ed448World(t)
	at := unbound(t, w)
	for _, zone := range []string{"nsec.", "nsec3.", "optout.", "csk."} {
		for _, q := range []struct {
			name, rcode string
			qtype       uint16
			secure      bool
		}{
			{zone, "NOERROR", dns.TypeA, true}, {zone, "NOERROR", dns.TypeMX, true}, {zone, "NOERROR", dns.TypeTXT, true},
			{"www." + zone, "NOERROR", dns.TypeA, true}, {"none." + zone, "NXDOMAIN", dns.TypeA, zone != "optout."},
			{"any.wild." + zone, "NOERROR", dns.TypeA, zone != "optout."},
		} {
			rcode, secure, _ := verdict(t, at, q.name, q.qtype)
			require.Equal(t, q.rcode, rcode, "%s %s", q.name, dns.Type(q.qtype))
			require.Equal(t, q.secure, secure, "%s %s", q.name, dns.Type(q.qtype))
		}
	}
	for _, fault := range []Fault{{Zone: "nsec3", Type: dns.TypeCAA, Kind: Tamper}, {Zone: "nsec3", Type: dns.TypeSPF, Kind: Expired}} {
		_, err := w.Inject(fault)
		require.NoError(t, err)
		rcode, _, _ := verdict(t, at, "nsec3.", fault.Type)
		require.Equal(t, "SERVFAIL", rcode, "Unbound does check these signatures")
	}
}

func TestLdnsVerifiesED448(t *testing.T) {
	w := ed448World(t)
	path := daemon.Program(t, "ldns-verify-zone")
	for _, zone := range []string{".", "nsec", "nsec3", "optout", "csk"} {
		text, err := w.Export(zone)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "zone")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		out, err := exec.Command(path, file).CombinedOutput()
		require.NoError(t, err, "%s: %s", zone, out)
	}
}
