package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/test/child"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
)

const (
	issuer = "ca.example.net"
	// account is the applicant's at our gate, and by its number at Boulder's.
	accounts, accountNumber = "https://ca.example.net/acme/acct/", 7
	// token and keyAuthorization are the same for each name, so that the zones are signed once. Boulder takes tokens of 32 octets alone.
	token            = "gDwTdhGVTQWPVxpFLNQtWg8fKcvTnxYx7l1Z0q5m3bc"
	keyAuthorization = token + ".LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
)

// zone is the name of a leaf zone, which is what is validated.
func zone(i int) string { return fmt.Sprintf("z%d.com", i) }

// freshZone is the name of another leaf zone, whose address, CAA record and challenge have a TTL of 0, so that each validation asks for them: a CA
// hardly ever sees the same challenge twice. Its keys and delegation are remembered like others'.
func freshZone(i int) string { return fmt.Sprintf("n%d.com", i) }

// levels are the name servers: two addresses of one NSD for the root, for com, and for all leaf zones.
var levels = [3][2]netip.Addr{
	{netip.MustParseAddr("198.41.0.4"), netip.MustParseAddr("199.9.14.201")},
	{netip.MustParseAddr("192.5.6.30"), netip.MustParseAddr("192.33.14.30")},
	{netip.MustParseAddr("199.43.135.53"), netip.MustParseAddr("199.43.133.53")},
}

// webAddr is the web host of all names.
var webAddr = netip.MustParseAddr("199.43.136.80")

// source is where a perspective's packets come from, the primary being 0.
func source(i int) netip.Addr { return netip.AddrFrom4([4]byte{11, 1, 0, byte(10 + i)}) }

// addresses are all that the namespace must have.
func addresses() []netip.Addr {
	all := []netip.Addr{webAddr}
	for _, l := range levels {
		all = append(all, l[:]...)
	}
	for i := range allSites {
		all = append(all, source(i))
	}
	return all
}

// stage is the running world.
type stage struct {
	settings
	anchors string
	hints   []world.Server
	servers []*daemon // NSDs
	web     *child.Child
}

// signed is a zone of a level, with ECDSA P-256 and NSEC3.
func signed(name string, level int, records string) world.Zone {
	below := "." + strings.TrimSuffix(name, ".")
	if name == "." {
		below = ".root-servers.net"
	}
	z := world.Zone{Name: name, Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3, Records: records}
	for i, a := range levels[level] {
		z.Servers = append(z.Servers, world.Server{Host: fmt.Sprintf("ns%d%s", i+1, below), Addr: a})
	}
	return z
}

