package front

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// BodyTime is how long a request's body may take to arrive.
const BodyTime = 10 * time.Second

// Refusal is why a request is not carried out. Each front says it in its own form.
type Refusal struct {
	// Status is that of HTTP.
	Status int
	// Code is stable, Detail a sentence.
	Code, Detail string
	// RetryAfter is in seconds; 0 where to come again does not help.
	RetryAfter int
}

// Described tells whether the header says that the body is JSON as it stands.
func Described(r *http.Request) *Refusal {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &Refusal{Status: http.StatusUnsupportedMediaType, Code: "request.content-type", Detail: "the body is sent as application/json"}
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return &Refusal{Status: http.StatusUnsupportedMediaType, Code: "request.content-encoding", Detail: "the body is sent without encoding"}
	}
	return nil
}

// Body reads a body of at most so many octets, which must arrive within a time. Afterwards the connection has no deadline for reading: what is asked
// for takes longer than the body may.
func Body(w http.ResponseWriter, r *http.Request, most int64, within time.Duration) ([]byte, *Refusal) {
	control := http.NewResponseController(w)
	failed := &Refusal{Status: http.StatusInternalServerError, Code: "gate.failed", Detail: "the connection has no read deadline"}
	if err := control.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, failed
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, &Refusal{Status: http.StatusRequestEntityTooLarge, Code: "request.too-large", Detail: fmt.Sprintf("a request has at most %d octets", most)}
		}
		return nil, &Refusal{Status: http.StatusBadRequest, Code: "request.body", Detail: fmt.Sprintf("the body did not arrive in full within %s", within)}
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return nil, failed
	}
	return body, nil
}
