package iodef

import (
	"net/url"
	"strings"

	"github.com/quorate/quorate/va"
)

// maxProperty is how long a property may be, in octets, and how much of a longer one is recorded.
const maxProperty = 1024

// target is where a report goes: to a mail address or to a URL.
type target struct {
	mail string
	url  *url.URL
	// domain is the registered domain of the mail address or of the URL's host.
	domain string
}

// way is the name of how it is reached.
func (t target) way() string {
	switch {
	case t.mail != "":
		return "mail"
	case t.url != nil:
		return "https"
	}
	return "none"
}

// read takes a property apart (RFC 8659 section 4.4). What comes from the DNS of strangers ends in a header field and on a socket:
// only the plainest form is taken, and nothing is decoded or guessed. code and detail tell why a property is unusable, code is empty where
// it is usable. It is pure.
func read(c va.Contact) (t target, code, detail string) {
	refuse := func(code, detail string) (target, string, string) { return target{}, code, detail }
	if !c.Plain || len(c.Value) > maxProperty {
		return refuse("notice.malformed", "the property is empty, too long, or has something other than visible ASCII, or escapes it")
	}
	scheme, rest, ok := strings.Cut(c.Value, ":")
	if !ok {
		return refuse("notice.malformed", "the property is no URL: it has no scheme")
	}
	switch strings.ToLower(scheme) {
	case "mailto":
		return readMail(rest)
	case "https":
	case "http":
		return refuse("notice.scheme", "reports are posted over TLS alone (RFC 6546), and the property names http")
	default:
		return refuse("notice.scheme", "the property's scheme is neither mailto nor https (RFC 8659 section 4.4)")
	}
	u, err := url.Parse(c.Value)
	if err != nil {
		return refuse("notice.malformed", "the property is no URL")
	}
	if problem := va.CheckPost(u); problem != nil {
		return refuse("notice.malformed", problem.Detail)
	}
	u.Host = strings.ToLower(u.Host)
	return target{url: u, domain: va.RegisteredDomain(u.Hostname())}, "", ""
}

// atext of RFC 5322 section 3.2.3, without the percent sign: RFC 6068 decodes it, and nothing is decoded here. The question mark, at
// which RFC 6068 begins header fields, is not taken either.
const atext = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&'*+-/=^_`{|}~."

// readMail takes exactly one address, a dot-atom and a domain, and no header fields (RFC 6068 section 2 would let a mailto URL name
// several receivers, copies, a subject and a body).
func readMail(text string) (target, string, string) {
	refuse := func(detail string) (target, string, string) { return target{}, "notice.malformed", detail }
	local, domain, ok := strings.Cut(text, "@")
	switch {
	case strings.ContainsAny(text, "?,;%"):
		return refuse("a mailto with several addresses, with header fields, or with escapes; one plain address is taken")
	case !ok || local == "" || len(local) > 64 || strings.Trim(local, atext) != "" || strings.HasPrefix(local, ".") ||
		strings.HasSuffix(local, ".") || strings.Contains(local, ".."):
		return refuse("the mailto has no mail address in its plain form, NAME@DOMAIN")
	}
	domain = strings.ToLower(domain)
	if problem := va.PublicName(domain); problem != nil {
		return refuse("the mail address's domain: " + problem.Detail)
	}
	return target{mail: local + "@" + domain, domain: va.RegisteredDomain(domain)}, "", ""
}
