package gate

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder"
	"github.com/quorate/quorate/mpic/openmpic"
)

// newShadow makes what decides beside the incumbents; nil where there are none.
func (g *Gate) newShadow(c config.Gate) (*mpic.Shadow, error) {
	if !c.InShadow() {
		return nil, nil
	}
	metrics, err := node.Register(g.registry, mpic.NewShadowMetrics)
	if err != nil {
		return nil, err
	}
	g.log.Warn("the gate runs in the shadow of another system: what it decides is recorded and compared, and answers for no issuance")
	most := c.Limits.InFlight
	if most == 0 {
		most = mpic.DefaultMaxInFlight
	}
	return mpic.NewShadow(mpic.ShadowConfig{Coordinator: g.Coordinator, MaxInFlight: most, Logger: g.log, Metrics: metrics})
}

// openMPICIncumbent makes the way to the Open MPIC service that answers in the gate's place; nil where there is none.
func (g *Gate) openMPICIncumbent(c *config.OpenMPICShadow) (*openmpic.Incumbent, error) {
	if c == nil {
		return nil, nil
	}
	key := ""
	if !c.PassAPIKey {
		var err error
		if key, err = readAPIKey(c.APIKeyFile); err != nil {
			return nil, fmt.Errorf("open_mpic.shadow.api_key_file: %w", err)
		}
	}
	roots, err := readRoots(c.Roots)
	if err != nil {
		return nil, fmt.Errorf("open_mpic.shadow.roots: %w", err)
	}
	i, err := openmpic.NewIncumbent(openmpic.IncumbentConfig{URL: c.URL, APIKey: key, PassKey: c.PassAPIKey, Roots: roots, TLSKey: c.TLSKey,
		Timeout: c.Timeout, Shadow: g.shadow})
	if err != nil {
		return nil, fmt.Errorf("open_mpic.shadow: %w", err)
	}
	g.remotes = append(g.remotes, closer(i.Close))
	return i, nil
}

// boulderIncumbent makes the way to the boulder-va that answers in the gate's place; nil where there is none.
func (g *Gate) boulderIncumbent(c *config.BoulderShadow) (*boulder.Incumbent, error) {
	if c == nil {
		return nil, nil
	}
	certificate, roots, err := g.mutual("boulder.shadow", c.TLS, c.CA)
	if err != nil {
		return nil, err
	}
	i, err := boulder.NewIncumbent(boulder.IncumbentConfig{Address: c.Address, Name: c.ServerName, Certificate: certificate, Roots: roots,
		Shadow: g.shadow})
	if err != nil {
		return nil, fmt.Errorf("boulder.shadow: %w", err)
	}
	g.remotes = append(g.remotes, i)
	return i, nil
}

// besideRecords are the records of a gate in the shadow. Requests go to the incumbent through it whether or not they can be reached, so that its
// readiness does not hang on them.
type besideRecords struct{ records }

func (besideRecords) Ready(context.Context) error { return nil }
