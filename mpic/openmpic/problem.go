package openmpic

import (
	"net/http"
	"strconv"

	"github.com/quorate/quorate/mpic/front"
)

// Problem is a refusal, in the form of RFC 9457; the specification gives errors no form. Code is stable; docs/open-mpic.md lists the
// codes. It has no member is_valid, so that nobody reads one.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`
	// Field is the member of the request that is wrong, for example "orchestration_parameters.quorum_count".
	Field string `json:"field,omitempty"`
	// Rules are the ids of docs/requirements.tsv that refuse.
	Rules []string `json:"rules,omitempty"`
	// Record is the record's number, where an attempt was opened and refused before its first packet.
	Record int64 `json:"record,omitempty"`

	retryAfter int
	allow      string
}

func refusal(status int, code, detail string) *Problem {
	return &Problem{Type: "urn:quorate:problem:" + code, Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// wrong is a refusal of one member of the request.
func wrong(field, code, detail string, rules ...string) *Problem {
	p := refusal(http.StatusBadRequest, code, field+": "+detail)
	p.Field, p.Rules = field, rules
	return p
}

// overload asks the caller to come again.
func overload(status int, code, detail string, seconds int) *Problem {
	p := refusal(status, code, detail)
	p.retryAfter = seconds
	return p
}

// refused is what package front says, in this front's form.
func refused(r *front.Refusal) *Problem { return overload(r.Status, r.Code, r.Detail, r.RetryAfter) }

// write answers with the problem. The error is the connection's.
func (p *Problem) write(w http.ResponseWriter) error {
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	return front.WriteJSON(w, p.Status, "application/problem+json", p)
}
