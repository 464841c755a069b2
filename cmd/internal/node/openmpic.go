package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/openmpic"
)

// newOpenMPIC makes the front for Open MPIC's clients; nil where none is configured.
func (g *Gate) newOpenMPIC(c config.Gate, doors Doors) (*openmpic.Server, error) {
	if c.OpenMPIC == nil {
		return nil, nil
	}
	incumbent, err := g.openMPICIncumbent(c.OpenMPIC.Shadow)
	if err != nil {
		return nil, err
	}
	front := openmpic.Config{Incumbent: incumbent, Clients: openMPICClients(c.OpenMPIC.Clients), Issuers: c.Issuers,
		MaxAttempts: c.OpenMPIC.MaxAttempts, MaxInFlight: c.Limits.Places(), Logger: g.log, Now: doors.clock()}
	if incumbent == nil {
		front.Validator = g.Coordinator
	}
	return openmpic.NewServer(front)
}

func openMPICClients(clients []config.OpenMPICClient) []front.Client {
	var list []front.Client
	for _, c := range clients {
		list = append(list, front.Client{Name: c.Name, APIKeySHA256: c.APIKeySHA256, InFlight: c.InFlight})
	}
	return list
}

// openMPICRemotes makes the remotes that speak Open MPIC, by their names. Those with one URL stand behind one coordinator.
func (g *Gate) openMPICRemotes(c config.Gate, roster mpic.Roster, doors Doors) (map[string]mpic.Remote, error) {
	type group struct {
		members []mpic.Member
		from    config.Remote
	}
	groups := map[string]*group{}
	var order []string
	for i, m := range roster.Remotes {
		if m.Protocol != mpic.OpenMPICChecker && m.Protocol != mpic.OpenMPICCoordinator {
			continue
		}
		at := string(m.Protocol) + " " + m.URL
		if groups[at] == nil {
			groups[at], order = &group{from: c.Perspectives[i]}, append(order, at)
		}
		x := groups[at]
		if r := c.Perspectives[i]; r.APIKeyFile != x.from.APIKeyFile || r.Roots != x.from.Roots {
			return nil, fmt.Errorf("perspectives: %s and %s have one URL, and differ in api_key_file or roots", x.from.Name, r.Name)
		}
		x.members = append(x.members, m)
	}
	out := map[string]mpic.Remote{}
	for _, at := range order {
		x := groups[at]
		key, err := readAPIKey(x.from.APIKeyFile)
		if err != nil {
			return nil, fmt.Errorf("perspectives: %s: api_key_file: %w", x.from.Name, err)
		}
		roots, err := readRoots(x.from.Roots)
		if err != nil {
			return nil, fmt.Errorf("perspectives: %s: roots: %w", x.from.Name, err)
		}
		remotes, err := openmpic.NewRemotes(openmpic.ClientConfig{Members: x.members, APIKey: key, Roots: roots, Logger: g.log, Now: doors.clock()})
		if err != nil {
			return nil, err
		}
		for i, r := range remotes {
			out[x.members[i].Name] = r
			g.remotes = append(g.remotes, closer(r.Close))
		}
	}
	return out, nil
}

// readAPIKey reads a key that nobody but its owner may read, and perhaps a newline behind it.
func readAPIKey(file string) (string, error) {
	text, err := readSecret(file)
	return strings.TrimRight(string(text), "\r\n"), err
}

// readRoots reads the CAs of a server's certificate, nil for the system's.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate of a CA", file)
	}
	return roots, nil
}

// openChecker is a perspective's listener for Open MPIC coordinators. A nil one serves nobody.
type openChecker struct {
	server      *openmpic.CheckerServer
	listener    net.Listener
	certificate tls.Certificate
}

// newOpenChecker begins to listen, where the configuration says so.
func newOpenChecker(ctx context.Context, c config.Perspective, base identity, doors Doors, log *slog.Logger) (*openChecker, error) {
	o := c.OpenMPIC
	if o == nil {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(o.TLS.Certificate, o.TLS.Key)
	if err != nil {
		return nil, fmt.Errorf("open_mpic.tls.certificate %s with open_mpic.tls.key %s: %w", o.TLS.Certificate, o.TLS.Key, err)
	}
	var clients []openmpic.CheckerClient
	for _, client := range openMPICClients(o.Clients) {
		own := base
		own.gate = "openmpic:" + client.Name
		check, err := checker(own, doors, log.With("gate", own.gate))
		if err != nil {
			return nil, err
		}
		clients = append(clients, openmpic.CheckerClient{Client: client, Checker: check})
	}
	server, err := openmpic.NewCheckerServer(openmpic.CheckerConfig{Clients: clients, Issuers: o.Issuers,
		MaxCheck: c.Limits.Check, MaxInFlight: o.InFlight, Logger: log, Now: doors.clock()})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("open_mpic.listen: %s cannot be listened on: %w", o.Listen, cause(err))
	}
	log.Info("Open MPIC coordinators are answered", "address", listener.Addr().String())
	return &openChecker{server, listener, certificate}, nil
}

// close gives the port back where nothing was served yet.
func (o *openChecker) close() error {
	if o == nil {
		return nil
	}
	return o.listener.Close()
}

// beside serves until ctx ends or main does, and main with it: neither goes on without the other.
func (o *openChecker) beside(ctx context.Context, main func(context.Context) error) error {
	if o == nil {
		return main(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() {
		defer stop()
		served <- o.server.Serve(ctx, o.listener, o.certificate)
	}()
	err := main(ctx)
	stop()
	return errors.Join(err, <-served)
}
