package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/quorate/quorate/mpic"
)

// protocol looks at what a remote's protocol has and has not. Perspectives behind a service of draft-westerbaan-mpic stand in its section.
func (d *document) protocol(field string, r Remote) {
	unwanted := func(why string, names ...string) {
		for _, name := range names {
			if d.has(field + "." + name) {
				d.refuse(field+"."+name, "MPIC-08", "%s", why)
			}
		}
	}
	code := func(whose string) {
		if d.has(field+".code") && (r.Code == "" || len(r.Code) > 200) {
			d.refuse(field+".code", "MPIC-08", "%s is needed, 1 to 200 characters", whose)
		}
	}
	named := []mpic.Protocol{mpic.Boulder, mpic.OpenMPICChecker, mpic.OpenMPICCoordinator}
	p := mpic.Protocol(r.Protocol)
	switch {
	case !d.has(field + ".protocol"):
		d.require(field, "url", "tls_key", "signing_key")
		unwanted("a perspective of ours is called by its name, and known by its keys", "code", "api_key_file", "roots")
	case !slices.Contains(named, p):
		d.refuse(field+".protocol", "MPIC-08", "%q is no protocol of a remote; left out it is ours, and there are %v", r.Protocol, named)
	case p == mpic.Boulder:
		d.require(field, "url")
		unwanted("Boulder's remoteva signs nothing", "signing_key")
		unwanted("what a remoteva is shown stands in boulder_remotes", "api_key_file", "roots")
		code("the remoteva's perspective")
		if u, err := url.Parse(r.URL); err == nil && d.has(field+".url") && (u.Port() == "" || strings.Trim(u.Path, "/") != "") {
			d.refuse(field+".url", "", "%q: https://HOST:PORT is needed; it means gRPC over TLS", r.URL)
		}
	default:
		d.require(field, "url", "api_key_file")
		unwanted("Open MPIC signs nothing", "signing_key")
		if p == mpic.OpenMPICChecker {
			unwanted("a checker does not say what it is called", "code")
		}
		code("the coordinator's perspective_code")
	}
}
