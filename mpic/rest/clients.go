package rest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// Client is one API client. It shows who it is by the key of its TLS certificate, by an API key, or by both.
type Client struct {
	// Name stands in records, behind "rest:".
	Name string
	// CertificateKey is the SHA-256 of the SubjectPublicKeyInfo of the client's certificate, in lower case hexadecimal.
	CertificateKey string
	// APIKeySHA256 is the SHA-256 of the API key, in lower case hexadecimal.
	APIKeySHA256 string
	// InFlight is how many of the client's validations run at a time; 0 means 64. What is more gets status 429.
	InFlight int
}

const defaultClientInFlight = 64

var clientName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// member is a client with its decoded digests and its free places.
type member struct {
	name        string
	certificate []byte
	key         []byte
	slots       chan struct{}
}

func newMembers(clients []Client) ([]*member, error) {
	if len(clients) == 0 {
		return nil, errors.New("rest: no client is configured, so that nobody could ask")
	}
	var out []*member
	taken := map[string]bool{}
	for _, c := range clients {
		if !clientName.MatchString(c.Name) || taken[c.Name] {
			return nil, fmt.Errorf("rest: client %q: its name is no name, or another's", c.Name)
		}
		taken[c.Name] = true
		m := &member{name: c.Name}
		for _, d := range []struct {
			what, text string
			to         *[]byte
		}{{"certificate key", c.CertificateKey, &m.certificate}, {"API key", c.APIKeySHA256, &m.key}} {
			if d.text == "" {
				continue
			}
			b, err := hex.DecodeString(d.text)
			if err != nil || len(b) != sha256.Size || taken[string(b)] {
				return nil, fmt.Errorf("rest: client %q: the digest of its %s is no SHA-256 in hexadecimal, or another's", c.Name, d.what)
			}
			taken[string(b)], *d.to = true, b
		}
		if m.certificate == nil && m.key == nil {
			return nil, fmt.Errorf("rest: client %q has neither a certificate key nor an API key", c.Name)
		}
		if c.InFlight == 0 {
			c.InFlight = defaultClientInFlight
		}
		if c.InFlight < 0 {
			return nil, fmt.Errorf("rest: client %q: %d validations in flight", c.Name, c.InFlight)
		}
		m.slots = make(chan struct{}, c.InFlight)
		out = append(out, m)
	}
	return out, nil
}

// authenticate finds out who asks. A caller that shows a certificate and a key must be the same client by both.
func (s *Server) authenticate(r *http.Request) (*member, *Problem) {
	if r.TLS == nil { // MPIC-08 in spirit: a key that came in plain text is no secret
		return nil, refusal(http.StatusForbidden, "client.channel", "the API is reached over TLS alone")
	}
	var byCertificate, byKey *member
	if len(r.TLS.PeerCertificates) > 0 {
		sum := sha256.Sum256(r.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo)
		if byCertificate = find(s.clients, sum[:], func(m *member) []byte { return m.certificate }); byCertificate == nil {
			return nil, refusal(http.StatusForbidden, "client.unknown", "the key of this client certificate is no known client's")
		}
	}
	if header := r.Header.Values("Authorization"); len(header) > 0 {
		scheme, key, _ := strings.Cut(header[0], " ")
		if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") || key == "" {
			return nil, unauthorized("client.credentials", "Authorization must be given once, as: Bearer KEY")
		}
		sum := sha256.Sum256([]byte(key))
		if byKey = find(s.clients, sum[:], func(m *member) []byte { return m.key }); byKey == nil {
			return nil, unauthorized("client.unknown", "this API key is no known client's")
		}
	}
	switch {
	case byCertificate == nil && byKey == nil:
		return nil, unauthorized("client.credentials", "a client certificate or the header Authorization: Bearer KEY is needed")
	case byCertificate != nil && byKey != nil && byCertificate != byKey:
		return nil, refusal(http.StatusForbidden, "client.conflict", "the client certificate and the API key are two different clients'")
	case byKey != nil:
		return byKey, nil
	default:
		return byCertificate, nil
	}
}

// find compares a digest with every client's, in constant time, so that the time tells nothing of how far a guess was right.
func find(clients []*member, sum []byte, of func(*member) []byte) *member {
	var found *member
	for _, m := range clients {
		if subtle.ConstantTimeCompare(of(m), sum) == 1 {
			found = m
		}
	}
	return found
}

func unauthorized(code, detail string) *Problem {
	p := refusal(http.StatusUnauthorized, code, detail)
	p.challenge = true
	return p
}