// newStage signs the zones and starts NSD and the web host. Close ends them.
func newStage(s settings) (st *stage, err error) {
	st = &stage{settings: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()
	req := va.Request{Identifier: "example.com", Method: va.DNS01, Token: token, KeyAuthorization: keyAuthorization}
	zones := []world.Zone{signed(".", 0, ""), signed("com", 1, "")}
	for i := range s.Zones {
		const records = "@ %[1]d A %[2]s\n@ %[1]d CAA 0 issue %[3]q\n_acme-challenge %[1]d TXT %[4]q\n"
		zones = append(zones, signed(zone(i), 2, fmt.Sprintf(records, 3600, webAddr, issuer, req.Expected())),
			signed(freshZone(i), 2, fmt.Sprintf(records, 0, webAddr, issuer, req.Expected())))
	}
	// The signer serves the zones too, at a port that nobody asks, until they are written.
	w, err := world.New(world.Config{Zones: zones, AnyAddress: true, Port: 5353})
	if err != nil {
		return st, err
	}
	defer w.Close()
	st.anchors, st.hints = w.AnchorText(), w.Hints()
	for level := range levels {
		if err := st.serve(w, level, zones); err != nil {
			return st, err
		}
	}
	var names []string
	for i := range s.Zones {
		names = append(names, zone(i), freshZone(i))
	}
	if st.web, err = child.Spawn("web", names, nil); err != nil {
		return st, err
	}
	return st, st.await()
}

// serve writes the zones of a level and starts its NSD.
func (st *stage) serve(w *world.World, level int, zones []world.Zone) error {
	dir := filepath.Join(st.Dir, fmt.Sprintf("nsd-%d", level))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "server:\n server-count: 1\n username: \"\"\n do-ip6: no\n rrl-ratelimit: 0\n receive-buffer-size: 4194304\n send-buffer-size: 4194304\n database: \"\"\n port: 53\n zonesdir: %[1]q\n"+
		" pidfile: \"%[1]s/pid\"\n xfrdfile: \"%[1]s/xfrd\"\n zonelistfile: \"%[1]s/zones\"\n xfrdir: %[1]q\n", dir)
	for _, a := range levels[level] {
		fmt.Fprintf(&conf, " ip-address: %s\n", a)
	}
	fmt.Fprintf(&conf, "remote-control:\n control-enable: yes\n control-interface: %q\n", filepath.Join(dir, "control"))
	for i, z := range zones {
		if z.Servers[0].Addr != levels[level][0] {
			continue
		}
		text, err := w.Export(z.Name)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, fmt.Sprintf("%d.zone", i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		fmt.Fprintf(&conf, "zone:\n name: %q\n zonefile: %q\n", z.Name, file)
	}
	file := filepath.Join(dir, "nsd.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return err
	}
	d, err := launch(filepath.Join(dir, "log"), false, program("nsd"), "-d", "-c", file)
	if err == nil {
		st.servers = append(st.servers, d)
	}
	return err
}

// await returns when each level answers.
func (st *stage) await() error {
	for level, name := range []string{".", "com.", zone(st.Zones-1) + "."} {
		at := net.JoinHostPort(levels[level][0].String(), "53")
		if err := eventually(func() error {
			r, err := dns.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeSOA), at)
			if err == nil && !r.Authoritative {
				err = fmt.Errorf("%s is not served:\n%s", name, r)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// eventually tries for a while.
func eventually(try func() error) error {
	var err error
	for range 600 {
		if err = try(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// program finds one in the directories of system programs too, which are not on everybody's PATH.
func program(name string) string {
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/bin"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return name
}

// queries is how many the name servers have had.
func (st *stage) queries() (int64, error) {
	var sum int64
	for level := range levels {
		text, err := control(filepath.Join(st.Dir, fmt.Sprintf("nsd-%d", level), "control"), "NSDCT1 stats_noreset\n")
		if err != nil {
			return 0, err
		}
		found := false
		for line := range strings.Lines(text) {
			var n int64
			if _, err := fmt.Sscanf(line, "num.queries=%d", &n); err == nil {
				sum, found = sum+n, true
			}
		}
		if !found {
			return 0, fmt.Errorf("nsd has no num.queries:\n%s", text)
		}
	}
	return sum, nil
}

// control gives a daemon a command at its Unix socket, as nsd-control and unbound-control do.
func control(socket, command string) (string, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, command); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	if err == nil && strings.HasPrefix(string(answer), "error") {
		err = fmt.Errorf("%q: %s", command, answer)
	}
	return string(answer), err
}

func (st *stage) close() error {
	var errs []error
	for _, d := range st.servers {
		errs = append(errs, d.stop())
	}
	if st.web != nil {
		errs = append(errs, st.web.Stop())
	}
	return errors.Join(errs...)
}

// beWeb is the process of the web host: http-01 and tls-alpn-01 for the names that it is told.
func beWeb(in io.Reader, out io.Writer) error {
	w, err := world.New(world.Config{AnyAddress: true, Port: 5354, HTTPPort: 80, TLSPort: 443, Zones: []world.Zone{{Name: ".",
		Servers: []world.Server{{Host: "ns", Addr: webAddr}}}}})
	if err != nil {
		return err
	}
	defer w.Close()
	h, err := w.Host(webAddr)
	if err != nil {
		return err
	}
	h.AddToken(token, keyAuthorization)
	return child.Obey(in, out, func(command string) (any, error) {
		var names []string
		if err := json.Unmarshal([]byte(command), &names); err != nil {
			return nil, err
		}
		for _, name := range names {
			if _, err := h.AddALPN(world.ALPN{Domain: name, KeyAuthorization: keyAuthorization}); err != nil {
				return nil, err
			}
		}
		return true, nil
	})
}
