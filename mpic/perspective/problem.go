package perspective

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// probePath is where a probe is posted, below the member's URL.
const probePath = "/v1/probe"

// problemType is the media type of RFC 9457.
const problemType = "application/problem+json"

// problem is a refusal by a perspective, in the form of RFC 9457. Code is stable; Field names the member of the probe that
// is wrong, where one is.
type problem struct {
	Type   string   `json:"type"`
	Title  string   `json:"title"`
	Status int      `json:"status"`
	Detail string   `json:"detail"`
	Code   string   `json:"code"`
	Field  string   `json:"field,omitempty"`
	Rules  []string `json:"rules,omitempty"`

	// retryAfter is a number of seconds for the header of that name; 0 for none.
	retryAfter int
}

func refusal(status int, code, detail string) *problem {
	return &problem{Type: "urn:quorate:problem:" + code, Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// inField names the member of the probe that is wrong.
func (p *problem) inField(field string) *problem {
	p.Field = field
	return p
}

// write answers with the problem. The error is the connection's.
func (p *problem) write(w http.ResponseWriter) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", problemType)
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	w.WriteHeader(p.Status)
	_, err = w.Write(append(body, '\n'))
	return err
}
