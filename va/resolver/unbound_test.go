package resolver_test

import (
	"bufio"
	"context"
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
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/resolver"
)

// unbound runs Unbound as a validator of the world and gives its address. It is told each zone's servers, because it follows
// referrals to port 53 only; what it validates is unchanged.
func unbound(t *testing.T, w *world.World) string {
	t.Helper()
	path, dir := daemon.Program(t, "unbound"), t.TempDir()
	at := fmt.Sprintf("127.0.0.1:%d", daemon.FreePort(t))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "anchor"), []byte(w.AnchorText()), 0o600))
	var conf strings.Builder
	fmt.Fprintf(&conf, "server:\n interface: %s\n do-not-query-localhost: no\n do-daemonize: no\n use-syslog: no\n"+
		" username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: %q\n trust-anchor-file: anchor\n do-ip6: no\n"+
		" module-config: \"validator iterator\"\n aggressive-nsec: no\n harden-below-nxdomain: no\n qname-minimisation: no\n num-threads: 1\nremote-control:\n control-enable: no\n",
		strings.Replace(at, ":", "@", 1), dir)
	for _, z := range w.Zones() {
		fmt.Fprintf(&conf, "stub-zone:\n name: %q\n stub-prime: no\n", z.Name)
		for _, s := range z.Servers {
			fmt.Fprintf(&conf, " stub-addr: %v@%d\n", s.Addr, w.Port())
		}
	}
	file := filepath.Join(dir, "unbound.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf.String()), 0o600))
	cmd := exec.Command(path, "-d", "-c", file)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed: its status says nothing
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, 10*time.Second, 20*time.Millisecond)
	return at
}

// unboundSays puts a verdict of Unbound into our words: "secure NOERROR 1", "insecure NXDOMAIN 0", "refused" for SERVFAIL.
func unboundSays(t *testing.T, at, name string, qtype uint16) string {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.SetEdns0(1232, true)
	m.AuthenticatedData = true
	c := &dns.Client{Net: "tcp", Timeout: 30 * time.Second}
	r, _, err := c.Exchange(m, at)
	require.NoError(t, err)
	if r.Rcode == dns.RcodeServerFailure {
		return "refused"
	}
	return said(map[bool]string{true: "secure", false: "insecure"}[r.AuthenticatedData], dns.RcodeToString[r.Rcode], qtype, r.Answer)
}

func said(status, rcode string, qtype uint16, answer []dns.RR) string {
	n := 0
	for _, rr := range answer {
		if rr.Header().Rrtype == qtype {
			n++
		}
	}
	return fmt.Sprintf("%s %s %d", status, rcode, n)
}

// weSay is our verdict in the same words.
func weSay(r proving, name string, qtype uint16) (string, resolver.Lookup) {
	a := r.Lookup(context.Background(), name, qtype)
	if !a.Lookup.Status.Usable() {
		return "refused", a.Lookup
	}
	return said(a.Lookup.Status.String(), a.Lookup.Rcode, qtype, a.Records), a.Lookup
}

// differences reads the questions on which Unbound and we differ, and what each says.
func differences(t *testing.T) map[string][2]string {
	t.Helper()
	f, err := os.Open("testdata/unbound.txt")
	require.NoError(t, err)
	defer f.Close()
	all := map[string][2]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && line[0] != '#' {
			c := strings.Split(line, "|")
			require.Len(t, c, 4, line)
			require.NotEmpty(t, strings.TrimSpace(c[3]), "a difference needs a reason")
			all[strings.TrimSpace(c[0])] = [2]string{strings.TrimSpace(c[1]), strings.TrimSpace(c[2])}
		}
	}
	return all
}

// Unbound and this resolver give the same verdict on every zone of the world, healthy or not; where they differ,
// testdata/unbound.txt says which RFC decides.
//
// Holds: DCV-04, DCV-05, DCV-06, DCV-07, DCV-08
func TestUnboundAgrees(t *testing.T) {
	t.Parallel()
	w := serve(t, quick())
	require.NoError(t, w.Set("back.unsigned.net", dns.TypeCNAME, "caa.example.com."))
	require.NoError(t, w.Set("around.alias.com", dns.TypeCNAME, "back.unsigned.net."))
	at, r, known := unbound(t, w), in(t, w, nil), differences(t)
	type asked struct {
		name  string
		qtype uint16
	}
	var all []asked
	for _, z := range w.Zones() {
		if z.Name == "dead.com." || z.Name == "notcp.com." || z.Name == "slow.com." { // they cost each side its patience
			continue
		}
		for _, name := range []string{z.Name, "www." + z.Name, "none.here." + z.Name, "_acme-challenge." + z.Name} {
			if z.Name == "." {
				name = strings.TrimSuffix(name, ".")
			}
			for _, qtype := range []uint16{dns.TypeA, dns.TypeCAA, dns.TypeTXT, dns.TypeDS} {
				all = append(all, asked{dns.Fqdn(name), qtype})
			}
		}
	}
	for _, q := range questions(t, "testdata/world.txt") {
		if q.status != "failure" && !dns.IsSubDomain("rsa.com.", dns.Fqdn(q.name)) {
			all = append(all, asked{dns.Fqdn(q.name), q.qtype})
		}
	}
	all = append(all, asked{"around.alias.com.", dns.TypeCAA}, asked{"below.exists.wildcard.org.", dns.TypeTXT},
		asked{"any.deep.wildcard.com.", dns.TypeMX}, asked{"*.wildcard.org.", dns.TypeA}, asked{`a\.b.example.com.`, dns.TypeA})
	for _, q := range all {
		question := q.name + " " + dns.Type(q.qtype).String()
		ours, l := weSay(r, q.name, q.qtype)
		theirs := unboundSays(t, at, q.name, q.qtype)
		if d, ok := known[question]; ok {
			require.Equal(t, d, [2]string{ours, theirs}, "%s: testdata/unbound.txt is out of date", question)
			delete(known, question)
			continue
		}
		if ours != theirs {
			t.Errorf("%s | %s | %s | %s", question, ours, theirs, l.Why)
		}
	}
	require.Empty(t, known, "testdata/unbound.txt names questions that were not asked")
	require.Greater(t, len(all), 400)
}
