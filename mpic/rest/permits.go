package rest

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// permits is the path of the collection.
const permits = "/v1/permits"

// Permits makes permits, and links certificates to them: mpic.Permits, or in this package's tests another.
type Permits interface {
	// PermitWithin, Find and Certificate are those of mpic.Permits, errors included.
	PermitWithin(ctx context.Context, caller, account string, names []string, more mpic.Places) (mpic.Permit, error)
	Find(ctx context.Context, caller, id string) (mpic.Permit, error)
	Certificate(ctx context.Context, caller, id string, der []byte) (mpic.CertificateRecord, error)
}

// permitRequest is the body of POST /v1/permits.
type permitRequest struct {
	names   []string
	account string
}

// servePermits tells whether the path was one of these, and then has answered.
func (s *Server) servePermits(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == permits {
		s.authenticated(w, r, http.MethodPost, s.postPermit)
		return true
	}
	rest, ok := strings.CutPrefix(r.URL.Path, permits+"/")
	id, certificate, below := strings.Cut(rest, "/")
	switch {
	case !ok || below && certificate != "certificate":
		return false
	case below:
		s.authenticated(w, r, http.MethodPost, func(w http.ResponseWriter, r *http.Request, m *front.Member) {
			s.postCertificate(w, r, m, id)
		})
	default:
		s.authenticated(w, r, http.MethodGet, func(w http.ResponseWriter, r *http.Request, m *front.Member) { s.getPermit(w, r, m, id) })
	}
	return true
}

func (s *Server) postPermit(w http.ResponseWriter, r *http.Request, client *front.Member) {
	req, leave, ok := accept(s, w, r, client, maxLongBody, (*form).permit)
	if !ok {
		return
	}
	defer leave()
	more := func() (func(), bool) {
		leave, full := s.clients.Enter(client)
		return leave, full == nil
	}
	p, err := s.permits.PermitWithin(r.Context(), "rest:"+client.Name, req.account, req.names, more)
	if err != nil { // REC-05
		s.log.ErrorContext(r.Context(), "a permit could not be decided", "client", client.Name, "error", err)
		s.refuse(w, r, client.Name, notDone(err))
		return
	}
	w.Header().Set("Location", permits+"/"+p.ID)
	if p.Outcome != mpic.OutcomeGranted || p.Token == "" {
		s.refuse(w, r, client.Name, refusedPermit(p))
		return
	}
	s.answer(w, r, http.StatusCreated, p)
}

// refusedPermit is the answer to a request for a permit that was decided and not granted, with one subproblem per name.
func refusedPermit(p mpic.Permit) *Problem {
	code, detail := "permit.refused", "no certificate may be issued"
	var subs []Subproblem
	if p.Problem != nil {
		code, detail = p.Problem.Code, p.Problem.Detail
	}
	for _, n := range p.Names {
		if n.Problem != nil {
			subs = append(subs, subproblem(n.Problem, n.Name))
		}
	}
	if len(subs) > 0 {
		detail = fmt.Sprintf("no certificate may be issued, because of %d of %d names; the first: %s", len(subs), len(p.Names),
			subs[0].Detail)
	}
	out := refusal(http.StatusUnprocessableEntity, code, detail)
	out.Subproblems, out.Permit = subs, &PermitReference{ID: p.ID, Number: p.Number}
	return out
}

func subproblem(p *va.Problem, name string) Subproblem {
	out := Subproblem{Type: "urn:quorate:problem:" + p.Code, Detail: p.Detail, Code: p.Code, Rules: p.Rules}
	if name != "" {
		out.Identifier = &Identifier{Type: "dns", Value: name}
	}
	return out
}

func (s *Server) getPermit(w http.ResponseWriter, r *http.Request, client *front.Member, id string) {
	leave, full := s.clients.Read(client)
	if full != nil {
		s.refuse(w, r, client.Name, unread(full))
		return
	}
	defer leave()
	p := mpic.Permit{}
	err := mpic.ErrNoPermit
	if id != "" && len(id) <= 128 {
		p, err = s.permits.Find(r.Context(), "rest:"+client.Name, id)
	}
	if err != nil {
		s.refusePermit(w, r, client, err)
		return
	}
	s.answer(w, r, http.StatusOK, p)
}

