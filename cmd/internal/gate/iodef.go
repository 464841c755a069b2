package gate

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/mpic/iodef"
	"github.com/quorate/quorate/va"
)

// newReporter makes what reports refusals; nil where the configuration has none. Reports go to the web as the primary does.
func (g *Gate) newReporter(c *config.IODEF, primary *va.Checker, doors node.Doors) (*iodef.Reporter, error) {
	if c == nil {
		return nil, nil
	}
	metrics, err := node.Register(g.registry, iodef.NewMetrics)
	if err != nil {
		return nil, err
	}
	r := iodef.Config{Records: g.Store.Journal(), Organization: c.Organization, Contact: c.Contact, Text: c.Text, PerDomain: c.PerDomain,
		Total: c.Total, Now: doors.Now, Logger: g.log, Metrics: metrics, Drain: g.shutdown / 3}
	if c.HTTPS {
		r.Web = primary
	}
	if c.Mail != nil {
		if r.Mail, err = mailServer(*c.Mail); err != nil {
			return nil, err
		}
	}
	return iodef.New(r)
}

func mailServer(c config.IODEFMail) (*iodef.Mail, error) {
	host, port, err := c.HostPort()
	if err != nil {
		return nil, fmt.Errorf("iodef.mail.server: %w", err)
	}
	m := &iodef.Mail{Host: host, Port: port, Implicit: c.TLS == "implicit", Username: c.Username, From: c.From, Subject: c.Subject}
	if m.Password, err = c.Password(); err != nil {
		return nil, err
	}
	if c.Roots == "" {
		return m, nil
	}
	text, err := os.ReadFile(filepath.Clean(c.Roots))
	if err != nil {
		return nil, fmt.Errorf("iodef.mail.roots: %w", err)
	}
	m.Roots = x509.NewCertPool()
	if !m.Roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("iodef.mail.roots: %s has no certificate", c.Roots)
	}
	return m, nil
}
