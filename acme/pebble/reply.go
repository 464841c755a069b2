package pebble

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"

	pebbleacme "github.com/letsencrypt/pebble/v2/acme"

	"github.com/quorate/quorate/acme"
)

// reply is a response that has not been sent yet: Pebble's, so that it can be looked at, or our own.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newReply() *reply { return &reply{header: http.Header{}} }

// Header, WriteHeader and Write make it an http.ResponseWriter.
func (p *reply) Header() http.Header { return p.header }

func (p *reply) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

func (p *reply) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.body.Write(b)
}

func (p *reply) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.header)
	w.WriteHeader(p.status)
	w.Write(p.body.Bytes()) // the client that is gone has nobody to be told
}

// with gives the headers of p, the fresh nonce among them, to another status and document.
func (p *reply) with(status int, contentType string, document any) *reply {
	out := newReply()
	maps.Copy(out.header, p.header)
	body, err := json.MarshalIndent(document, "", "   ")
	if err != nil { // the documents are ours, and of strings only
		status, contentType, body = http.StatusInternalServerError, "text/plain", []byte("the document could not be written")
	}
	out.header.Set("Content-Type", contentType)
	out.status = status
	out.body.Write(body)
	return out
}

// refuse is with, for a problem document.
func (p *reply) refuse(problem acme.Problem) *reply {
	if problem.Status == 0 {
		problem.Status = problem.Type.Status()
	}
	return p.with(problem.Status, "application/problem+json; charset=utf-8", problem)
}

// malformed is the client's fault; status 0 stands for the usual one.
func malformed(status int, format string, args ...any) acme.Problem {
	return acme.Problem{Type: acme.Malformed, Status: status, Detail: fmt.Sprintf(format, args...)}
}

// internal is ours.
func internal(detail string) acme.Problem {
	return acme.Problem{Type: acme.ServerInternal, Detail: detail}
}

// ask puts a request to Pebble.
func (s *Server) ask(r *http.Request, body []byte) *reply {
	r.Body = io.NopCloser(bytes.NewReader(body))
	out := newReply()
	s.front.ServeHTTP(out, r)
	out.WriteHeader(http.StatusOK) // what net/http does for a handler that wrote nothing
	return out
}

// askAt puts a request to Pebble under another path. Pebble compares the JWS's url with the request line, which stays
// the client's.
func (s *Server) askAt(r *http.Request, path string, body []byte) *reply {
	r.URL.Path, r.URL.RawPath = path, ""
	return s.ask(r, body)
}

// toPebble is the problem in Pebble's form, which has no room for Code and Attempt; Detail carries both.
func toPebble(p acme.Problem) *pebbleacme.ProblemDetails {
	out := &pebbleacme.ProblemDetails{Type: string(p.Type), Detail: p.Detail, HTTPStatus: p.Status}
	if p.Identifier != nil {
		out.Identifier = &pebbleacme.Identifier{Type: p.Identifier.Type, Value: p.Identifier.Value}
	}
	for _, sub := range p.Subproblems {
		out.Subproblems = append(out.Subproblems, *toPebble(sub))
	}
	return out
}
