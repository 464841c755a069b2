package gate

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/openmpic"
)

// newOpenMPIC makes the front for Open MPIC's clients; nil where none is configured.
func (g *Gate) newOpenMPIC(c config.Gate, doors node.Doors) (*openmpic.Server, error) {
	if c.OpenMPIC == nil {
		return nil, nil
	}
	incumbent, err := g.openMPICIncumbent(c.OpenMPIC.Shadow)
	if err != nil {
		return nil, err
	}
	front := openmpic.Config{Incumbent: incumbent, Clients: node.OpenMPICClients(c.OpenMPIC.Clients), Issuers: c.Issuers,
		MaxAttempts: c.OpenMPIC.MaxAttempts, MaxInFlight: c.Limits.Places(), Logger: g.log, Now: doors.Clock()}
	if incumbent == nil {
		front.Validator = g.Coordinator
	}
	return openmpic.NewServer(front)
}

// openMPICRemotes makes the remotes that speak Open MPIC, by their names. Those with one URL stand behind one coordinator.
func (g *Gate) openMPICRemotes(c config.Gate, roster mpic.Roster, doors node.Doors) (map[string]mpic.Remote, error) {
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
		remotes, err := openmpic.NewRemotes(openmpic.ClientConfig{Members: x.members, APIKey: key, Roots: roots, Logger: g.log, Now: doors.Clock()})
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
