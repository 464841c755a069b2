package va

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// redirect gives the URL that a response of status 3xx leads to, or why it is not followed (DCV-16; D9). It is pure.
// locations are the values of the Location field; secret is what must not appear in a request.
func redirect(from *url.URL, status int, locations []string, secret string) (*url.URL, *Problem) {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, refuse("http.redirect",
			"the status %d is not one of the redirects 301, 302, 307 and 308 (BR 3.2.2.4.19)", status)
	}
	if len(locations) != 1 || locations[0] == "" {
		return nil, refuse("http.redirect",
			"a redirect with %d Location fields that have a value; exactly one is required", len(locations))
	}
	// What cannot be written down whole cannot be held against the next fetch later.
	if len(locations[0]) > maxLocation || !utf8.ValidString(locations[0]) {
		return nil, refuse("http.redirect", "the Location has more than %d octets, or is not UTF-8", maxLocation)
	}
	to, err := from.Parse(locations[0])
	if err != nil {
		return nil, refuse("http.redirect", "the Location %q is not a URL", cut(locations[0], 200))
	}
	to.Fragment, to.RawFragment = "", "" // never sent
	if problem := checkTarget(to); problem != nil {
		return nil, problem
	}
	to.Host = strings.ToLower(to.Host)
	if len(to.String()) > maxLocation {
		return nil, refuse("http.redirect", "a redirect to a URL of more than %d octets", maxLocation)
	}
	// D8: who echoes its request must not be able to answer with it.
	for _, text := range []string{to.String(), to.Path, unescaped(to.RawQuery)} {
		if strings.Contains(text, secret) {
			return nil, refuse("http.echo", "the redirect's URL holds the key authorization")
		}
	}
	return to, nil
}

// Next gives the URL that a recorded redirect leads to, or why it is not followed: the very rule that the check went by, so
// that a chain of fetches can be held to it later. secret is the key authorization. It is pure.
func (f Fetch) Next(secret string) (*url.URL, *Problem) {
	from, err := url.Parse(f.URL)
	if err != nil {
		return nil, refuse("http.redirect", "%q is not a URL", cut(f.URL, 200))
	}
	return redirect(from, f.Status, []string{f.Location}, secret)
}

func unescaped(query string) string {
	text, err := url.QueryUnescape(query)
	if err != nil {
		return query
	}
	return text
}

// checkTarget looks at scheme, user information, port and host, before anything is looked up.
func checkTarget(u *url.URL) *Problem {
	if u.Scheme != "http" && u.Scheme != "https" {
		return refuse("http.scheme", "a redirect to the scheme %q; only http and https are followed", cut(u.Scheme, 100))
	}
	if u.User != nil {
		return refuse("http.host", "a redirect with user information in its URL")
	}
	if _, ok := authorizedPort(u); !ok {
		return refuse("http.port",
			"a redirect to port %s; only the Authorized Ports 80 and 443 are followed", cut(u.Port(), 100))
	}
	if problem := checkName(strings.ToLower(u.Hostname())); problem != nil {
		return refuse("http.host", "a redirect to the host %q: %s", cut(u.Host, 300), problem.Detail)
	}
	return nil
}

// authorizedPort gives the URL's port, the scheme's where it has none. Of the Authorized Ports of BR 1.6.1 the two of
// the web are followed.
func authorizedPort(u *url.URL) (uint16, bool) {
	switch port := u.Port(); {
	case strings.HasSuffix(u.Host, ":"): // "host:" has an empty port: legal, and better not guessed at
		return 0, false
	case port == "80", port == "" && u.Scheme == "http":
		return 80, true
	case port == "443", port == "" && u.Scheme == "https":
		return 443, true
	}
	return 0, false
}
