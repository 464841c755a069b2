package va

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// Posted is what became of a POST.
type Posted struct {
	// Address is the IP address and port dialled: the very one that was checked. Empty when none could be.
	Address string
	// Status is the HTTP status code, 0 when no response came.
	Status int
	// Certificate is the SHA-256 of the server's certificate in hexadecimal.
	Certificate string
}

// CheckPost tells why nothing is posted to a URL; nil when it may be. It is https, without user information and fragment, at port
// 443, and its host is a name of the public DNS. It does no I/O.
func CheckPost(u *url.URL) *Problem {
	switch {
	case u.Scheme != "https":
		return refuse("http.scheme", "nothing is posted to the scheme %q; only https is", cut(u.Scheme, 100))
	case u.User != nil || u.Opaque != "":
		return refuse("http.host", "the URL has user information, or no host")
	case u.Fragment != "" || u.RawFragment != "":
		return refuse("http.host", "the URL has a fragment")
	}
	if port, ok := authorizedPort(u); !ok || port != 443 {
		return refuse("http.port", "nothing is posted to port %s; only 443 is", cut(u.Port(), 100))
	}
	if problem := checkName(strings.ToLower(u.Hostname())); problem != nil {
		return refuse("http.host", "the host %q: %s", cut(u.Host, 300), problem.Detail)
	}
	return nil
}

// Post sends a body to a URL, once, by the rules of DCV for addresses: the resolver validates DNSSEC, a host with one Reserved IP
// Address is refused (D10), what was checked is what is dialled, and no proxy is asked. Unlike in DCV the server's certificate must
// verify, by roots or, where that is nil, by the system's. Redirects are not followed, and nothing of the response's body is read. It
// ends when ctx does, and at the Config's HopTimeout after the first packet of the connection. A problem means that no response came;
// the status is the caller's to judge.
func (c *Checker) Post(ctx context.Context, u *url.URL, contentType string, body []byte, roots *x509.CertPool) (Posted, *Problem) {
	var p Posted
	if problem := CheckPost(u); problem != nil {
		return p, problem
	}
	var f DCVFinding
	considered, _, problem := c.addresses(ctx, strings.ToLower(u.Hostname()), &f)
	if problem != nil {
		return p, problem
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.HopTimeout)
	defer cancel()
	conn, at, problem := c.dial(ctx, considered, 443)
	p.Address = at.String()
	if problem != nil {
		return p, problem
	}
	defer conn.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return p, refuse("http.broken", "the request cannot be made: %s", cut(err.Error(), 300))
	}
	request.Header = http.Header{"User-Agent": {c.config.Software}, "Content-Type": {contentType}, "Accept-Encoding": {"identity"}}
	request.Close = true
	request.GetBody = nil // it is sent once
	transport := oneConnection(conn, u.Hostname())
	transport.TLSClientConfig = &tls.Config{ServerName: strings.ToLower(u.Hostname()), RootCAs: roots, MinVersion: tls.VersionTLS12, Time: c.config.Now}
	defer transport.CloseIdleConnections()
	got, err := transport.RoundTrip(request)
	if untrusted := (*tls.CertificateVerificationError)(nil); errors.As(err, &untrusted) {
		return p, refuse("tls.untrusted", "the certificate of %s does not verify: %s", u.Host, cut(untrusted.Err.Error(), 300))
	}
	if err != nil {
		_, problem := broken(u, err)
		return p, problem
	}
	defer got.Body.Close()
	p.Status = got.StatusCode
	if got.TLS != nil && len(got.TLS.PeerCertificates) > 0 {
		p.Certificate = fingerprint(got.TLS.PeerCertificates[0].Raw)
	}
	return p, nil
}
