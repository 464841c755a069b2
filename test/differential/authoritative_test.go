package differential

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
)

// The same comparison with NSD and Knot as the name servers, by turns, in a world whose faults lie in its zones alone.
//
// Holds: DCV-04, DCV-05, DCV-06, DCV-08
func TestUnboundAgreesOnNSDAndKnot(t *testing.T) {
	daemon.Program(t, "unbound")
	nsd, knot := daemon.Program(t, "nsd"), daemon.Program(t, "knotd")
	p := generate(*seed+1000, min(*names, 1000), false)
	w, err := world.New(p.config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	port := freePort(t, p)
	for i, a := range p.addresses() {
		files := export(t, w, a)
		if i%2 == 0 {
			serveNSD(t, nsd, a, port, files)
		} else {
			serveKnot(t, knot, a, port, files)
		}
	}
	for _, z := range w.Zones() {
		at := net.JoinHostPort(z.Servers[0].Addr.String(), fmt.Sprint(port))
		require.Eventually(t, func() bool {
			r, err := dns.Exchange(new(dns.Msg).SetQuestion(z.Name, dns.TypeSOA), at)
			return err == nil && r.Authoritative
		}, 20*time.Second, 50*time.Millisecond, "%s is served at %s", z.Name, at)
	}
	compare(t, w, port, p)
}

// freePort is 53 where all addresses have it, and one that the world's first address has free otherwise.
func freePort(t *testing.T, p plan) uint16 {
	t.Helper()
	for _, a := range p.addresses() {
		l, err := net.Listen("tcp4", a+":53")
		if err != nil {
			t.Logf("Unbound is told the servers of each zone: %v", err)
			l, err = net.Listen("tcp4", a+":0")
			require.NoError(t, err)
			defer l.Close()
			return uint16(l.Addr().(*net.TCPAddr).Port)
		}
		require.NoError(t, l.Close())
	}
	return 53
}

// export writes the zones of one server, as the world signed them, and gives their files by name.
func export(t *testing.T, w *world.World, addr string) map[string]string {
	t.Helper()
	dir, files := t.TempDir(), map[string]string{}
	for i, z := range w.Zones() {
		if !slices.ContainsFunc(z.Servers, func(s world.Server) bool { return s.Addr.String() == addr }) {
			continue
		}
		text, err := w.Export(z.Name)
		require.NoError(t, err)
		files[z.Name] = filepath.Join(dir, fmt.Sprintf("%d.zone", i))
		require.NoError(t, os.WriteFile(files[z.Name], []byte(text), 0o600))
	}
	return files
}

func serveNSD(t *testing.T, path, addr string, port uint16, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	conf := fmt.Sprintf("server:\n server-count: 1\n username: \"\"\n do-ip6: no\n rrl-ratelimit: 0\n database: \"\"\n"+
		" ip-address: %s\n port: %d\n zonesdir: %q\n pidfile: %q\n xfrdfile: %q\n zonelistfile: %q\n xfrdir: %q\nremote-control:\n control-enable: no\n",
		addr, port, dir, dir+"/pid", dir+"/xfrd", dir+"/zones", dir)
	for zone, file := range files {
		conf += fmt.Sprintf("zone:\n name: %q\n zonefile: %q\n", zone, file)
	}
	file := filepath.Join(dir, "nsd.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o600))
	daemon.Launch(t, path, "-d", "-c", file)
}

func serveKnot(t *testing.T, path, addr string, port uint16, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	var conf strings.Builder
	fmt.Fprintf(&conf, "server:\n  rundir: %q\n  listen: [%s@%d]\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"+
		"database:\n  storage: %q\nzone:\n", dir, addr, port, dir)
	for zone, file := range files {
		fmt.Fprintf(&conf, "  - domain: %q\n    file: %q\n", zone, file)
	}
	file := filepath.Join(dir, "knot.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf.String()), 0o600))
	daemon.Launch(t, path, "-c", file)
}
