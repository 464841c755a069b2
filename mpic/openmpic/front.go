package openmpic

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"
)

// Client is one API client. It shows who it is by its key, in the header x-api-key.
type Client struct {
	// Name stands in records, behind "openmpic:".
	Name string
	// APIKeySHA256 is the SHA-256 of the API key, in lower case hexadecimal.
	APIKeySHA256 string
	// InFlight is how many of the client's requests are worked on at a time; 0 means 64. What is more gets status 429.
	InFlight int
}

const (
	defaultInFlight = 64
	mostInFlight    = 4096
	// maxBody is how long a request may be, in octets: a name, a token and a list of issuers fit many times.
	maxBody = 32 << 10
	// bodyTime is how long a request's body may take to arrive.
	bodyTime = 10 * time.Second
	keyField = "X-Api-Key"
)

var clientName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// client is a Client with its decoded digest and its free places.
type client struct {
	name  string
	key   []byte
	slots chan struct{}
}

func newClients(list []Client) ([]*client, error) {
	if len(list) == 0 {
		return nil, errors.New("openmpic: no client is configured, so that nobody could ask")
	}
	var out []*client
	taken := map[string]bool{}
	for _, c := range list {
		if !clientName.MatchString(c.Name) || taken[c.Name] {
			return nil, fmt.Errorf("openmpic: client %q: its name is no name, or another's", c.Name)
		}
		key, err := hex.DecodeString(c.APIKeySHA256)
		if err != nil || len(key) != sha256.Size || taken[string(key)] {
			return nil, fmt.Errorf("openmpic: client %q: the digest of its API key is no SHA-256 in hexadecimal, or another's", c.Name)
		}
		taken[c.Name], taken[string(key)] = true, true
		if c.InFlight == 0 {
			c.InFlight = defaultInFlight
		}
		if c.InFlight < 0 || c.InFlight > mostInFlight {
			return nil, fmt.Errorf("openmpic: client %q: %d requests in flight are not between 1 and %d", c.Name, c.InFlight, mostInFlight)
		}
		out = append(out, &client{name: c.Name, key: key, slots: make(chan struct{}, c.InFlight)})
	}
	return out, nil
}

// door is what both servers do with a request before they look at what it asks for.
type door struct {
	clients []*client
	// slots are the places of all clients together.
	slots chan struct{}
	log   *slog.Logger
	// patience is bodyTime. Tests of this package are less patient; nobody else can be.
	patience time.Duration
}

func newDoor(list []Client, places int, log *slog.Logger) (door, error) {
	clients, err := newClients(list)
	return door{clients: clients, slots: make(chan struct{}, places), log: log, patience: bodyTime}, err
}

// authenticate finds out who asks. It compares with every client's key in constant time, and says nothing of what is wrong.
func (d *door) authenticate(r *http.Request) (*client, *Problem) {
	keys := r.Header.Values(keyField)
	if r.TLS == nil { // a key that came in plain text is no secret
		return nil, refusal(http.StatusForbidden, "client.forbidden", "")
	}
	if len(keys) == 0 || keys[0] == "" {
		return nil, refusal(http.StatusUnauthorized, "client.unauthorized", "")
	}
	sum := sha256.Sum256([]byte(keys[0]))
	var found *client
	for _, c := range d.clients {
		if subtle.ConstantTimeCompare(c.key, sum[:]) == 1 {
			found = c
		}
	}
	if found == nil || len(keys) > 1 {
		return nil, refusal(http.StatusForbidden, "client.forbidden", "")
	}
	return found, nil
}

// work is what is done with a request that was admitted. It answers, or gives why not.
type work func(http.ResponseWriter, *http.Request, *client, []byte) *Problem

// serve authenticates, reads the body within its size and time, takes a place, and has the request worked on.
func (d *door) serve(w http.ResponseWriter, r *http.Request, do work) {
	d.authenticated(w, r, func(w http.ResponseWriter, r *http.Request, c *client) *Problem { return d.admit(w, r, c, do) })
}

