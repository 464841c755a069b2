package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/va/resolver"
)

// sites are the perspectives that are compared with Boulder's, the primary first; the remotes are those of `quorate init`, one in each region.
var sites = [6]string{"frankfurt", "ashburn", "sao-paulo", "johannesburg", "singapore", "stockholm"}

// rirs are the sites' regions in Boulder's words.
var rirs = [6]string{"RIPE", "ARIN", "LACNIC", "AFRINIC", "APNIC", "RIPE"}

// The configurations are those of `quorate init` but for addresses, metrics (which are where allocations are read), and a client that may have as much
// in flight as the gate bears.
const gateConfig = `listen: "127.0.0.1:%[1]d"
tls: {certificate: tls.pem, key: tls-key.pem}
clients: [{name: ra-1, api_key_sha256: "{{.APIKey}}", in_flight: 1024}]
identity: {certificate: identity.pem, key: identity-key.pem}
journal: {%[2]s}
checkpoints: {key: log.key, memory: log.memory}
permits: {key: permits-key.pem, lifetime: 1h, scope: exact}
issuers: [{{.Issuer}}]
primary: {name: frankfurt, title: Frankfurt, region: RIPE NCC, latitude: 50.11, longitude: 8.68}
perspectives:
{{- range .Remotes}}
  - {name: {{.Name}}, title: {{.Title}}, url: "https://{{.Name}}.invalid:8444", region: {{.Region}}, latitude: {{.Latitude}}, longitude: {{.Longitude}}, tls_key: "{{.TLSKey}}", signing_key: "{{.SigningKey}}"}
{{- end}}
source_address: %[3]s
metrics: {listen: "127.0.0.1:%[4]d"}
`

const perspectiveConfig = `name: {{.Name}}
listen: "192.0.2.1:8444"
tls: {certificate: tls.pem, key: tls-key.pem}
signing_key: signing-key.pem
gates: [{name: gate, tls_key: "{{.Gate}}"}]
source_address: 192.0.2.99
metrics: {listen: "192.0.2.1:9090"}
`

// ours is a gate with its five remotes. Several stand side by side, each at ports of its own.
type ours struct {
	stage  *stage
	title  string
	number int // of this one
	dir    string
	key    string
	pool   *x509.CertPool
	gate   *daemon
	agents []*daemon
	names  []string // of the remotes
	at     []string // of the remotes, in the gate's roster
	// others are processes of programs that it needs: Postgres.
	others []int
}

func (o *ours) name() string        { return o.title }
func (o *ours) port(i int) int      { return 9000 + 100*o.number + i } // of the gate, and of the remote i
func (o *ours) metrics(i int) int   { return o.port(i) + 50 }
func (o *ours) remote(i int) string { return fmt.Sprintf("127.0.0.1:%d", o.port(i)) }

