package gate

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder"
)

// closer lets go of a remote whose Close has nothing to tell.
type closer func()

func (c closer) Close() error {
	c()
	return nil
}

// boulderRemotes makes the connections to Boulder's remoteva, by their names.
func (g *Gate) boulderRemotes(c config.Gate, roster mpic.Roster, doors node.Doors) (map[string]mpic.Remote, error) {
	out := map[string]mpic.Remote{}
	for _, m := range roster.Remotes {
		if m.Protocol != mpic.Boulder {
			continue
		}
		b := c.BoulderRemotes
		if b == nil {
			return nil, fmt.Errorf("boulder_remotes: %s speaks Boulder's protocol, and nothing says what it is shown", m.Name)
		}
		certificate, roots, err := g.mutual("boulder_remotes", b.TLS, b.CA)
		if err != nil {
			return nil, err
		}
		remote, err := boulder.NewRemote(boulder.ClientConfig{Member: m, Certificate: certificate, Roots: roots, Accounts: b.AccountURIPrefixes,
			Issuers: c.Issuers, Logger: g.log, Now: doors.Clock()})
		if err != nil {
			return nil, err
		}
		g.remotes, out[m.Name] = append(g.remotes, remote), remote
	}
	return out, nil
}

// newBoulder makes the front for Boulder's RA; nil where none is configured.
func (g *Gate) newBoulder(c config.Gate, primary mpic.Member) (*boulder.Server, error) {
	b := c.Boulder
	if b == nil {
		return nil, nil
	}
	certificate, roots, err := g.mutual("boulder", b.TLS, b.ClientCA)
	if err != nil {
		return nil, err
	}
	incumbent, err := g.boulderIncumbent(b.Shadow)
	if err != nil {
		return nil, err
	}
	front := boulder.Config{Incumbent: incumbent, Primary: primary, Certificate: certificate, ClientCAs: roots,
		Clients:  boulder.Clients{VA: b.VAClients, CAA: b.CAAClients, Health: b.HealthClients},
		Accounts: b.AccountURIPrefixes, Ready: g.Store.Ping, MaxInFlight: cmp.Or(b.InFlight, c.Limits.Places()), MaxConnections: b.Connections, Logger: g.log}
	if incumbent == nil {
		front.Coordinator = g.Coordinator
	}
	return boulder.NewServer(front)
}

// mutual reads a certificate of our own with its key, which is read anew when it changes, and the CAs of the others'. field is the section's
// name in the configuration.
func (g *Gate) mutual(field string, own config.Pair, ca string) (func() *tls.Certificate, *x509.CertPool, error) {
	certificate, err := own.Show(field+".tls", g.log)
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(filepath.Clean(ca))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", field, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, nil, fmt.Errorf("%s: %s has no certificate of a CA", field, ca)
	}
	return certificate.Certificate, roots, nil
}

// beside is a server beside the REST front's.
type beside struct {
	stop   context.CancelFunc
	served chan error
	done   chan struct{}
}

// serveBoulder begins to answer Boulder's RA; it does nothing where no front is configured for it.
func (g *Gate) serveBoulder(ctx context.Context, c config.Gate) (*beside, error) {
	if g.boulder == nil {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Boulder.Listen)
	if err != nil {
		return nil, fmt.Errorf("boulder.listen: %s cannot be listened on: %w", c.Boulder.Listen, node.Cause(err))
	}
	ctx, stop := context.WithCancel(ctx)
	f := &beside{stop: stop, served: make(chan error, 1), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.served <- g.boulder.Serve(ctx, listener, g.shutdown)
	}()
	g.log.Info("Boulder's RA is answered", "address", listener.Addr().String())
	return f, nil
}

// ended is closed when the server has ended; it never is where there is none.
func (f *beside) ended() <-chan struct{} {
	if f == nil {
		return nil
	}
	return f.done
}

// end lets running calls come to their end, and gives the server's error.
func (f *beside) end() error {
	if f == nil {
		return nil
	}
	f.stop()
	return <-f.served
}
