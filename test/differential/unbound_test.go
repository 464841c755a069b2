package differential

import (
	"fmt"
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

// unbound runs Unbound as a validator of the world served at port, and gives its address. Unbound follows referrals to port
// 53 only: of a world at another port it is told each zone's servers.
func unbound(t *testing.T, w *world.World, port uint16) string {
	t.Helper()
	path := daemon.Program(t, "unbound")
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	own := daemon.FreePort(t)
	// Debian's defaults but for: aggressive-nsec, which answers from proofs that another question brought, and
	// the EDE record, with which a difference is explained sooner.
	conf := fmt.Sprintf("server:\n interface: 127.0.0.1\n port: %d\n do-not-query-localhost: no\n do-daemonize: no\n"+
		" use-syslog: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: %q\n trust-anchor-file: %q\n"+
		" module-config: \"validator iterator\"\n do-ip6: no\n num-threads: 1\n aggressive-nsec: no\n ede: yes\n"+
		" val-log-level: 2\nremote-control:\n control-enable: no\n", own, dir, write("anchor", w.AnchorText()))
	if port == 53 {
		var hints strings.Builder
		for _, s := range w.Hints() {
			fmt.Fprintf(&hints, ". 3600 NS %s\n%s 3600 A %v\n", s.Host, s.Host, s.Addr)
		}
		conf += fmt.Sprintf("server:\n root-hints: %q\n", write("hints", hints.String()))
	} else {
		for _, z := range w.Zones() {
			conf += fmt.Sprintf("stub-zone:\n name: %q\n stub-prime: no\n", z.Name)
			for _, s := range z.Servers {
				conf += fmt.Sprintf(" stub-addr: %v@%d\n", s.Addr, port)
			}
		}
	}
	out := daemon.Launch(t, path, "-d", "-c", write("unbound.conf", conf))
	at := fmt.Sprintf("127.0.0.1:%d", own)
	require.Eventually(t, func() bool {
		_, err := dns.Exchange(new(dns.Msg).SetQuestion(".", dns.TypeSOA), at)
		return err == nil
	}, 20*time.Second, 50*time.Millisecond, "Unbound starts: %v", out)
	return at
}

// theirs asks Unbound. Its verdict is told by AD, and by SERVFAIL, which checking disabled (CD) tells apart: with it, bogus
// data are given, and a failure stays one.
func theirs(t *testing.T, at string, a ask) verdict {
	t.Helper()
	r := exchange(t, at, a, false)
	v := verdict{status: "insecure", rcode: dns.RcodeToString[r.Rcode], data: data(r.Answer, a)}
	if o := r.IsEdns0(); o != nil {
		for _, e := range o.Option {
			if ede, ok := e.(*dns.EDNS0_EDE); ok {
				v.why += fmt.Sprintf("EDE %d %s; ", ede.InfoCode, ede.ExtraText)
			}
		}
	}
	switch {
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError && r.Rcode != dns.RcodeYXDomain:
		v.status, v.data = "failure", nil
		if c := exchange(t, at, a, true); c.Rcode == dns.RcodeSuccess || c.Rcode == dns.RcodeNameError {
			v.status = "bogus"
			v.why += fmt.Sprintf("unchecked: %s %v", dns.RcodeToString[c.Rcode], data(c.Answer, a))
		}
	case r.AuthenticatedData:
		v.status = "secure"
	}
	return v
}

func exchange(t *testing.T, at string, a ask, cd bool) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(a.name, a.qtype)
	m.SetEdns0(1232, true)
	m.CheckingDisabled = cd
	c := &dns.Client{Timeout: 60 * time.Second, UDPSize: 1232}
	r, _, err := c.Exchange(m, at)
	if err == nil && r.Truncated {
		c.Net = "tcp"
		r, _, err = c.Exchange(m, at)
	}
	require.NoError(t, err, "%v", a)
	return r
}