// authenticated finds out who asks before anything else of the request is looked at.
func (d *door) authenticated(w http.ResponseWriter, r *http.Request, do func(http.ResponseWriter, *http.Request, *client) *Problem) {
	name := ""
	defer func() {
		if v := recover(); v != nil {
			d.log.ErrorContext(r.Context(), "a request broke down", "client", name, "panic", v, "stack", string(debug.Stack()))
			d.refuse(w, r, name, refusal(http.StatusInternalServerError, "gate.failed",
				"the request could not be carried out by a fault in the program"))
		}
	}()
	c, p := d.authenticate(r)
	if p != nil {
		w.Header().Set("Connection", "close") // there are so many for all: a stranger keeps none
		d.refuse(w, r, "", p)
		return
	}
	name = c.name
	if p = do(w, r, c); p != nil {
		d.refuse(w, r, name, p)
	}
}

func (d *door) admit(w http.ResponseWriter, r *http.Request, c *client, do work) *Problem {
	if p := d.posted(r); p != nil {
		return p
	}
	leave, p := d.enter(c)
	if p != nil {
		return p
	}
	defer leave()
	if p := described(r); p != nil {
		return p
	}
	body, p := d.read(w, r, maxBody)
	if p != nil {
		return p
	}
	return do(w, r, c, body)
}

func (d *door) posted(r *http.Request) *Problem {
	if r.Method == http.MethodPost {
		return nil
	}
	p := refusal(http.StatusMethodNotAllowed, "request.verb", r.URL.Path+" takes POST")
	p.allow = http.MethodPost
	return p
}

// enter takes a place for the client and one of all. Nobody waits here: the coordinator has the only queue, and more behind it would only hide
// the load.
func (d *door) enter(c *client) (leave func(), p *Problem) {
	select {
	case c.slots <- struct{}{}:
	default:
		return nil, overload(http.StatusTooManyRequests, "client.overload",
			fmt.Sprintf("%d requests of this client are being worked on, which is its share", cap(c.slots)), 1)
	}
	select {
	case d.slots <- struct{}{}:
	default:
		<-c.slots
		return nil, overload(http.StatusServiceUnavailable, "gate.overload", fmt.Sprintf("%d requests are being worked on", cap(d.slots)), 2)
	}
	return func() { <-d.slots; <-c.slots }, nil
}

// described tells whether the header says that the body is JSON as it stands.
func described(r *http.Request) *Problem {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return refusal(http.StatusUnsupportedMediaType, "request.content-type", "the body is sent as application/json")
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return refusal(http.StatusUnsupportedMediaType, "request.content-encoding", "the body is sent without encoding")
	}
	return nil
}

// read reads a body of at most so many octets, within its time.
func (d *door) read(w http.ResponseWriter, r *http.Request, most int64) ([]byte, *Problem) {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(d.patience)); err != nil {
		d.log.DebugContext(r.Context(), "no read deadline", "error", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, refusal(http.StatusRequestEntityTooLarge, "request.too-large", fmt.Sprintf("a request has at most %d octets", most))
		}
		return nil, refusal(http.StatusBadRequest, "request.body", "the body did not arrive in full within "+d.patience.String())
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil { // what is asked for takes longer than the body may
		d.log.DebugContext(r.Context(), "no read deadline", "error", err)
	}
	return body, nil
}

func (d *door) answer(w http.ResponseWriter, r *http.Request, v any) {
	if err := writeJSON(w, http.StatusOK, "application/json", v); err != nil {
		d.log.WarnContext(r.Context(), "writing an answer", "path", r.URL.Path, "error", err)
	}
}

func (d *door) refuse(w http.ResponseWriter, r *http.Request, client string, p *Problem) {
	d.log.InfoContext(r.Context(), "refused a request", "client", client, "method", r.Method, "path", r.URL.Path, "status", p.Status,
		"code", p.Code, "field", p.Field)
	if err := p.write(w); err != nil {
		d.log.WarnContext(r.Context(), "writing a refusal", "error", err)
	}
}
