package config

import (
	"fmt"
	"net/url"

	"github.com/quorate/quorate/mpic"
)

// DraftMPIC is what a gate does by draft-westerbaan-mpic, which is experimental: docs/draft-mpic.md. Left out, nothing.
type DraftMPIC struct {
	// Clients may ask the gate; without one it does not serve the draft.
	Clients []DraftClient `yaml:"clients"`
	// Services are asked, and stand for remotes of the roster.
	Services []DraftService `yaml:"services"`
}

// DraftClient is one client.
type DraftClient struct {
	Name string `yaml:"name"`
	// APIKeySHA256 is the SHA-256 of the client's key, in hexadecimal.
	APIKeySHA256 string `yaml:"api_key_sha256"`
	// InFlight is how many of the client's requests may run at a time; 0 means 64.
	InFlight int `yaml:"in_flight"`
}

// DraftService is a service that speaks the draft.
type DraftService struct {
	// URL is what stands before /mpic/draft-00. KeyFile holds what the gate is known by.
	URL     string `yaml:"url"`
	KeyFile string `yaml:"key_file"`
	// TLSKey pins the service's key. Without it the certificate is verified by its name, with the CAs in Roots, a PEM file, or the system's.
	TLSKey       string        `yaml:"tls_key"`
	Roots        string        `yaml:"roots"`
	Perspectives []DraftRemote `yaml:"perspectives"`
}

// DraftRemote is a remote perspective behind a service: a standpoint, and what the service calls it.
type DraftRemote struct {
	Name      string  `yaml:"name"`
	Title     string  `yaml:"title"`
	Code      string  `yaml:"code"`
	Region    string  `yaml:"region"`
	Latitude  float64 `yaml:"latitude"`
	Longitude float64 `yaml:"longitude"`
	Resolver  *Place  `yaml:"resolver"`
}

// draft checks the section; names has the perspectives' names, and where they stand.
func (d *document) draft(c *DraftMPIC, names map[string]string) {
	if c == nil {
		return
	}
	var clients []Client
	for i, client := range c.Clients {
		d.require(fmt.Sprintf("draft_mpic.clients[%d]", i), "api_key_sha256")
		clients = append(clients, Client{Name: client.Name, APIKeySHA256: client.APIKeySHA256, InFlight: client.InFlight})
	}
	d.clientsAt("draft_mpic.clients", clients)
	urls := map[string]bool{}
	for i := range c.Services {
		s, field := &c.Services[i], fmt.Sprintf("draft_mpic.services[%d]", i)
		d.require(field, "url", "key_file", "perspectives")
		u, err := url.Parse(s.URL)
		switch {
		case !d.has(field + ".url"):
		case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
			d.refuse(field+".url", "MPIC-08", "%q: https://HOST[:PORT][/PATH] is needed, and nothing more", s.URL)
		case urls[s.URL]:
			d.refuse(field+".url", "MPIC-05", "%q is the URL of two services: list all its perspectives in one", s.URL)
		}
		urls[s.URL] = true
		if d.has(field+".tls_key") && !hexDigest.MatchString(s.TLSKey) {
			d.refuse(field+".tls_key", "MPIC-08", "the SHA-256 of the service's public TLS key is needed, 64 characters of lower case hexadecimal")
		}
		if d.has(field+".tls_key") && d.has(field+".roots") {
			d.refuse(field+".roots", "MPIC-08", "a service whose key is pinned is not verified by its name: one of both is needed")
		}
		if d.has(field+".perspectives") && len(s.Perspectives) == 0 {
			d.refuse(field+".perspectives", "", "one perspective at least is needed, or there is nothing to ask for")
		}
		s.KeyFile, s.Roots = d.path(s.KeyFile), d.path(s.Roots)
		d.draftRemotes(field, s.Perspectives, names)
	}
}

func (d *document) draftRemotes(service string, all []DraftRemote, names map[string]string) {
	codes := map[string]string{}
	for i, r := range all {
		field := fmt.Sprintf("%s.perspectives[%d]", service, i)
		d.standpoint(field, Standpoint{r.Name, r.Title, r.Region, r.Latitude, r.Longitude, r.Resolver})
		if other, taken := names[r.Name]; taken && r.Name != "" {
			d.refuse(field+".name", "MPIC-05", "%q is the name of %s already", r.Name, other)
		}
		names[r.Name] = field
		code := r.Code
		if code == "" {
			code = r.Name
		}
		if d.has(field+".code") && (r.Code == "" || len(r.Code) > 64) {
			d.refuse(field+".code", "", "a code has 1 to 64 characters")
		}
		if other, taken := codes[code]; taken {
			d.refuse(field, "MPIC-05", "the service calls %s by the code %q already", other, code)
		}
		codes[code] = field
	}
}

// members are the roster's remotes behind the services, in their order.
func (c *DraftMPIC) members() (out []mpic.Member) {
	if c == nil {
		return nil
	}
	for _, s := range c.Services {
		out = append(out, s.Members()...)
	}
	return out
}

// Members are the roster's remotes behind the service.
func (s DraftService) Members() (out []mpic.Member) {
	for _, r := range s.Perspectives {
		m := member(Standpoint{r.Name, r.Title, r.Region, r.Latitude, r.Longitude, r.Resolver})
		m.URL, m.TLSKey, m.Protocol, m.Code = s.URL, s.TLSKey, mpic.Draft00, r.Code
		out = append(out, m)
	}
	return out
}
