package va

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// These tests go the whole way: a perspective with its own validating resolver, name servers with signed zones, web
// hosts.

func startWorld(t *testing.T) *world.World {
	t.Helper()
	w, err := world.New(world.Default())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// perspective makes a Checker that sends everything from the address given.
func perspective(t *testing.T, w *world.World, from string, change ...func(*resolver.Config)) *Checker {
	t.Helper()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	source := netip.MustParseAddr(from)
	rc := resolver.Config{Anchors: anchors, Port: w.Port(), AllowReserved: true, SourceAddr: source}
	for _, s := range w.Hints() {
		rc.Hints = append(rc.Hints, resolver.Hint{Name: s.Host, Addrs: []netip.Addr{s.Addr}})
	}
	for _, f := range change {
		f(&rc)
	}
	r, err := resolver.New(rc)
	require.NoError(t, err)
	c, err := New(Config{Name: from, Software: "quorate/test", Resolver: r, SourceAddr: source,
		World: World{HTTPPort: w.HTTPPort(), TLSPort: w.TLSPort(), AllowReserved: true}})
	require.NoError(t, err)
	return c
}

// hostOf gives the web host of a zone's apex.
func hostOf(t *testing.T, w *world.World, zone string) *world.Host {
	t.Helper()
	for _, z := range w.Zones() {
		if z.Name == zone+"." {
			first, _, _ := strings.Cut(z.Records, "\n")
			h, err := w.Host(netip.MustParseAddr(strings.Fields(first)[2]))
			require.NoError(t, err)
			return h
		}
	}
	require.Fail(t, "no zone", zone)
	return nil
}

func live(identifier string, method Method) Probe {
	req := request(method)
	req.Identifier, req.TokenCreated, req.Issuers = identifier, time.Now().Add(-time.Minute), []string{"ca.example.net"}
	return Probe{Attempt: "attempt", Nonce: "00112233445566778899aabbccddeeff", Deadline: time.Now().Add(time.Minute),
		Request: req}
}

// Holds: DCV-04, DCV-16, DCV-17
func TestHTTP01InTheWorld(t *testing.T) {
	w := startWorld(t)
	c := perspective(t, w, "127.0.9.1")
	hostOf(t, w, "example.com").AddToken(token, secret)
	hostOf(t, w, "unsigned.com").AddToken(token, secret)
	hostOf(t, w, "example.org")
	hostOf(t, w, "truncated.com").AddToken(token, secret)
	hostOf(t, w, "bogus-tampered.com").AddToken(token, secret)
	hostOf(t, w, "bogus-ds.com").AddToken(token, secret)
	for zone, to := range map[string]string{"rsa.com": "https://www.example.com/.well-known/acme-challenge/" + token,
		"example.dev": "http://www.bogus-ds.com/.well-known/acme-challenge/" + token} {
		hostOf(t, w, zone).Add(world.Page{Status: http.StatusFound, Location: to})
	}
	for name, want := range map[string]string{
		"example.com":        "ok",
		"www.example.com":    "ok", // a CNAME
		"any.wildcard.com":   "ok", // an expanded wildcard, whose proof is needed
		"unsigned.com":       "ok",
		"truncated.com":      "ok", // over TCP
		"rsa.com":            "ok", // redirected
		"example.dev":        "dnssec.bogus",
		"bogus-tampered.com": "dnssec.bogus",
		"bogus-ds.com":       "dnssec.bogus",
		"notcp.com":          "dns.lookup", // C3: a truncated answer is none
		"nosuch.example.com": "address.missing",
		"example.org":        "http.status",
	} {
		t.Run(name, func(t *testing.T) {
			f := c.Check(t.Context(), live(name, HTTP01)).DCV
			require.Equal(t, want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, want == "ok", f.Outcome == Pass)
			require.NotEmpty(t, f.Lookups)
			if want == "ok" {
				require.Equal(t, secret, f.Observed)
			}
		})
	}
}

// Holds: DCV-04, DCV-11
func TestDNS01InTheWorld(t *testing.T) {
	w := startWorld(t)
	c := perspective(t, w, "127.0.9.1")
	for _, name := range []string{"example.com", "example.org", "unsigned.net", "shared.example.org"} {
		require.NoError(t, w.Set("_acme-challenge."+name, dns.TypeTXT, txtValue()))
	}
	require.NoError(t, w.Set("_acme-challenge.alias.com", dns.TypeCNAME, "_acme-challenge.shared.example.org."))
	require.NoError(t, w.Set("_acme-challenge.rsa.com", dns.TypeCNAME, "www.bogus-ds.com."))
	require.NoError(t, w.Set("acme-challenge.example.dev", dns.TypeTXT, txtValue()))
	for name, want := range map[string]string{
		"example.com":            "ok",
		"*.example.com":          "ok",
		"*.example.org":          "ok",
		"unsigned.net":           "ok",
		"alias.com":              "ok",
		"rsa.com":                "dnssec.bogus", // the alias's target is
		"sub.example.com":        "txt.missing",  // DCV-13: not pruned to example.com
		"example.dev":            "txt.missing",  // D2: the label without underscore does not count
		"bogus-stripped.com":     "dnssec.bogus",
		"x.wildcard.com":         "txt.mismatch", // a wildcard TXT record
		"bogus-unsigned.com":     "dnssec.bogus",
		"any.alias.wildcard.com": "txt.missing",
	} {
		t.Run(name, func(t *testing.T) {
			f := c.Check(t.Context(), live(name, DNS01)).DCV
			require.Equal(t, want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, want == "ok", f.Outcome == Pass)
		})
	}
}

// Holds: DCV-04, DCV-18
func TestTLSALPN01InTheWorld(t *testing.T) {
	w := startWorld(t)
	c := perspective(t, w, "127.0.9.1")
	for _, name := range []string{"example.com", "bogus-ds.com"} {
		_, err := hostOf(t, w, name).AddALPN(world.ALPN{Domain: name, KeyAuthorization: secret})
		require.NoError(t, err)
	}
	for name, want := range map[string]string{
		"example.com": "ok", "www.example.com": "tls.handshake", "bogus-ds.com": "dnssec.bogus",
	} {
		t.Run(name, func(t *testing.T) {
			hostOf(t, w, "example.com")
			f := c.Check(t.Context(), live(name, TLSALPN01)).DCV
			require.Equal(t, want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, want == "ok", f.Outcome == Pass)
		})
	}
}

// Holds: CAA-01, CAA-02, CAA-03, CAA-07, C3, C6
func TestRFC8659_3_CAAInTheWorld(t *testing.T) {
	w := startWorld(t)
	c := perspective(t, w, "127.0.9.1")
	require.NoError(t, w.Set("to-us.alias.com", dns.TypeCNAME, "caa.example.com."))
	require.NoError(t, w.Set("to-them.alias.com", dns.TypeCNAME, "caa-other.com."))
	require.NoError(t, w.Set("below-them.alias.com", dns.TypeCNAME, "deep.sub.caa-tree.com."))
	require.NoError(t, w.Set("to-bogus.alias.com", dns.TypeCNAME, "bogus-caa.com."))
	for name, c2 := range map[string]struct{ want, found string }{
		"example.com":            {"ok", ""},
		"a.b.nosuch.example.com": {"ok", ""}, // NXDOMAIN at three steps
		"caa.example.com":        {"ok", "caa.example.com"},
		"www.caa.example.com":    {"ok", "caa.example.com"}, // NXDOMAIN does not end the climb
		"caa.example.org":        {"ok", "caa.example.org"},
		"unsigned.com":           {"ok", ""},
		"plain.info":             {"ok", ""},
		"to-us.alias.com":        {"ok", "to-us.alias.com"},
		"to-them.alias.com":      {"caa.forbidden", "to-them.alias.com"},
		"below-them.alias.com":   {"ok", ""}, // the tree above the alias's target is not climbed
		"to-bogus.alias.com":     {"caa.bogus", ""},
		"deep.sub.caa-tree.com":  {"caa.forbidden", "caa-tree.com"},
		"caa-other.com":          {"caa.forbidden", "caa-other.com"},
		"caa-none.com":           {"caa.forbidden", "caa-none.com"},
		"www.caa-critical.com":   {"caa.critical", "caa-critical.com"},
		"bogus-caa.com":          {"caa.bogus", ""},
		"www.bogus-ds.com":       {"caa.bogus", ""},
		"servfail-caa.com":       {"caa.lookup", ""},
		"truncated.com":          {"ok", "truncated.com"},
		"notcp.com":              {"caa.lookup", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.Check(t.Context(), live(name, DNS01)).CAA
			require.Equal(t, c2.want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, c2.found, f.Found)
			require.Equal(t, name, f.Name)
			require.Equal(t, c2.want == "ok", f.Outcome == Pass)
			last := f.Lookups[len(f.Lookups)-1]
			require.True(t, f.Found == "" || last.Name == f.Found+".")
			for _, record := range f.Records { // what the judge reads is what was decided on
				require.True(t, slices.Contains(last.Answers, record), "%q is not in %q", record, last.Answers)
			}
			if f.Found != "" {
				require.Equal(t, last.TTL, f.TTL)
				require.NotEmpty(t, f.Records)
			}
		})
	}
}

