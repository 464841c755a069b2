package badnetwork

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/daemon"
	"github.com/quorate/quorate/test/world"
)

// unbound is a running Unbound.
type unbound struct{ at, control string }

// runUnbound runs Unbound with the world's root hints and trust anchor until the test ends. It has Debian's defaults, but
// for two: aggressive-nsec, with which one question's proof would answer another, and discard-timeout, by which it keeps
// answers that took longer than 1.9 s to itself, for clients that ask again.
func runUnbound(t testing.TB, w *world.World) unbound {
	t.Helper()
	path := daemon.Program(t, "unbound")
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	var hints strings.Builder
	for _, s := range w.Hints() {
		fmt.Fprintf(&hints, ". 3600 NS %s\n%s 3600 A %s\n", s.Host, s.Host, s.Addr)
	}
	port := daemon.FreePort(t)
	u := unbound{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String(), filepath.Join(dir, "control")}
	conf := write("unbound.conf", fmt.Sprintf("server:\n interface: 127.0.0.1\n port: %d\n do-not-query-localhost: no\n"+
		" do-daemonize: no\n use-syslog: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: %q\n"+
		" trust-anchor-file: %q\n root-hints: %q\n module-config: \"validator iterator\"\n do-ip6: no\n"+
		" num-threads: 1\n aggressive-nsec: no\n discard-timeout: 0\n"+
		"remote-control:\n control-enable: yes\n control-use-cert: no\n control-interface: %q\n",
		port, dir, write("anchor", w.AnchorText()), write("hints", hints.String()), u.control))
	out := daemon.Launch(t, path, "-d", "-c", conf)
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", u.control)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "Unbound starts: %v", out)
	return u
}

// tell gives Unbound commands of unbound-control.
func (u unbound) tell(commands ...string) error {
	for _, c := range commands {
		conn, err := net.Dial("unix", u.control)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "UBCT1 %s\n", c); err != nil {
			return err
		}
		said, err := io.ReadAll(conn)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(said), "ok") {
			return fmt.Errorf("unbound-control %s: %s", c, said)
		}
	}
	return nil
}

// forget empties all memories, as those of a new instance are, and ends what is under way.
func (u unbound) forget() error {
	return u.tell("flush_requestlist", "flush_zone .", "flush_infra all")
}

// forgetAnswer makes Unbound ask for this answer again, with what it knows of zones, keys and servers.
func (u unbound) forgetAnswer(q question) error {
	return u.tell("flush_type "+q.name+" "+dns.Type(q.qtype).String(), "flush_negative")
}

// ask gives Unbound's verdict. A failure and bogus are both SERVFAIL, and count as a failure here, as silence does.
func (u unbound) ask(q question) verdict {
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	m.SetEdns0(4096, true)
	c := &dns.Client{Timeout: patience, UDPSize: 4096}
	r, _, err := c.Exchange(m, u.at)
	if err == nil && r.Truncated { // it has the answer by now, so that this takes no time
		c.Net = "tcp"
		r, _, err = c.Exchange(m, u.at)
	}
	if err != nil || r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError {
		return verdict{status: "failure"}
	}
	v := verdict{status: "insecure", rcode: dns.RcodeToString[r.Rcode]}
	if r.AuthenticatedData {
		v.status = "secure"
	}
	for _, rr := range r.Answer {
		if rr.Header().Rrtype == q.qtype {
			v.records++
		}
	}
	return v
}