// newOurs makes keys, configurations and, with SQLite, a database.
func newOurs(ctx context.Context, st *stage, number int, title, journal string) (*ours, error) {
	o := &ours{stage: st, title: title, number: number, names: sites[1:], dir: filepath.Join(st.Dir, fmt.Sprintf("quorate-%d", number))}
	templates := o.dir + ".templates"
	if err := os.Mkdir(templates, 0o700); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"perspective.yaml.tmpl": perspectiveConfig,
		"quorate.yaml.tmpl": fmt.Sprintf(gateConfig, o.port(0), journal, source(0), o.metrics(0))} {
		if err := os.WriteFile(filepath.Join(templates, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if _, err := command(ctx, "", filepath.Join(st.Dir, "quorate"), "init", o.dir, "--issuer", issuer, "--templates", templates); err != nil {
		return nil, err
	}
	for i, name := range sites[1:] {
		i++
		if err := edit(filepath.Join(o.dir, "gate", "quorate.yaml"), name+".invalid:8444", o.remote(i)); err != nil {
			return nil, err
		}
		o.at = append(o.at, o.remote(i))
		if err := o.place(i, name); err != nil {
			return nil, err
		}
	}
	key, err := os.ReadFile(filepath.Join(o.dir, "gate", "ra-1.api-key"))
	if err != nil {
		return nil, err
	}
	certificate, err := os.ReadFile(filepath.Join(o.dir, "gate", "tls.pem"))
	if err != nil {
		return nil, err
	}
	o.key, o.pool = strings.TrimSpace(string(key)), x509.NewCertPool()
	o.pool.AppendCertsFromPEM(certificate)
	doors := map[string]any{"anchors": st.anchors, "dns_port": 53, "http_port": 80, "tls_port": 443}
	var hints []resolver.Hint
	for _, h := range st.hints {
		hints = append(hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	doors["hints"] = hints
	text, err := json.Marshal(doors)
	if err != nil {
		return nil, err
	}
	return o, os.WriteFile(o.doors(), text, 0o600)
}

// place gives the remote i its addresses.
func (o *ours) place(i int, name string) error {
	return edit(filepath.Join(o.dir, "perspectives", name, "perspective.yaml"), "192.0.2.1:8444", o.remote(i), "192.0.2.99", source(i).String(),
		"192.0.2.1:9090", fmt.Sprintf("127.0.0.1:%d", o.metrics(i)))
}

func (o *ours) doors() string { return filepath.Join(o.dir, "doors.json") }

// edit replaces texts in a file, in pairs as strings.NewReplacer has them.
func edit(file string, pairs ...string) error {
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600)
}

// start starts the remotes and then the gate.
func (o *ours) start() error {
	sandbox := filepath.Join(o.stage.Dir, "quorate-sandbox")
	o.agents = make([]*daemon, len(o.names))
	errs := make([]error, len(o.agents))
	var group sync.WaitGroup
	for i, name := range o.names {
		group.Go(func() {
			dir := filepath.Join(o.dir, "perspectives", name)
			o.agents[i], errs[i] = launch(filepath.Join(dir, "log"), true, filepath.Join(o.stage.Dir, "perspective"), "--config", filepath.Join(dir, "perspective.yaml"), "--doors", o.doors())
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, o.stop())
	}
	dir := filepath.Join(o.dir, "gate")
	var err error
	o.gate, err = launch(filepath.Join(dir, "log"), true, sandbox, "serve", "--config", filepath.Join(dir, "quorate.yaml"), "--doors", o.doors())
	return err
}

func (o *ours) stop() error {
	errs := []error{o.gate.stop()}
	o.gate = nil
	for _, a := range o.agents {
		errs = append(errs, a.stop())
	}
	o.agents = nil
	return errors.Join(errs...)
}

// empty empties all memories, by starting everything anew: connections are opened again, too.
func (o *ours) empty() error {
	if err := o.stop(); err != nil {
		return err
	}
	return o.start()
}

func (o *ours) pids() processes {
	p := processes{main: []int{o.gate.pid()}, others: o.others}
	for _, a := range o.agents {
		p.remotes = append(p.remotes, a.pid())
	}
	return p
}

// validation is the body of a request to the REST front.
type validation struct {
	Identifier       map[string]string `json:"identifier"`
	Method           string            `json:"method"`
	Token            string            `json:"token"`
	KeyAuthorization string            `json:"key_authorization"`
	TokenCreated     time.Time         `json:"token_created"`
	AccountURI       string            `json:"account_uri"`
}

func (o *ours) drive(ctx context.Context, l load) (times, error) {
	type problem struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: o.pool, MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: l.InFlight,
		ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	url := fmt.Sprintf("https://127.0.0.1:%d/v1/validations", o.port(0))
	return l.run(ctx, func(i int) error {
		body, err := json.Marshal(validation{Identifier: map[string]string{"type": "dns", "value": l.name(i)}, Method: l.Method, Token: token,
			KeyAuthorization: keyAuthorization, TokenCreated: time.Now().UTC().Truncate(time.Second), AccountURI: accounts + strconv.Itoa(accountNumber)})
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+o.key)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode == http.StatusCreated {
			return err
		}
		var p problem
		if err := json.Unmarshal(text, &p); err != nil {
			return fmt.Errorf("%s: %s", resp.Status, text[:min(len(text), 600)])
		}
		no := coded{strconv.Itoa(resp.StatusCode) + " " + p.Code, p.Detail}
		if after := resp.Header.Get("Retry-After"); after != "" {
			no.code += ", Retry-After: " + after
		}
		return no
	})
}

// mallocs gives how many objects the gate and its first remote have allocated so far.
func (o *ours) mallocs(ctx context.Context) (gate, remote int64, err error) {
	for i, n := range []*int64{&gate, &remote} {
		values, err := o.gauges(ctx, i)
		if err != nil {
			return 0, 0, err
		}
		*n = int64(values["go_memstats_mallocs_total"])
	}
	return gate, remote, nil
}

// gauges has the metrics without labels of the gate, or of the remote i, by name.
func (o *ours) gauges(ctx context.Context, i int) (map[string]float64, error) {
	text, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", o.metrics(i)))
	if err != nil {
		return nil, err
	}
	return gauges(string(text)), nil
}

func gauges(text string) map[string]float64 {
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if f, err := strconv.ParseFloat(value, 64); ok && err == nil {
			all[name] = f
		}
	}
	return all
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return text, err
}

// move gives the remotes other addresses in the gate's roster, and starts all anew.
func (o *ours) move(far func(i int, at string) (string, error)) error {
	var pairs []string
	for i, old := range o.at {
		at, err := far(i+1, o.remote(i+1))
		if err != nil {
			return err
		}
		pairs = append(pairs, strconv.Quote("https://"+old), strconv.Quote("https://"+at))
		o.at[i] = at
	}
	if err := edit(filepath.Join(o.dir, "gate", "quorate.yaml"), pairs...); err != nil {
		return err
	}
	return o.empty()
}
