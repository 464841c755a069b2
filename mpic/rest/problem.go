package rest

import (
	"net/http"
	"strconv"

	"github.com/quorate/quorate/mpic/front"
)

// Problem is a refusal in the form of RFC 9457. Code is stable; docs/rest.md lists the codes.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	// Errors has one entry for each member of the request that is wrong.
	Errors []FieldError `json:"errors,omitempty"`
	// Subproblems has one entry for each name, or part of a certificate, that is refused (RFC 8555 section 6.7.1).
	Subproblems []Subproblem `json:"subproblems,omitempty"`
	// Permit is the permit that was refused, or of which a certificate was.
	Permit *PermitReference `json:"permit,omitempty"`
	// Validation is what a validation came to that was carried out and refused, with all that was found.
	*Validation

	retryAfter int
	challenge  bool
	allow      string
}

// Subproblem says what is wrong with one name.
type Subproblem struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	// Rules are the ids of docs/requirements.tsv that refuse.
	Rules []string `json:"rules,omitempty"`
	// Identifier is the name concerned, if one is.
	Identifier *Identifier `json:"identifier,omitempty"`
}

// PermitReference names a permit on record.
type PermitReference struct {
	ID     string `json:"id"`
	Number int64  `json:"number,omitempty"`
}

// FieldError says what is wrong with one member of the request.
type FieldError struct {
	// Pointer names it by RFC 6901, for example "/identifier/value".
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

func refusal(status int, code, detail string) *Problem {
	return &Problem{Type: "urn:quorate:problem:" + code, Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// overload asks the caller to come again.
func overload(status int, code, detail string, seconds int) *Problem {
	p := refusal(status, code, detail)
	p.retryAfter = seconds
	return p
}

// write answers with the problem. The error is the connection's.
func (p *Problem) write(w http.ResponseWriter) error {
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.challenge {
		w.Header().Set("WWW-Authenticate", `Bearer realm="quorate"`)
	}
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	return front.WriteJSON(w, p.Status, "application/problem+json", p)
}
