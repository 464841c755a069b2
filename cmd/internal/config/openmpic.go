package config

import (
	"fmt"

	"github.com/quorate/quorate/mpic/openmpic"
)

// OpenMPIC is the gate's front for Open MPIC's clients: POST /mpic and POST /v1/mpic.
type OpenMPIC struct {
	Clients []OpenMPICClient `yaml:"clients"`
	// MaxAttempts is the largest max_attempts that a client may ask for: 3, at most 10.
	MaxAttempts int `yaml:"max_attempts"`
	// Shadow is who answers in the gate's place; left out, the gate does.
	Shadow *OpenMPICShadow `yaml:"shadow"`
}

// OpenMPICChecker lets Open MPIC coordinators ask a perspective: POST /dcv and POST /caa.
type OpenMPICChecker struct {
	Listen string `yaml:"listen"`
	// TLS is what coordinators are shown: they verify it by name.
	TLS     Pair             `yaml:"tls"`
	Clients []OpenMPICClient `yaml:"clients"`
	// Issuers are what CAA records must name where a request has no caa_domains.
	Issuers []string `yaml:"issuers"`
	// InFlight is how many checks are done at a time over all clients: 256.
	InFlight int `yaml:"in_flight"`
}

// OpenMPICClient is one API client, known by the key in x-api-key.
type OpenMPICClient struct {
	Name string `yaml:"name"`
	// APIKeySHA256 is the SHA-256 of the API key, in hexadecimal: the file does not hold the key.
	APIKeySHA256 string `yaml:"api_key_sha256"`
	// InFlight is how many of the client's requests are worked on at a time: 64.
	InFlight int `yaml:"in_flight"`
}

func (d *document) openMPIC(o *OpenMPIC) {
	if o == nil {
		return
	}
	d.openMPICClients("open_mpic", o.Clients)
	if d.has("open_mpic.max_attempts") && (o.MaxAttempts < 1 || o.MaxAttempts > openmpic.MostMaxAttempts) {
		d.refuse("open_mpic.max_attempts", "", "%d is not between 1 and %d", o.MaxAttempts, openmpic.MostMaxAttempts)
	}
}

func (d *document) openMPICChecker(o *OpenMPICChecker) {
	if o == nil {
		return
	}
	d.require("open_mpic", "listen", "tls")
	d.address("open_mpic.listen", o.Listen)
	d.pair("open_mpic.tls", &o.TLS)
	d.openMPICClients("open_mpic", o.Clients)
	for i, name := range o.Issuers {
		if !IssuerName(name) {
			d.refuse(fmt.Sprintf("open_mpic.issuers[%d]", i), "CAA-02", "%q is no issuer domain name in lower case", name)
		}
	}
	if d.has("open_mpic.in_flight") && (o.InFlight < 1 || o.InFlight > 65536) {
		d.refuse("open_mpic.in_flight", "", "%d is not between 1 and 65536", o.InFlight)
	}
}

func (d *document) openMPICClients(parent string, clients []OpenMPICClient) {
	d.require(parent, "clients")
	if d.has(parent+".clients") && len(clients) == 0 {
		d.refuse(parent+".clients", "", "one client at least is needed: without one nobody could ask")
	}
	names, keys := map[string]bool{}, map[string]string{}
	for i, c := range clients {
		field := fmt.Sprintf("%s.clients[%d]", parent, i)
		d.require(field, "name", "api_key_sha256")
		if d.has(field+".name") && (!clientName.MatchString(c.Name) || names[c.Name]) {
			d.refuse(field+".name", "REC-03", "%q: a name is 1 to 63 letters, digits, dots, underscores and hyphens, and one client's", c.Name)
		}
		if other, taken := keys[c.APIKeySHA256]; d.has(field+".api_key_sha256") && taken {
			d.refuse(field+".api_key_sha256", "REC-03", "this is the key of client %q already", other)
		} else if d.has(field+".api_key_sha256") && !hexDigest.MatchString(c.APIKeySHA256) {
			d.refuse(field+".api_key_sha256", "", "a SHA-256 digest in lower case hexadecimal is needed, 64 characters")
		}
		names[c.Name], keys[c.APIKeySHA256] = true, c.Name
		if d.has(field+".in_flight") && (c.InFlight < 1 || c.InFlight > 4096) {
			d.refuse(field+".in_flight", "", "%d is not between 1 and 4096", c.InFlight)
		}
	}
}
