package config

import (
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic/openmpic"
)

// OpenMPICShadow is the Open MPIC service that answers in the gate's place.
type OpenMPICShadow struct {
	// URL is what stands before /mpic and /v1/mpic.
	URL string `yaml:"url"`
	// APIKeyFile holds the key that it is shown in x-api-key; or PassAPIKey shows it each caller's own.
	APIKeyFile string `yaml:"api_key_file"`
	PassAPIKey bool   `yaml:"pass_api_key"`
	// Roots, a PEM file, has the CAs of its certificate, the system's where it is left out. TLSKey pins its key.
	Roots  string `yaml:"roots"`
	TLSKey string `yaml:"tls_key"`
	// Timeout bounds one exchange: 60s, from 1s to 5m.
	Timeout time.Duration `yaml:"timeout"`
}

// BoulderShadow is the boulder-va that answers in the gate's place.
type BoulderShadow struct {
	// Address is HOST:PORT; ServerName the name in its certificate where that is not HOST, as Boulder's hostOverride.
	Address    string `yaml:"address"`
	ServerName string `yaml:"server_name"`
	// TLS is what the gate shows it; CA, a PEM file, has the CAs of its certificate.
	TLS Pair   `yaml:"tls"`
	CA  string `yaml:"ca"`
}

// InShadow tells whether the gate runs in the shadow of another system. One section that says so makes the whole gate one: there is no
// second switch that could say otherwise.
func (g Gate) InShadow() bool {
	return g.OpenMPIC != nil && g.OpenMPIC.Shadow != nil || g.Boulder != nil && g.Boulder.Shadow != nil
}

func (d *document) shadow(g Gate) {
	const rule, why = "docs/shadow.md", "the gate runs in the shadow of another system, and this front would have nobody who answers"
	if !g.InShadow() {
		return
	}
	if o := g.OpenMPIC; o != nil && o.Shadow == nil {
		d.refuse("open_mpic.shadow", rule, "%s", why)
	} else if o != nil {
		d.openMPICShadow(o.Shadow)
	}
	if b := g.Boulder; b != nil && b.Shadow == nil {
		d.refuse("boulder.shadow", rule, "%s", why)
	} else if b != nil {
		d.boulderShadow(b.Shadow)
	}
}

func (d *document) openMPICShadow(s *OpenMPICShadow) {
	const field = "open_mpic.shadow"
	d.require(field, "url")
	u, err := url.Parse(s.URL)
	if d.has(field+".url") && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		d.refuse(field+".url", "MPIC-08", "%q: https://HOST[:PORT][/PATH] is needed, and nothing more", s.URL)
	}
	if d.has(field+".api_key_file") == s.PassAPIKey {
		d.refuse(field, "MPIC-08", "either api_key_file or pass_api_key: true is needed, and not both: the incumbent is shown one key")
	}
	if d.has(field+".tls_key") && !hexDigest.MatchString(s.TLSKey) {
		d.refuse(field+".tls_key", "MPIC-08", "the SHA-256 of the incumbent's public TLS key is needed, 64 characters of lower case hexadecimal")
	}
	if d.has(field+".timeout") && (s.Timeout < time.Second || s.Timeout > openmpic.MostIncumbentTime) {
		d.refuse(field+".timeout", "", "%s is not between 1s and %s", s.Timeout, openmpic.MostIncumbentTime)
	}
	s.APIKeyFile, s.Roots = d.path(s.APIKeyFile), d.path(s.Roots)
}

func (d *document) boulderShadow(s *BoulderShadow) {
	const field = "boulder.shadow"
	d.require(field, "address", "tls", "ca")
	if host, port, err := net.SplitHostPort(s.Address); d.has(field+".address") && (err != nil || host == "" || port == "") {
		d.refuse(field+".address", "", "%q: HOST:PORT is needed, for example va.service.consul:9092", s.Address)
	}
	if d.has(field+".server_name") && (s.ServerName == "" || strings.ContainsAny(s.ServerName, "*/: \t")) {
		d.refuse(field+".server_name", "MPIC-08", "%q is no DNS name of a certificate", s.ServerName)
	}
	d.pair(field+".tls", &s.TLS)
	s.CA = d.path(s.CA)
}