// TestAPerspectiveSendsFromItsOwnAddress: DNS, HTTP and TLS alike. The world shows the token to one source address
// alone, and another address of the name to the other (the hijack of one perspective).
//
// Holds: MPIC-07
func TestAPerspectiveSendsFromItsOwnAddress(t *testing.T) {
	w := startWorld(t)
	here, there := perspective(t, w, "127.0.9.1"), perspective(t, w, "127.0.9.2")
	onlyHere := world.Client(netip.MustParseAddr("127.0.9.1"))
	hostOf(t, w, "example.com").AddToken(token, secret, onlyHere)
	require.Equal(t, "ok", code(here.Check(t.Context(), live("example.com", HTTP01)).DCV.Problem))
	require.Equal(t, "http.status", code(there.Check(t.Context(), live("example.com", HTTP01)).DCV.Problem))

	view := w.View(world.Client(netip.MustParseAddr("127.0.9.2")))
	require.NoError(t, view.Set("unsigned.com", world.ByNobody, dns.TypeA, "127.0.80.99"))
	hijacker, err := w.Host(netip.MustParseAddr("127.0.80.99"))
	require.NoError(t, err)
	hijacker.AddToken(token, secret)
	hostOf(t, w, "unsigned.com")
	require.Equal(t, "http.status", code(here.Check(t.Context(), live("unsigned.com", HTTP01)).DCV.Problem))
	require.Equal(t, "ok", code(there.Check(t.Context(), live("unsigned.com", HTTP01)).DCV.Problem))
}
