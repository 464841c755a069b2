package world

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
)

// unbound runs Unbound as a validator of the world, with the world's trust anchor, and gives its address. Unbound asks
// the servers of referrals at port 53 only: a world at that port it resolves from the root hints; of a world at another
// port it is told each zone with its port, and what it validates is unchanged.
func unbound(t *testing.T, w *World) string {
	t.Helper()
	path := daemon.Program(t, "unbound")
	dir := t.TempDir()
	anchor := filepath.Join(dir, "anchor")
	require.NoError(t, os.WriteFile(anchor, []byte(w.AnchorText()), 0o600))
	port := daemon.FreePort(t)
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
	interface: 127.0.0.1
	port: %d
	do-not-query-localhost: no
	do-daemonize: no
	use-syslog: no
	username: ""
	chroot: ""
	pidfile: ""
	directory: %q
	trust-anchor-file: %q
	module-config: "validator iterator"
	val-log-level: 2
	do-ip6: no
	num-threads: 1
	qname-minimisation: no
remote-control:
	control-enable: no
`, port, dir, anchor)
	if w.Port() == 53 {
		var hints strings.Builder
		for _, s := range w.Hints() {
			fmt.Fprintf(&hints, ". 3600 NS %s\n%s 3600 A %v\n", s.Host, s.Host, s.Addr)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "hints"), []byte(hints.String()), 0o600))
		fmt.Fprintf(&conf, "server:\n\troot-hints: %q\n", filepath.Join(dir, "hints"))
		return runUnbound(t, path, dir, port, conf.String())
	}
	for _, z := range w.Zones() {
		fmt.Fprintf(&conf, "stub-zone:\n\tname: %q\n\tstub-prime: no\n", z.Name)
		for _, s := range z.Servers {
			fmt.Fprintf(&conf, "\tstub-addr: %v@%d\n", s.Addr, w.Port())
		}
	}
	return runUnbound(t, path, dir, port, conf.String())
}

func runUnbound(t *testing.T, path, dir string, port uint16, conf string) string {
	t.Helper()
	file := filepath.Join(dir, "unbound.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o600))
	out := daemon.Launch(t, path, "-d", "-c", file)
	at := fmt.Sprintf("127.0.0.1:%d", port)
	require.Eventually(t, func() bool {
		m := new(dns.Msg).SetQuestion(".", dns.TypeSOA)
		_, err := dns.Exchange(m, at)
		return err == nil
	}, 10*time.Second, 50*time.Millisecond, "Unbound starts: %v", out)
	return at
}

// verdict asks a validating resolver and gives the rcode, and whether it vouches for the answer.
func verdict(t *testing.T, at, name string, qtype uint16) (rcode string, secure bool, answers []string) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	m.SetEdns0(1232, true)
	c := &dns.Client{Timeout: 30 * time.Second, UDPSize: 1232}
	r, _, err := c.Exchange(m, at)
	require.NoError(t, err)
	if r.Truncated {
		c.Net = "tcp"
		r, _, err = c.Exchange(m, at)
		require.NoError(t, err)
	}
	return dns.RcodeToString[r.Rcode], r.AuthenticatedData, types(r.Answer)
}

// questions are asked of every zone that is in order.
func questions(zone string) []dns.Question {
	return []dns.Question{
		{Name: zone, Qtype: dns.TypeA}, {Name: zone, Qtype: dns.TypeSOA}, {Name: zone, Qtype: dns.TypeMX},
		{Name: "none.here." + zone, Qtype: dns.TypeTXT}, {Name: "www." + zone, Qtype: dns.TypeA},
		{Name: "_acme-challenge." + zone, Qtype: dns.TypeTXT}, {Name: zone, Qtype: dns.TypeCAA},
	}
}

func TestUnboundAgreesOnEveryZone(t *testing.T) {
	agree(t, start(t, Default()))
}

// TestUnboundResolvesFromTheRoot adds what the test above leaves out: referrals and their proofs.
func TestUnboundResolvesFromTheRoot(t *testing.T) {
	l, err := net.ListenPacket("udp4", fmt.Sprintf("%v:53", rootAddr))
	if err != nil {
		t.Skipf("referrals are not compared with Unbound: it follows them at port 53 only, and that is not to be had: %v", err)
	}
	require.NoError(t, l.Close())
	cfg := Default()
	cfg.Port = 53
	agree(t, start(t, cfg))
}

// agree asks Unbound about each zone of the default world and compares its verdicts with what the zone is made to show.
func agree(t *testing.T, w *World) {
	t.Helper()
	at := unbound(t, w)
	unsigned := map[string]bool{"unsigned.com.": true, "unsigned.org.": true, "unsigned.net.": true, "plain.info.": true,
		"island.com.": true, "open.example.com.": true, "info.": true, "noedns.com.": true}
	broken := map[string]bool{"dead.com.": true, "lame.com.": true, "refused.com.": true, "notcp.com.": true}
	for _, z := range w.Zones() {
		if z.Name == "." || broken[z.Name] {
			continue
		}
		t.Run(z.Name, func(t *testing.T) {
			for _, q := range questions(z.Name) {
				bad := strings.HasPrefix(z.Name, "bogus-")
				switch z.Name {
				case "bogus-tampered.com.":
					bad = q.Name == z.Name && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeCAA) || strings.HasPrefix(q.Name, "www.")
				case "bogus-caa.com.", "servfail-caa.com.":
					bad = q.Qtype == dns.TypeCAA
				}
				rcode, secure, _ := verdict(t, at, q.Name, q.Qtype)
				if bad {
					require.Equal(t, "SERVFAIL", rcode, "%s %s", q.Name, dns.Type(q.Qtype))
					continue
				}
				require.Contains(t, []string{"NOERROR", "NXDOMAIN"}, rcode, "%s %s", q.Name, dns.Type(q.Qtype))
				// An NSEC3 denial with opt-out is never vouched for (RFC 5155 section 9.2).
				if z.Denial == NSEC3OptOut && q.Name != z.Name {
					continue
				}
				require.Equal(t, !unsigned[z.Name], secure, "%s %s", q.Name, dns.Type(q.Qtype))
			}
		})
	}
}

func TestUnboundAgreesOnNames(t *testing.T) {
	w := start(t, Default())
	at := unbound(t, w)
	cases := []struct {
		name   string
		qtype  uint16
		rcode  string
		secure bool
	}{
		{"a.b.ent.example.com", dns.TypeTXT, "NOERROR", true},
		{"ent.example.com", dns.TypeTXT, "NOERROR", true},
		{"b.ent.example.org", dns.TypeTXT, "NOERROR", true},
		{"x.b.ent.example.org", dns.TypeTXT, "NXDOMAIN", true},
		{"any.wildcard.com", dns.TypeTXT, "NOERROR", true},
		{"any.deep.wildcard.com", dns.TypeMX, "NOERROR", true},
		{"below.exists.wildcard.com", dns.TypeTXT, "NXDOMAIN", true},
		{"x.alias.wildcard.com", dns.TypeA, "NOERROR", true},
		{"any.wildcard.org", dns.TypeTXT, "NOERROR", true},
		{"any.deep.wildcard.org", dns.TypeMX, "NOERROR", true},
		{"below.exists.wildcard.org", dns.TypeTXT, "NXDOMAIN", true},
		{"x.alias.wildcard.org", dns.TypeA, "NOERROR", true},
		{"www.alias.com", dns.TypeA, "NOERROR", true},
		{"chain.alias.com", dns.TypeA, "NOERROR", true},
		{"open.alias.com", dns.TypeA, "NOERROR", false},
		{"www.old.alias.com", dns.TypeA, "NOERROR", true},
		{"www.away.alias.com", dns.TypeA, "NOERROR", false},
		{"unsigned.com", dns.TypeDS, "NOERROR", true},
		{"unsigned.org", dns.TypeDS, "NOERROR", true},
		{"open.example.com", dns.TypeDS, "NOERROR", true},
		{"child.example.com", dns.TypeDS, "NOERROR", true},
		{"ns.hosting.net", dns.TypeA, "NOERROR", true},
		{"nothing.com", dns.TypeA, "NXDOMAIN", true},
		{"nothing.org", dns.TypeA, "NXDOMAIN", true},
		{"nothing.net", dns.TypeA, "NXDOMAIN", false},
		{"nothing", dns.TypeA, "NXDOMAIN", true},
		{"large.com", dns.TypeTXT, "NOERROR", true},
		{"caa-critical.com", dns.TypeCAA, "NOERROR", true},
		{"refused.com", dns.TypeA, "SERVFAIL", false},
		{"notcp.com", dns.TypeA, "SERVFAIL", false},
	}
	for _, c := range cases {
		t.Run(c.name+" "+dns.Type(c.qtype).String(), func(t *testing.T) {
			t.Parallel()
			rcode, secure, _ := verdict(t, at, c.name, c.qtype)
			require.Equal(t, c.rcode, rcode)
			require.Equal(t, c.secure, secure)
		})
	}
}

// TestUnboundSeesChanges asks names that were never asked before, so that no cache stands between.
func TestUnboundSeesChanges(t *testing.T) {
	w := start(t, Default())
	at := unbound(t, w)
	for _, zone := range []string{"example.com", "example.org", "rsa.com", "example.dev", "salted.org"} {
		require.NoError(t, w.Set("_acme-challenge."+zone, dns.TypeTXT, "value one", `two "quoted" \ words`))
		rcode, secure, answers := verdict(t, at, "_acme-challenge."+zone, dns.TypeTXT)
		require.Equal(t, "NOERROR", rcode)
		require.True(t, secure)
		require.Equal(t, []string{"TXT", "TXT", "RRSIG"}, answers)
		require.NoError(t, w.Remove("_acme-challenge."+zone, dns.TypeTXT))
		rcode, secure, _ = verdict(t, at, "gone._acme-challenge."+zone, dns.TypeTXT)
		require.Equal(t, "NXDOMAIN", rcode)
		require.True(t, secure)
	}
}

func TestLdnsVerifiesExports(t *testing.T) {
	w := start(t, Default())
	path := daemon.Program(t, "ldns-verify-zone")
	for _, zone := range []string{".", "com", "org", "net", "dev", "example.com", "example.org", "salted.org", "rsa.com",
		"wildcard.org", "optout.net", "alias.com"} {
		text, err := w.Export(zone)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "zone")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		out, err := exec.Command(path, file).CombinedOutput()
		require.NoError(t, err, "%s: %s", zone, out)
	}
	text, err := w.Export("bogus-expired.com")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "zone")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	require.Error(t, exec.Command(path, file).Run(), "ldns-verify-zone sees an expired signature")
}
