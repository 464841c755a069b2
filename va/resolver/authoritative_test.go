package resolver_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// zoneFiles writes the zones, as the world signed them, into a directory.
func zoneFiles(t *testing.T, w *world.World, dir string, zones []string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for i, z := range zones {
		text, err := w.Export(z)
		require.NoError(t, err)
		files[z] = filepath.Join(dir, fmt.Sprintf("%d.zone", i))
		require.NoError(t, os.WriteFile(files[z], []byte(text), 0o644))
	}
	return files
}

// serveNSD and serveKnot serve zones on addresses until the test ends.
func serveNSD(t *testing.T, w *world.World, port uint16, addrs, zones []string) {
	t.Helper()
	dir := t.TempDir()
	conf := "server:\n server-count: 1\n username: \"\"\n do-ip6: no\n rrl-ratelimit: 0\n answer-cookie: yes\n" +
		fmt.Sprintf(" port: %d\n zonesdir: %q\n pidfile: %q\n xfrdfile: %q\n zonelistfile: %q\n xfrdir: %q\n", port, dir,
			dir+"/pid", dir+"/xfrd", dir+"/zones", dir)
	for _, a := range addrs {
		conf += " ip-address: " + a + "\n"
	}
	conf += "remote-control:\n control-enable: no\n"
	for z, file := range zoneFiles(t, w, dir, zones) {
		conf += fmt.Sprintf("zone:\n name: %q\n zonefile: %q\n", z, file)
	}
	run(t, port, addrs, zones, daemon.Program(t, "nsd"), conf, dir, "-d", "-c")
}

func serveKnot(t *testing.T, w *world.World, port uint16, addrs, zones []string) {
	t.Helper()
	dir := t.TempDir()
	conf := fmt.Sprintf("server:\n  rundir: %q\n  listen: [%s@%d]\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"+
		"database:\n  storage: %q\n"+
		"mod-cookies:\n  - id: each\n    badcookie-slip: 1\ntemplate:\n  - id: default\n    global-module: mod-cookies/each\n"+
		"zone:\n", dir, strings.Join(addrs, fmt.Sprintf("@%d, ", port)), port, dir)
	for z, file := range zoneFiles(t, w, dir, zones) {
		conf += fmt.Sprintf("  - domain: %q\n    file: %q\n", z, file)
	}
	run(t, port, addrs, zones, daemon.Program(t, "knotd"), conf, dir, "-c")
}

func run(t *testing.T, port uint16, addrs, zones []string, binary, conf, dir string, args ...string) {
	t.Helper()
	file := filepath.Join(dir, "server.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o644))
	cmd := exec.Command(binary, append(args, file)...)
	var log strings.Builder
	cmd.Stderr, cmd.Stdout = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	m := new(dns.Msg)
	m.SetQuestion(zones[len(zones)-1], dns.TypeSOA)
	for _, a := range addrs {
		require.Eventually(t, func() bool {
			r, err := dns.Exchange(m, net.JoinHostPort(a, fmt.Sprint(port)))
			return err == nil && r.Rcode == dns.RcodeSuccess && r.Authoritative
		}, 20*time.Second, 50*time.Millisecond, "%s does not serve on %s", binary, a)
	}
}

// healthy leaves out the questions about zones that the world's faults concern: these servers have none.
func healthy(t *testing.T, w *world.World) []question {
	faulty := map[string]bool{}
	for _, f := range world.Default().Faults {
		faulty[dns.Fqdn(f.Zone)] = true
	}
	var all []question
	for _, q := range questions(t, "testdata/world.txt") {
		bad := false
		for z := range faulty {
			bad = bad || dns.IsSubDomain(z, dns.Fqdn(q.name))
		}
		if !bad {
			all = append(all, q)
		}
	}
	require.Greater(t, len(all), 50)
	return all
}

func byAddress(w *world.World) map[string][]string {
	by := map[string][]string{}
	for _, z := range w.Zones() {
		for _, s := range z.Servers {
			by[s.Addr.String()] = append(by[s.Addr.String()], z.Name)
		}
	}
	return by
}

// The same verdicts from NSD for the root and the top-level domains and from Knot for all below.
//
// Holds: DCV-04, DCV-05, DCV-06, DCV-08
func TestVerdictsWithNSDAndKnot(t *testing.T) {
	daemon.Program(t, "nsd")
	daemon.Program(t, "knotd")
	w := serve(t, world.Default())
	port := daemon.FreePort(t)
	by := byAddress(w)
	serveNSD(t, w, port, []string{"127.0.53.1", "127.0.53.2"}, by["127.0.53.1"])
	serveNSD(t, w, port, []string{"127.0.53.3", "127.0.53.4"}, by["127.0.53.3"])
	for _, a := range []string{"127.0.53.10", "127.0.53.11", "127.0.53.12", "127.0.53.13", "127.0.53.14", "127.0.53.15"} {
		serveKnot(t, w, port, []string{a}, by[a])
	}
	askAll(t, w, port, nil)
}

// NSD gives cookies and demands none; Knot, as set up here, refuses over UDP who comes without its cookie.
//
// Holds: DCV-04
func TestRFC7873_CookiesWithNSDAndKnot(t *testing.T) {
	daemon.Program(t, "nsd")
	daemon.Program(t, "knotd")
	w := serve(t, quick())
	port := daemon.FreePort(t)
	by := byAddress(w)
	serveNSD(t, w, port, []string{"127.0.53.1", "127.0.53.2"}, by["127.0.53.1"])
	serveKnot(t, w, port, []string{"127.0.53.3", "127.0.53.4"}, by["127.0.53.3"])
	r := in(t, w, func(c *resolver.Config) { c.Port = port })
	refused := 0
	for i := range 20 {
		l := r.Lookup(context.Background(), "com", dns.TypeNS).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		require.NotContains(t, trace(l), " tcp ")
		refused += strings.Count(trace(l), "BADCOOKIE")
		require.Positive(t, refused, "lookup %d: the first query to Knot has no server cookie yet", i)
	}
	require.Less(t, refused, 15, "two servers are asked with their own cookies from then on")
}

// One server holds the root and everything below: no referral is ever seen, and each zone cut must be found by its DS.
//
// Holds: DCV-05, DCV-08
func TestVerdictsWithAllZonesOnOneServer(t *testing.T) {
	daemon.Program(t, "nsd")
	w := serve(t, world.Default())
	port := daemon.FreePort(t)
	var zones []string
	for _, z := range w.Zones() {
		zones = append(zones, z.Name)
	}
	serveNSD(t, w, port, []string{"127.0.53.99"}, zones)
	askAll(t, w, port, func(c *resolver.Config) {
		c.Hints = []resolver.Hint{{Name: "one.", Addrs: []netip.Addr{netip.MustParseAddr("127.0.53.99")}}}
	})
}

func askAll(t *testing.T, w *world.World, port uint16, edit func(*resolver.Config)) {
	t.Helper()
	for _, minimise := range []bool{true, false} {
		r := in(t, w, func(c *resolver.Config) {
			c.Port, c.NoQnameMinimisation = port, !minimise
			if edit != nil {
				edit(c)
			}
		})
		for _, q := range healthy(t, w) {
			t.Run(fmt.Sprintf("%s %s %v", q.name, dns.TypeToString[q.qtype], minimise), func(t *testing.T) {
				q.check(t, r.Lookup(context.Background(), q.name, q.qtype))
			})
		}
	}
}