// refusePermit maps the errors of what is asked about one permit.
func (s *Server) refusePermit(w http.ResponseWriter, r *http.Request, client *front.Member, err error) {
	if errors.Is(err, mpic.ErrNoPermit) {
		s.refuse(w, r, client.Name, refusal(http.StatusNotFound, "permit.not-found", "this client has no permit of that identifier"))
		return
	}
	s.log.ErrorContext(r.Context(), "a permit could not be worked on", "client", client.Name, "path", r.URL.Path, "error", err)
	s.refuse(w, r, client.Name, notDone(err))
}

// LinkedCertificate is a certificate as the API tells it: its record without the octets, which the caller has.
type LinkedCertificate struct {
	Permit         string    `json:"permit"`
	Outcome        string    `json:"outcome"`
	Linked         time.Time `json:"linked"`
	SHA256         string    `json:"sha256"`
	Serial         string    `json:"serial"`
	Issuer         string    `json:"issuer"`
	Precertificate bool      `json:"precertificate"`
	Names          []string  `json:"names"`
	NotBefore      time.Time `json:"not_before"`
	NotAfter       time.Time `json:"not_after"`
}

func (s *Server) postCertificate(w http.ResponseWriter, r *http.Request, client *front.Member, id string) {
	der, leave, ok := accept(s, w, r, client, maxLongBody, (*form).certificate)
	if !ok {
		return
	}
	defer leave()
	c, err := mpic.CertificateRecord{}, mpic.ErrNoPermit
	if id != "" && len(id) <= 128 {
		c, err = s.permits.Certificate(r.Context(), "rest:"+client.Name, id, der)
	}
	if err != nil {
		s.refusePermit(w, r, client, err)
		return
	}
	if c.Outcome != mpic.OutcomeLinked {
		s.refuse(w, r, client.Name, refusedCertificate(c))
		return
	}
	s.answer(w, r, http.StatusCreated, LinkedCertificate{Permit: c.Permit, Outcome: c.Outcome, Linked: c.Linked, SHA256: c.SHA256,
		Serial: c.Serial, Issuer: c.Issuer, Precertificate: c.Precertificate, Names: c.Names, NotBefore: c.NotBefore,
		NotAfter: c.NotAfter})
}

// refusedCertificate is the answer to a certificate that does not match its permit.
func refusedCertificate(c mpic.CertificateRecord) *Problem {
	code, detail := "certificate.refused", "the certificate does not match the permit"
	var subs []Subproblem
	for _, p := range c.Problems {
		subs = append(subs, subproblem(p, p.Name))
	}
	if len(subs) > 0 {
		code, detail = subs[0].Code, subs[0].Detail
	}
	out := refusal(http.StatusUnprocessableEntity, code, detail)
	out.Subproblems, out.Permit = subs, &PermitReference{ID: c.Permit}
	return out
}

func (f *form) permit(top map[string]any) permitRequest {
	f.only(top, "", "names", "account_uri")
	req := permitRequest{account: f.account(top)}
	list, ok := top["names"].([]any)
	switch {
	case top["names"] == nil:
		f.wrong("/names", "request.missing", "the member is required")
	case !ok:
		f.wrong("/names", "request.type", "a list of names is needed")
	case len(list) == 0 || len(list) > mpic.MaxPermitNames:
		f.wrong("/names", "request.count", "%d names; a permit is for 1 to %d", len(list), mpic.MaxPermitNames)
		return req
	}
	for i, v := range list {
		name, ok := v.(string)
		switch {
		case !ok:
			f.wrong(fmt.Sprintf("/names/%d", i), "request.type", "a text is needed")
		case name == "":
			f.wrong(fmt.Sprintf("/names/%d", i), "request.missing", "the text is empty")
		}
		req.names = append(req.names, name)
	}
	return req
}

// certificate takes one certificate in PEM (RFC 7468), with nothing before and nothing behind it.
func (f *form) certificate(top map[string]any) []byte {
	f.only(top, "", "certificate")
	text := f.text(top, "", "certificate")
	if text == "" {
		return nil
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || len(block.Bytes) == 0 ||
		!strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN CERTIFICATE-----") || strings.TrimSpace(string(rest)) != "" {
		f.wrong("/certificate", "request.pem", "one certificate in PEM is needed, and nothing else")
		return nil
	}
	if len(block.Bytes) > mpic.MaxCertificate {
		f.wrong("/certificate", "request.too-large", "a certificate has at most %d octets", mpic.MaxCertificate)
	}
	return block.Bytes
}
