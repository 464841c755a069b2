package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/test/child"
)

// boulderTitle is its name in the tables.
const boulderTitle = "Boulder"

// boulder is boulder-va with five remoteva, and an Unbound for each of them.
type boulder struct {
	stage    *stage
	dir      string
	pki      *authority
	unbounds []*daemon
	remotes  []*daemon
	va       *daemon
	client   *child.Child
}

// The perspectives' Unbounds have an address each, from which they ask too, so that nothing is shared.
func (b *boulder) doh(i int) string    { return fmt.Sprintf("127.0.1.%d:8443", i+1) }
func (b *boulder) remote(i int) string { return fmt.Sprintf("127.0.0.1:%d", 9400+i) }
func (b *boulder) dnsSocket(i int) string {
	return filepath.Join(b.dir, fmt.Sprintf("unbound-%d.control", i))
}
func (b *boulder) name() string { return boulderTitle }

func startBoulder(st *stage, far func(i int, at string) (string, error)) (b *boulder, err error) {
	b = &boulder{stage: st, dir: filepath.Join(st.Dir, "boulder.d")}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if err = os.Mkdir(b.dir, 0o700); err != nil {
		return b, err
	}
	if b.pki, err = newAuthority(b.dir); err != nil {
		return b, err
	}
	for i := range sites {
		if err := b.startUnbound(i); err != nil {
			return b, err
		}
	}
	for i := range sites[1:] {
		if err := b.startRemote(i + 1); err != nil {
			return b, err
		}
	}
	if err := b.startVA(far); err != nil {
		return b, err
	}
	return b, b.connect()
}

// startUnbound starts Debian's Unbound, in its default configuration but for the world, DNS over HTTPS with room for 128 validations (the
// default is 10 connections), where it sends from, and one thread.
func (b *boulder) startUnbound(i int) error {
	host, _, err := net.SplitHostPort(b.doh(i))
	if err != nil {
		return err
	}
	cert, err := b.pki.issue(fmt.Sprintf("doh-%d", i), host)
	if err != nil {
		return err
	}
	conf := fmt.Sprintf("server:\n interface: %s\n https-port: 8443\n tls-service-pem: %q\n tls-service-key: %q\n http-endpoint: \"/dns-query\"\n"+
		" outgoing-interface: %s\n access-control: 127.0.0.0/8 allow\n incoming-num-tcp: 256\n http-max-streams: 1000\n",
		strings.Replace(b.doh(i), ":", "@", 1), cert.file, cert.key, source(i)) + b.stage.unboundSettings(b.dir, b.dnsSocket(i))
	return b.launch(&b.unbounds, fmt.Sprintf("unbound-%d", i), conf, program("unbound"), "-d", "-c")
}

// unboundSettings are those of every Unbound here. The files that they name are written into dir.
func (st *stage) unboundSettings(dir, socket string) string {
	var hints strings.Builder
	for _, h := range st.hints {
		fmt.Fprintf(&hints, ". 3600 NS %s.\n%s. 3600 A %s\n", strings.TrimSuffix(h.Host, "."), strings.TrimSuffix(h.Host, "."), h.Addr)
	}
	// Writing fails again, and loudly, in Unbound.
	_ = os.WriteFile(filepath.Join(dir, "anchor"), []byte(st.anchors), 0o600)
	_ = os.WriteFile(filepath.Join(dir, "hints"), []byte(hints.String()), 0o600)
	return fmt.Sprintf(" do-daemonize: no\n use-syslog: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: %q\n trust-anchor-file: anchor\n"+
		" trust-anchor-signaling: no\n root-hints: hints\n module-config: \"validator iterator\"\n do-ip6: no\n num-threads: 1\n log-servfail: yes\n"+
		"remote-control:\n control-enable: yes\n control-interface: %q\n control-use-cert: no\n", dir, socket)
}

// launch writes a configuration and starts a program with it.
func (b *boulder) launch(list *[]*daemon, name, conf, path string, args ...string) error {
	file := filepath.Join(b.dir, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return err
	}
	d, err := launch(filepath.Join(b.dir, name+".log"), false, path, append(args, file)...)
	if err == nil {
		*list = append(*list, d)
	}
	return err
}

func names(n ...string) map[string]any { return map[string]any{"clientNames": n} }

// common is what a VA and a remoteva have in their configurations: Boulder's own values from test/config where there is a choice, but for
// dnsTimeout: on a machine where everything shares the processors, 1 s is over too often.
func (b *boulder) common(i int, at, certificate, client string) (map[string]any, error) {
	tls, err := b.pki.section(certificate)
	if err != nil {
		return nil, err
	}
	return map[string]any{"userAgent": "bench", "dnsTries": 3, "dnsStaticResolvers": []string{b.doh(i)}, "dnsTimeout": "5s", "issuerDomain": issuer, "tls": tls,
		"grpc": map[string]any{"maxConnectionAge": "30s", "address": at, "services": map[string]any{"va.VA": names(client), "va.CAA": names(client),
			"grpc.health.v1.Health": names("health-checker.boulder")}},
		"features": map[string]any{}, "accountURIPrefixes": []string{accounts}}, nil
}

