package mpic

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// judgeDCV: MPIC-10, the same challenge information as the primary's. Both are compared with what the request makes it
// be, and with what the perspective wrote down of how it came to see it.
func (a *asked) judgeDCV(f *va.DCVFinding, name string) (va.Outcome, *va.Problem) {
	if f.Outcome != va.Pass {
		return notPassed(f.Outcome, f.Problem, name, "domain control")
	}
	switch {
	case f.Problem != nil:
		return va.Error, contradiction(name, "domain control", "a pass that carries the problem "+f.Problem.Code)
	case f.Observed == "" || f.Observed != a.expected:
		return va.Error, contradiction(name, "domain control",
			"a pass without the challenge information that this request asks for")
	case f.Queried != a.queried:
		return va.Error, contradiction(name, "domain control",
			fmt.Sprintf("a pass for %q, where %q was to be asked", f.Queried, a.queried))
	}
	if err := a.control(f); err != nil {
		return va.Error, contradiction(name, "domain control", "a pass that what it saw does not give: "+err.Error())
	}
	return va.Pass, nil
}

// control works out again, from the lookups, fetches and handshakes of a finding, whether they show control of the
// name; the error says what is missing. Every lookup of the finding has its place, and each must be secure or insecure
// (DCV-04).
func (a *asked) control(f *va.DCVFinding) error {
	switch method := a.Probe.Request.Method; method {
	case va.DNS01:
		return a.sawRecord(f)
	case va.HTTP01:
		return sawPage(a.Probe.Request, f)
	case va.TLSALPN01:
		return sawCertificate(a.Probe.Request, f)
	default:
		return fmt.Errorf("nothing is known of %s", method)
	}
}

// sawRecord: DCV-11, one TXT record at the challenge label has the value.
func (a *asked) sawRecord(f *va.DCVFinding) error {
	if len(f.Lookups) != 1 || len(f.Fetches) != 0 || len(f.Handshakes) != 0 {
		return errors.New("dns-01 is one lookup and nothing else")
	}
	texts, err := answers(&f.Lookups[0], a.queried, "TXT")
	if err != nil {
		return err
	}
	for _, text := range texts {
		if plainTXT(text, a.queried, a.expected) {
			return nil
		}
		rr, err := dns.NewRR(text)
		if err != nil {
			return fmt.Errorf("%q is no record: %w", text, err)
		}
		if txt, ok := rr.(*dns.TXT); ok && strings.Join(txt.Txt, "") == a.expected {
			return nil
		}
	}
	return fmt.Errorf("none of the %d TXT records at %s has the value", len(texts), a.queried)
}

// plainTXT tells whether a text is a TXT record at a name with value as its only string: what the resolver writes, so that no parser of
// presentation format is needed to read it. value is base64url, and the name a host's with underscores: neither has escapes. False says
// nothing.
func plainTXT(text, name, value string) bool {
	rest, owned := strings.CutPrefix(text, name)
	rest, dotted := strings.CutPrefix(rest, ".\t")
	ttl, rest, _ := strings.Cut(rest, "\t")
	if _, err := strconv.ParseUint(ttl, 10, 31); !owned || !dotted || err != nil {
		return false
	}
	quoted, opened := strings.CutPrefix(rest, "IN\tTXT\t\"")
	seen, ended := strings.CutSuffix(quoted, `"`)
	return opened && ended && value != "" && seen == value
}

