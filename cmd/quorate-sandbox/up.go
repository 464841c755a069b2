package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/acme/pebble"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

type upCmd struct {
	Dir     string `placeholder:"DIR" help:"Keep keys and journal in this directory, which must be empty or missing. Default: a temporary directory, removed at the end."`
	State   string `placeholder:"FILE" help:"Write what clients need (URLs, ports, files) to this file as JSON, once everything runs."`
	Verbose bool   `short:"v" help:"Print the gate's and the perspectives' logs."`
	ACME    string `name:"acme" default:"127.0.0.1:0" placeholder:"ADDRESS:PORT" help:"Where the ACME server listens (${default}); at 0.0.0.0 it calls itself https://localhost:PORT."`
	Records string `default:"127.0.0.1:0" placeholder:"ADDRESS:PORT" help:"Where DNS records are set over HTTP (${default})."`
}

// state is what a client of the sandbox needs to know.
type state struct {
	// Directory is the ACME directory; CA the file with the certificate that its server is trusted by.
	Directory string `json:"directory"`
	CA        string `json:"ca"`
	// Records is the URL below which DNS records are set: see docs/sandbox.md.
	Records string `json:"records"`
	// HTTPAddress and HTTPPort are where the web server of here.example.com and of every name below it is looked for.
	HTTPAddress string `json:"http_address"`
	HTTPPort    uint16 `json:"http_port"`
	TLSPort     uint16 `json:"tls_port"`
	Journal     string `json:"journal"`
	// DNSPort, RootHints and TrustAnchor are what other resolvers need to resolve in this world.
	DNSPort     uint16 `json:"dns_port"`
	RootHints   string `json:"root_hints"`
	TrustAnchor string `json:"trust_anchor"`
	// LogKey is the public key of the records' log.
	LogKey string `json:"log_key"`
}

