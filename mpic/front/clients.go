// Package front is what the fronts for known callers have in common: who asks, a place for what is being worked on, what those may have who have
// not shown who they are, the body of a request, and JSON that all readers understand alike. What is asked and answered is each front's own.
package front

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
)

// Client is one that may ask. It shows who it is by an API key, by the key of its TLS certificate, or by both.
type Client struct {
	// Name stands in records, behind the front's.
	Name string
	// CertificateKey is the SHA-256 of the SubjectPublicKeyInfo of the client's certificate, in lower case hexadecimal. Some fronts take none.
	CertificateKey string
	// APIKeySHA256 is the SHA-256 of the API key, in lower case hexadecimal.
	APIKeySHA256 string
	// InFlight is how many of the client's requests are worked on at a time, at most 4096; 0 means 64. What is more gets status 429. As many
	// more may read records at a time.
	InFlight int
	// AccountURIPrefixes, if there are any, are the beginnings of the URIs of all accounts that the client may speak for.
	AccountURIPrefixes []string
}

const (
	defaultInFlight = 64
	mostInFlight    = 4096
)

var clientName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Member is a client with its free places.
type Member struct {
	Name             string
	certificate, key []byte
	slots, reads     chan struct{}
	// requests counts those that are not answered in full, connections those that are the client's.
	requests, connections atomic.Int64
	accounts              []string
}

// SpeaksFor tells whether the client may speak for the account with a URI.
func (m *Member) SpeaksFor(account string) bool {
	return len(m.accounts) == 0 || slices.ContainsFunc(m.accounts, func(prefix string) bool { return strings.HasPrefix(account, prefix) })
}

// Clients are all that may ask at one front, and the places that they share. It is safe for concurrent use.
type Clients struct {
	members []*Member
	slots   chan struct{}
}

// NewClients refuses clients that cannot be told apart or have no way to show who they are, and no clients at all. places is how many
// requests are worked on at a time over all of them, above 0. Errors are without the front's name.
func NewClients(list []Client, places int) (*Clients, error) {
	if len(list) == 0 {
		return nil, errors.New("no client is configured, so that nobody could ask")
	}
	if places <= 0 {
		return nil, fmt.Errorf("%d requests in flight", places)
	}
	c := &Clients{slots: make(chan struct{}, places)}
	names, keys := map[string]bool{}, map[string]bool{}
	for _, one := range list {
		if !clientName.MatchString(one.Name) || names[one.Name] {
			return nil, fmt.Errorf("client %q: its name is no name, or another's", one.Name)
		}
		names[one.Name] = true
		m := &Member{Name: one.Name, accounts: one.AccountURIPrefixes}
		for _, d := range []struct {
			what, text string
			to         *[]byte
		}{{"certificate key", one.CertificateKey, &m.certificate}, {"API key", one.APIKeySHA256, &m.key}} {
			if d.text == "" {
				continue
			}
			sum, err := hex.DecodeString(d.text)
			if err != nil || len(sum) != sha256.Size || keys[string(sum)] {
				return nil, fmt.Errorf("client %q: the digest of its %s is no SHA-256 in hexadecimal, or another's", one.Name, d.what)
			}
			keys[string(sum)], *d.to = true, sum
		}
		if m.certificate == nil && m.key == nil {
			return nil, fmt.Errorf("client %q has no key to show who it is", one.Name)
		}
		if one.InFlight == 0 {
			one.InFlight = defaultInFlight
		}
		if one.InFlight < 0 || one.InFlight > mostInFlight {
			return nil, fmt.Errorf("client %q: %d requests in flight are not between 1 and %d", one.Name, one.InFlight, mostInFlight)
		}
		m.slots, m.reads = make(chan struct{}, one.InFlight), make(chan struct{}, one.InFlight)
		c.members = append(c.members, m)
	}
	return c, nil
}

// ByKey gives the client with an API key, nil where there is none.
func (c *Clients) ByKey(key string) *Member {
	sum := sha256.Sum256([]byte(key))
	return c.find(sum[:], func(m *Member) []byte { return m.key })
}

// ByCertificate gives the client with the key of a certificate, nil where there is none. That the client has the key, TLS has shown.
func (c *Clients) ByCertificate(certificate *x509.Certificate) *Member {
	sum := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
	return c.find(sum[:], func(m *Member) []byte { return m.certificate })
}

// find compares a digest with every client's, in constant time, so that the time tells nothing of how far a guess was right.
func (c *Clients) find(sum []byte, of func(*Member) []byte) *Member {
	var found *Member
	for _, m := range c.members {
		if subtle.ConstantTimeCompare(of(m), sum) == 1 {
			found = m
		}
	}
	return found
}

const (
	// spareRequests are those, beyond its places, that are refused to a client at the same time.
	spareRequests = 512
	// spareConnections are those beyond one for each request and for each record that is read.
	spareConnections = 64
)

// Come is called when a request has shown who asks, and leave, by defer, when it is answered. The connection is no stranger's from then on, unless
// the client has very many already: those beyond count among the strangers'. Where the client has far more requests under way than places, as one
// has that takes no answers over HTTP/2, it ends the request by http.ErrAbortHandler.
func (m *Member) Come(w http.ResponseWriter, r *http.Request) (leave func()) {
	if m.requests.Add(1) > int64(cap(m.slots)+cap(m.reads)+spareRequests) {
		m.requests.Add(-1)
		panic(http.ErrAbortHandler)
	}
	if g, ok := r.Context().Value(guestKey{}).(*guest); ok {
		m.greet(g)
	}
	return func() {
		defer m.requests.Add(-1)
		if v := recover(); v != nil { // nothing is sent before what the front says of it
			panic(v)
		}
		_ = http.NewResponseController(w).Flush() // here, where it counts: the connection's error is net/http's to find
	}
}

// greet makes a connection the client's.
func (m *Member) greet(g *guest) {
	if g.known.Load() || g.known.Swap(true) {
		return
	}
	if m.connections.Add(1) <= int64(cap(m.slots)+cap(m.reads)+spareConnections) && Leaving(g, func() { m.connections.Add(-1) }) {
		return
	}
	m.connections.Add(-1)
	g.known.Store(false)
}

// Enter takes a place of the client's and one of all; leave gives both back. Nobody waits here: the coordinator has the only queue, and more
// behind it would only hide the load. The refusal is client.overload with status 429, or gate.overload with status 503.
func (c *Clients) Enter(m *Member) (leave func(), no *Refusal) {
	own, no := take(m.slots)
	if no != nil {
		return nil, no
	}
	all, no := c.Place()
	if no != nil {
		own()
		return nil, no
	}
	return func() { all(); own() }, nil
}

// Read takes one of the places in which a client reads what is on record. They are apart from those of Enter, so that it can read while all of its
// requests are worked on. The refusal is client.overload.
func (*Clients) Read(m *Member) (leave func(), no *Refusal) { return take(m.reads) }

// take takes one of a client's own places.
func take(places chan struct{}) (leave func(), no *Refusal) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, &Refusal{Status: http.StatusTooManyRequests, Code: "client.overload", RetryAfter: 1,
			Detail: fmt.Sprintf("%d requests of this client are being worked on, which is its share", cap(places))}
	}
}

// Place takes one of all places, and none of a client's.
func (c *Clients) Place() (leave func(), no *Refusal) {
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, nil
	default:
		return nil, &Refusal{Status: http.StatusServiceUnavailable, Code: "gate.overload", RetryAfter: 2,
			Detail: fmt.Sprintf("%d requests are being worked on", cap(c.slots))}
	}
}