// sawPage: DCV-16 and DCV-17, a chain of fetches from the well-known URL over port 80, each by a redirect that is
// followed, to a response of 2xx whose body is the key authorization.
func sawPage(req va.Request, f *va.DCVFinding) error {
	if len(f.Fetches) == 0 || len(f.Lookups) != 2*len(f.Fetches) || len(f.Handshakes) != 0 {
		return errors.New("http-01 is fetches, with two lookups for each, and nothing else")
	}
	if len(f.Fetches) > va.MaxHops+1 {
		return fmt.Errorf("%d redirects were followed, and at most %d are", len(f.Fetches)-1, va.MaxHops)
	}
	due := &url.URL{Scheme: "http", Host: req.FQDN(), Path: "/.well-known/acme-challenge/" + req.Token}
	for i, fetch := range f.Fetches {
		if fetch.URL != due.String() {
			return fmt.Errorf("%q was fetched where %q was due", fetch.URL, due)
		}
		if slices.ContainsFunc(f.Fetches[:i], func(before va.Fetch) bool { return before.URL == fetch.URL }) {
			return fmt.Errorf("%q was fetched twice", fetch.URL)
		}
		if err := dialled(fetch.Address, fetch.Considered, due.Hostname(), f.Lookups[2*i:2*i+2]); err != nil {
			return err
		}
		if fetch.Error != "" {
			return fmt.Errorf("the fetch of %s has the error %q", fetch.URL, fetch.Error)
		}
		if i == len(f.Fetches)-1 {
			break
		}
		next, problem := fetch.Next(req.KeyAuthorization)
		if problem != nil {
			return problem
		}
		due = next
	}
	last := f.Fetches[len(f.Fetches)-1]
	if last.Status < 200 || last.Status > 299 {
		return fmt.Errorf("%s answered with the status %d", last.URL, last.Status)
	}
	// RFC 8555 section 8.3: white space at the end does not count. Of a longer body the record has not the end.
	if len(last.Body) != last.Bytes || strings.TrimRight(last.Body, " \t\r\n") != req.KeyAuthorization {
		return fmt.Errorf("the body at %s, %d octets, is not the key authorization", last.URL, last.Bytes)
	}
	return nil
}

// sawCertificate: DCV-18, one handshake with the host in which acme-tls/1 was negotiated over TLS 1.2 or 1.3, and one
// certificate for exactly the name. Its acmeIdentifier is the finding's Observed.
func sawCertificate(req va.Request, f *va.DCVFinding) error {
	if len(f.Handshakes) != 1 || len(f.Lookups) != 2 || len(f.Fetches) != 0 {
		return errors.New("tls-alpn-01 is one handshake with two lookups, and nothing else")
	}
	h := f.Handshakes[0]
	switch {
	case h.Error != "":
		return fmt.Errorf("the handshake has the error %q", h.Error)
	case h.ServerName != req.FQDN():
		return fmt.Errorf("the handshake was for %q", h.ServerName)
	case h.Protocol != "acme-tls/1":
		return fmt.Errorf("the protocol was %q", h.Protocol)
	case h.Version != "TLS 1.2" && h.Version != "TLS 1.3": // D7
		return fmt.Errorf("the version was %q", h.Version)
	case len(h.Certificates) != 1:
		return fmt.Errorf("the server sent %d certificates", len(h.Certificates))
	case len(h.Names) != 1 || len(h.Names[0]) != len("DNS:"+req.FQDN()) || // no dot at the end
		dns.CanonicalName(h.Names[0]) != "dns:"+req.FQDN()+".": // the case of ASCII alone
		return fmt.Errorf("the certificate is for %q", h.Names)
	}
	return dialled(h.Address, h.Considered, req.FQDN(), f.Lookups)
}

// dialled holds a connection to the lookups that it came from, of AAAA and then of A: the addresses considered are
// those that were found, and one of them was dialled (D10). The port is not compared: in the sandbox 80 and 443 stand
// elsewhere.
func dialled(address string, considered []string, host string, lookups []resolver.Lookup) error {
	var found []string
	for i, kind := range []string{"AAAA", "A"} {
		texts, err := answers(&lookups[i], host, kind)
		if err != nil {
			return err
		}
		for _, text := range texts {
			addr, err := netip.ParseAddr(text[strings.LastIndexByte(text, '\t')+1:])
			if err != nil || addr.Is4() != (kind == "A") {
				return fmt.Errorf("%q is no %s record", text, kind)
			}
			found = append(found, addr.String())
		}
	}
	if !slices.Equal(found, considered) {
		return fmt.Errorf("%s has the addresses %v, and considered were %v", host, found, considered)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil || !slices.Contains(found, at.Addr().String()) {
		return fmt.Errorf("%q was dialled, which is none of the addresses %v of %s", address, found, host)
	}
	return nil
}
