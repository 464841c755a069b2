package openmpic

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/quorate/quorate/mpic/front"
)

const (
	// maxBody is how long a request may be, in octets: a name, a token and a list of issuers fit many times.
	maxBody  = 32 << 10
	keyField = "X-Api-Key"
)

// door is what both servers do with a request before they look at what it asks for.
type door struct {
	clients *front.Clients
	log     *slog.Logger
	// patience is front.BodyTime. Tests of this package are less patient; nobody else can be.
	patience time.Duration
	// strangers says which lines are written about those who have not shown who they are.
	strangers *front.Lines
}

func newDoor(list []front.Client, places int, log *slog.Logger) (door, error) {
	clients, err := front.NewClients(list, places)
	if err != nil {
		err = fmt.Errorf("openmpic: %w", err)
	}
	return door{clients: clients, log: log, patience: front.BodyTime, strangers: &front.Lines{}}, err
}

// authenticate finds out who asks. It says nothing of what is wrong.
func (d *door) authenticate(r *http.Request) (*front.Member, *Problem) {
	keys := r.Header.Values(keyField)
	if r.TLS == nil { // a key that came in plain text is no secret
		return nil, refusal(http.StatusForbidden, "client.forbidden", "")
	}
	if len(keys) == 0 || keys[0] == "" {
		return nil, refusal(http.StatusUnauthorized, "client.unauthorized", "")
	}
	found := d.clients.ByKey(keys[0])
	if found == nil || len(keys) > 1 {
		return nil, refusal(http.StatusForbidden, "client.forbidden", "")
	}
	return found, nil
}

// work is what is done with a request that was admitted. It answers, or gives why not.
type work func(http.ResponseWriter, *http.Request, *front.Member, []byte) *Problem

// serve authenticates, reads the body within its size and time, takes a place, and has the request worked on.
func (d *door) serve(w http.ResponseWriter, r *http.Request, do work) {
	d.authenticated(w, r, func(w http.ResponseWriter, r *http.Request, c *front.Member) *Problem { return d.admit(w, r, c, do) })
}

// authenticated finds out who asks before anything else of the request is looked at.
func (d *door) authenticated(w http.ResponseWriter, r *http.Request, do func(http.ResponseWriter, *http.Request, *front.Member) *Problem) {
	name := ""
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			panic(v)
		} else if v != nil {
			d.log.ErrorContext(r.Context(), "a request broke down", "client", name, "panic", v, "stack", string(debug.Stack()))
			d.refuse(w, r, name, refusal(http.StatusInternalServerError, "gate.failed",
				"the request could not be carried out by a fault in the program"))
		}
	}()
	c, p := d.authenticate(r)
	if p != nil {
		d.stranger(w, r, p)
		return
	}
	defer c.Come(w, r)()
	name = c.Name
	if p = do(w, r, c); p != nil {
		d.refuse(w, r, name, p)
	}
}

// stranger refuses whoever has not shown who it is.
func (d *door) stranger(w http.ResponseWriter, r *http.Request, p *Problem) {
	defer front.Answer(w, r)()
	w.Header().Set("Connection", "close") // there are so many for all: a stranger keeps none
	d.refuse(w, r, "", p)
}

func (d *door) admit(w http.ResponseWriter, r *http.Request, c *front.Member, do work) *Problem {
	if p := d.posted(r); p != nil {
		return p
	}
	leave, no := d.clients.Enter(c)
	if no != nil {
		return refused(no)
	}
	defer leave()
	if no := front.Described(r); no != nil {
		return refused(no)
	}
	body, no := front.Body(w, r, maxBody, d.patience)
	if no != nil {
		return refused(no)
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

func (d *door) answer(w http.ResponseWriter, r *http.Request, v any) {
	if err := front.WriteJSON(w, http.StatusOK, "application/json", v); err != nil {
		d.log.WarnContext(r.Context(), "writing an answer", "path", r.URL.Path, "error", err)
	}
}

func (d *door) refuse(w http.ResponseWriter, r *http.Request, client string, p *Problem) {
	left, tell := 0, true
	if client == "" {
		left, tell = d.strangers.Tell()
	}
	if tell {
		d.log.InfoContext(r.Context(), "refused a request", "client", client, "method", front.Cut(r.Method, 20), "path", front.Cut(r.URL.Path, 200),
			"status", p.Status, "code", p.Code, "field", p.Field, "left_out", left)
	}
	if err := p.write(w); err != nil {
		d.log.WarnContext(r.Context(), "writing a refusal", "error", err)
	}
}
