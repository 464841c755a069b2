package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder/account"
)

// Boulder is the front for Boulder's RA: gRPC over mutual TLS.
type Boulder struct {
	Listen string `yaml:"listen"`
	// TLS is what the gate shows the RA; ClientCA, a PEM file, has the CAs of the RA's own certificate.
	TLS      Pair   `yaml:"tls"`
	ClientCA string `yaml:"client_ca"`
	// VAClients, CAAClients and HealthClients are the names in client certificates that may call va.VA, va.CAA and the health service: Boulder's
	// clientNames. Those of the first two may call the third too.
	VAClients     []string `yaml:"va_clients"`
	CAAClients    []string `yaml:"caa_clients"`
	HealthClients []string `yaml:"health_clients"`
	// AccountURIPrefixes are Boulder's.
	AccountURIPrefixes []string `yaml:"account_uri_prefixes"`
	// InFlight is how many calls run at a time, Connections how many connections are open: 256 each.
	InFlight    int `yaml:"in_flight"`
	Connections int `yaml:"connections"`
	// Shadow is who answers in the gate's place; left out, the gate does.
	Shadow *BoulderShadow `yaml:"shadow"`
}

// BoulderRemotes is what the perspectives with `protocol: boulder` have in common.
type BoulderRemotes struct {
	// TLS is what the gate shows a remoteva, whose clientNames have its name; CA, a PEM file, has the CAs of the remoteva's certificates.
	TLS Pair   `yaml:"tls"`
	CA  string `yaml:"ca"`
	// AccountURIPrefixes are Boulder's.
	AccountURIPrefixes []string `yaml:"account_uri_prefixes"`
}

func (d *document) boulder(b *Boulder) {
	if b == nil {
		return
	}
	d.require("boulder", "listen", "tls", "client_ca", "va_clients", "caa_clients", "account_uri_prefixes")
	d.address("boulder.listen", b.Listen)
	d.pair("boulder.tls", &b.TLS)
	b.ClientCA = d.path(b.ClientCA)
	for field, names := range map[string][]string{"va_clients": b.VAClients, "caa_clients": b.CAAClients, "health_clients": b.HealthClients} {
		field = "boulder." + field
		if d.has(field) && len(names) == 0 {
			d.refuse(field, "MPIC-08", "one name at least is needed: without one nobody may call")
		}
		for i, name := range names {
			if name == "" || strings.ContainsAny(name, "*/: \t") {
				d.refuse(fmt.Sprintf("%s[%d]", field, i), "MPIC-08", "%q is no DNS name of a client's certificate", name)
			}
		}
	}
	d.accounts("boulder.account_uri_prefixes", b.AccountURIPrefixes)
	for field, n := range map[string]int{"boulder.in_flight": b.InFlight, "boulder.connections": b.Connections} {
		if d.has(field) && (n < 1 || n > 65536) {
			d.refuse(field, "", "%d is not between 1 and 65536", n)
		}
	}
}

func (d *document) accounts(field string, prefixes []string) {
	if err := account.Prefixes(prefixes).Check(); d.has(field) && err != nil {
		d.refuse(field, "CAA-04", "%v", err)
	}
}

func (d *document) boulderRemotes(b *BoulderRemotes, remotes []Remote) {
	asked := slices.ContainsFunc(remotes, func(r Remote) bool { return r.Protocol == string(mpic.Boulder) })
	if b == nil {
		if asked {
			d.refuse("boulder_remotes", "MPIC-08", "this section is required: there are perspectives with protocol: boulder")
		}
		return
	}
	d.require("boulder_remotes", "tls", "ca", "account_uri_prefixes")
	d.pair("boulder_remotes.tls", &b.TLS)
	b.CA = d.path(b.CA)
	d.accounts("boulder_remotes.account_uri_prefixes", b.AccountURIPrefixes)
	if !asked {
		d.refuse("boulder_remotes", "", "no perspective has protocol: boulder")
	}
}
