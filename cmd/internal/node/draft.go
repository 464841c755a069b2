package node

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/draft"
)

// connectDraft gives the remotes that stand behind services of draft-westerbaan-mpic, in the order of the roster.
func (g *Gate) connectDraft(c *config.DraftMPIC, doors Doors) (out []mpic.Remote, err error) {
	if c == nil {
		return nil, nil
	}
	for i, s := range c.Services {
		field := fmt.Sprintf("draft_mpic.services[%d]", i)
		key, err := readSecret(s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%s.key_file: %w", field, err)
		}
		var roots *x509.CertPool
		if s.Roots != "" {
			pem, err := os.ReadFile(filepath.Clean(s.Roots))
			if err != nil {
				return nil, fmt.Errorf("%s.roots: %w", field, err)
			}
			if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s.roots: %s holds no certificate", field, s.Roots)
			}
		}
		service, err := draft.NewService(draft.ServiceConfig{Members: s.Members(), Key: strings.TrimRight(string(key), "\r\n"), Roots: roots, Logger: g.log,
			Now: doors.clock()})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		g.services = append(g.services, service)
		for _, r := range service.Remotes() {
			out = append(out, r)
		}
	}
	return out, nil
}

// newDraft makes the front of draft-westerbaan-mpic: nil where nobody may ask it.
func (g *Gate) newDraft(c *config.DraftMPIC, inFlight int) (http.Handler, error) {
	if c == nil || len(c.Clients) == 0 {
		return nil, nil
	}
	var clients []draft.Client
	for _, client := range c.Clients {
		clients = append(clients, draft.Client{Name: client.Name, APIKeySHA256: client.APIKeySHA256, InFlight: client.InFlight})
	}
	g.log.Warn("draft-westerbaan-mpic is served, which is experimental", "path", draft.Path)
	return draft.NewServer(draft.Config{Carrier: g.Coordinator, Clients: clients, MaxInFlight: inFlight, Logger: g.log})
}

// Front is all that the gate serves at its address: the REST front, and beside it what the configuration adds.
func (g *Gate) Front() http.Handler {
	if g.draft == nil {
		return g.Handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == draft.Path {
			g.draft.ServeHTTP(w, r)
			return
		}
		g.Handler.ServeHTTP(w, r)
	})
}