func (b *boulder) configuration(section string, c map[string]any) (string, error) {
	text, err := json.Marshal(map[string]any{section: c, "syslog": map[string]any{"stdoutlevel": 6, "sysloglevel": -1}})
	return string(text), err
}

func (b *boulder) startRemote(i int) error {
	c, err := b.common(i, b.remote(i), "rva.boulder", "va.boulder")
	if err != nil {
		return err
	}
	c["perspective"], c["rir"] = sites[i], rirs[i]
	text, err := b.configuration("rva", c)
	if err != nil {
		return err
	}
	return b.launch(&b.remotes, "rva-"+sites[i], text, filepath.Join(b.stage.Dir, "boulder"), "remoteva", "-config")
}

func (b *boulder) startVA(far func(i int, at string) (string, error)) error {
	c, err := b.common(0, b.remote(0), "va.boulder", "ra.boulder")
	if err != nil {
		return err
	}
	var remotes []map[string]any
	for i := range sites[1:] {
		i++
		if err := eventually(func() error { return dial(b.remote(i)) }); err != nil {
			return err
		}
		at, err := far(i, b.remote(i))
		if err != nil {
			return err
		}
		remotes = append(remotes, map[string]any{"serverAddress": at, "timeout": "15s", "hostOverride": "rva.boulder", "perspective": sites[i], "rir": rirs[i]})
	}
	c["remoteVAs"] = remotes
	text, err := b.configuration("va", c)
	if err != nil {
		return err
	}
	var list []*daemon
	err = b.launch(&list, "va", text, filepath.Join(b.stage.Dir, "boulder"), "boulder-va", "-config")
	if err == nil {
		b.va = list[0]
	}
	return err
}

func dial(at string) error {
	c, err := net.Dial("tcp", at)
	if err == nil {
		err = c.Close()
	}
	return err
}

// connect starts the process that asks, in the RA's place, by Boulder's own client.
func (b *boulder) connect() error {
	if err := eventually(func() error { return dial(b.remote(0)) }); err != nil {
		return err
	}
	tls, err := b.pki.section("ra.boulder")
	if err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{"tls": tls, "vaService": map[string]any{"serverAddress": b.remote(0), "hostOverride": "va.boulder", "timeout": "60s"}})
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "ra.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	b.client, err = child.Start(exec.Command(filepath.Join(b.stage.Dir, "boulder"), "load", "-config", file))
	return err
}

// order is what test/boulder/program's load reads.
type order struct {
	Method, Token, KeyAuthorization string
	Names                           []string
	InFlight, Most                  int
	Limit                           time.Duration
	Rate                            float64
	RegID                           int64
}

func (b *boulder) drive(ctx context.Context, l load) (times, error) {
	// The process reads nothing while it works: when nobody waits for it any more, it ends.
	client := b.client.PID()
	defer context.AfterFunc(ctx, func() { _ = syscall.Kill(client, syscall.SIGKILL) })()
	o := order{Method: l.Method, Token: token, KeyAuthorization: keyAuthorization, InFlight: l.InFlight, Most: l.Most, Limit: l.Limit, Rate: l.Rate, RegID: accountNumber}
	for i := range l.Zones {
		o.Names = append(o.Names, l.name(i))
	}
	var t times
	err := b.client.Ask(o, &t)
	return t, err
}

// empty empties the memories of all Unbounds: answers, keys, delegations, and what is known of servers.
func (b *boulder) empty() error {
	for i := range sites {
		if err := flush(b.dnsSocket(i)); err != nil {
			return err
		}
	}
	return nil
}

func flush(socket string) error {
	_, err := control(socket, "UBCT1 flush_zone .\n")
	_, also := control(socket, "UBCT1 flush_infra all\n")
	return errors.Join(err, also)
}

func (b *boulder) pids() processes {
	p := processes{main: []int{b.va.pid()}}
	for _, r := range b.remotes {
		p.remotes = append(p.remotes, r.pid())
	}
	for _, u := range b.unbounds {
		p.resolvers = append(p.resolvers, u.pid())
	}
	return p
}

func (b *boulder) stop() error {
	var errs []error
	if b.client != nil {
		errs = append(errs, b.client.Stop())
	}
	errs = append(errs, b.va.stop())
	for _, d := range append(b.remotes, b.unbounds...) {
		errs = append(errs, d.stop())
	}
	return errors.Join(errs...)
}

// move gives the remotes other addresses in the VA's configuration, and starts that anew.
func (b *boulder) move(far func(i int, at string) (string, error)) error {
	if err := errors.Join(b.client.Stop(), b.va.stop()); err != nil {
		return err
	}
	b.client = nil
	if err := b.startVA(far); err != nil {
		return err
	}
	return b.connect()
}