// Run keeps the world running until ctx ends.
func (u upCmd) Run(ctx context.Context) error {
	if u.State != "" { // before anything is started for nothing
		if info, err := os.Stat(filepath.Dir(u.State)); err != nil {
			return fmt.Errorf("--state: %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf("--state: %s is not a directory", filepath.Dir(u.State))
		}
	}
	dir, remove, err := workDir(u.Dir)
	if err != nil {
		return err
	}
	p := printer{}
	s, err := newSandbox(context.WithoutCancel(ctx), dir, u.ACME, u.Verbose, func(step string) { p.line("starting " + step) })
	if err != nil {
		return errors.Join(err, remove())
	}
	return errors.Join(u.serve(ctx, s, p), s.Close(), remove())
}

func (u upCmd) serve(ctx context.Context, s *sandbox, p printer) error {
	listener, err := net.Listen("tcp", u.Records)
	if err != nil {
		return fmt.Errorf("--records: %w", err)
	}
	records := &http.Server{Handler: recordsHandler(s), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = records.Serve(listener) }() // ends with Close below
	defer func() { _ = records.Close() }()
	st := state{Directory: s.acmeURL, CA: s.rootsFile, Records: "http://" + reachable(listener.Addr()), HTTPAddress: "127.0.0.1",
		HTTPPort: s.doors.HTTPPort, TLSPort: s.doors.TLSPort, Journal: s.dir + "/journal.sqlite",
		DNSPort: s.doors.DNSPort, RootHints: s.dir + "/root.hints", TrustAnchor: s.dir + "/root.anchor",
		LogKey: s.books[0].key}
	s.results.mu.Lock()
	s.results.told = func(req va.Request, result mpic.Result, err error) {
		if err != nil {
			p.line(fmt.Sprintf("%s: %v", req.Identifier, err))
			return
		}
		_ = table.Write(os.Stdout, table.Of(result), false) // the record is the truth, this is for who watches
	}
	s.results.toldIssuance = func(i pebble.Issuance) { p.line("  " + issuanceText(i)) }
	s.results.mu.Unlock()
	p.line(instructions(st, s.books[0].verify(st.TrustAnchor)))
	if u.State != "" {
		text, err := json.MarshalIndent(st, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(u.State+".part", append(text, '\n'), 0o644); err != nil {
			return err
		}
		if err := os.Rename(u.State+".part", u.State); err != nil {
			return err
		}
	}
	<-ctx.Done()
	p.line("stopping")
	return nil
}

func instructions(st state, verify string) string {
	return strings.NewReplacer("{quorate}", productionBinary(), "{dir}", st.Directory, "{ca}", st.CA, "{records}", st.Records, "{addr}", st.HTTPAddress,
		"{http}", fmt.Sprint(st.HTTPPort), "{tls}", fmt.Sprint(st.TLSPort), "{journal}", st.Journal,
		"{dns}", fmt.Sprint(st.DNSPort), "{hints}", st.RootHints, "{anchor}", st.TrustAnchor, "{verify}", verify).Replace(`
The sandbox runs. here.example.com and every name below it stand at {addr}: http-01 is looked for at port {http},
tls-alpn-01 at port {tls}. DNS records are set below {records} (docs/sandbox.md).

certbot, http-01:
  REQUESTS_CA_BUNDLE={ca} certbot certonly --standalone --http-01-address {addr} --http-01-port {http} \
    --server {dir} --register-unsafely-without-email --agree-tos -d a.here.example.com \
    --config-dir cb --work-dir cb --logs-dir cb -n

lego, http-01:
  LEGO_CA_CERTIFICATES={ca} lego --server {dir} --accept-tos --email you@example.com \
    --http --http.port {addr}:{http} -d b.here.example.com --path lego run

lego, dns-01, also for wildcards:
  LEGO_CA_CERTIFICATES={ca} HTTPREQ_ENDPOINT={records} \
    lego --server {dir} --accept-tos --email you@example.com \
    --dns httpreq --dns.disable-cp --dns.resolvers 127.0.53.1:{dns} -d '*.here.example.com' --path lego run

a CAA record that refuses:
  curl -d '{"name":"here.example.com","type":"CAA","data":["0 issue \"other-ca.example\""]}' {records}/records

what was decided, and why:
  {quorate} audit list --database {journal}
  {quorate} audit show 1 --database {journal}

that nothing of it was changed, and all of it holds:
  {verify}

a lookup, with its chain of trust:
  {quorate} resolve shop.example.com A --allow-reserved --port {dns} \
    --root-hints {hints} --trust-anchor {anchor}

Interrupt (Ctrl-C) to end.
`)
}

// productionBinary is the quorate that was built beside this program, or else its name.
func productionBinary() string {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "quorate")
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return "quorate"
}

// writeRoot writes the world's root servers and trust anchors as zone files, for resolve and for auditors.
func (s *sandbox) writeRoot() error {
	hints, anchor := filepath.Join(s.dir, "root.hints"), filepath.Join(s.dir, "root.anchor")
	var text strings.Builder
	for _, h := range s.doors.Hints {
		for _, addr := range h.Addrs {
			fmt.Fprintf(&text, ". 3600 IN NS %s\n%s 3600 IN A %s\n", h.Name, h.Name, addr)
		}
	}
	return errors.Join(os.WriteFile(hints, []byte(text.String()), 0o644), os.WriteFile(anchor, []byte(s.doors.Anchors), 0o644))
}

// recordsHandler lets clients set DNS records: /present and /cleanup as lego's httpreq provider calls them, and /records
// for anything. GET /ca.pem gives the ACME server's certificate.
func recordsHandler(s *sandbox) http.Handler {
	mux := http.NewServeMux()
	// The certificate that the ACME server is trusted by: for clients that cannot read the sandbox's files.
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, s.rootsFile) })
	mux.HandleFunc("POST /present", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ FQDN, Value string }
		answer(w, r, &in, func() error { return s.world.Add(in.FQDN, dns.TypeTXT, in.Value) })
	})
	mux.HandleFunc("POST /cleanup", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ FQDN, Value string }
		answer(w, r, &in, func() error { return s.world.Remove(in.FQDN, dns.TypeTXT, in.Value) })
	})
	mux.HandleFunc("POST /records", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name, Type string
			// Data is the RDATA of each record in presentation format; none removes the RRset.
			Data []string
		}
		answer(w, r, &in, func() error {
			if in.Name == "" {
				return errors.New("name: a name is needed")
			}
			rrtype, known := dns.StringToType[strings.ToUpper(in.Type)]
			if !known {
				return fmt.Errorf("type: %q is no record type", in.Type)
			}
			return s.world.Set(in.Name, rrtype, in.Data...)
		})
	})
	return mux
}

func answer(w http.ResponseWriter, r *http.Request, in any, do func() error) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	err := dec.Decode(in)
	switch {
	case errors.Is(err, io.EOF):
		err = errors.New("the body is empty: a JSON object is needed (docs/sandbox.md)")
	case err == nil:
		err = do()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, "ok\n") // a client that has gone is its own affair
}
