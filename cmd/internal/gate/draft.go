package gate

import (
	"fmt"
	"net/http"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/draft"
	"github.com/quorate/quorate/mpic/front"
)

// draftRemotes makes the remotes that stand behind services of draft-westerbaan-mpic, by their names.
func (g *Gate) draftRemotes(c config.Gate, _ mpic.Roster, doors node.Doors) (map[string]mpic.Remote, error) {
	if c.DraftMPIC == nil {
		return nil, nil
	}
	out := map[string]mpic.Remote{}
	for i, s := range c.DraftMPIC.Services {
		field := fmt.Sprintf("draft_mpic.services[%d]", i)
		key, err := readAPIKey(s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%s.key_file: %w", field, err)
		}
		roots, err := readRoots(s.Roots)
		if err != nil {
			return nil, fmt.Errorf("%s.roots: %w", field, err)
		}
		service, err := draft.NewService(draft.ServiceConfig{Members: s.Members(), Key: key, Roots: roots, Logger: g.log, Now: doors.Clock()})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		g.remotes = append(g.remotes, closer(service.Close))
		for _, r := range service.Remotes() {
			out[r.Member().Name] = r
		}
	}
	return out, nil
}

// newDraft makes the front of draft-westerbaan-mpic: nil where nobody may ask it.
func (g *Gate) newDraft(c *config.DraftMPIC, inFlight int) (http.Handler, error) {
	if c == nil || len(c.Clients) == 0 {
		return nil, nil
	}
	var clients []front.Client
	for _, client := range c.Clients {
		clients = append(clients, front.Client{Name: client.Name, APIKeySHA256: client.APIKeySHA256, InFlight: client.InFlight})
	}
	g.log.Warn("draft-westerbaan-mpic is served, which is experimental", "path", draft.Path)
	return draft.NewServer(draft.Config{Carrier: g.Coordinator, Clients: clients, MaxInFlight: inFlight, Logger: g.log})
}
