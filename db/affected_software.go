package db

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"runtime"
	"strings"
	"sync"

	"github.com/quorate/quorate/mpic"
)

// running keeps those records in which a perspective ran a program, as its report says. Only documents have that: those of the records
// that permits rest on, or that may still be relied upon, are read.
func (v *scan) running(ctx context.Context, p picked, c Criteria) (picked, error) {
	out := picked{&numbers{}, &numbers{}}
	used := &numbers{}
	for _, query := range []string{`SELECT attempt FROM permit_names`, `SELECT caa_attempt FROM permit_names`, `SELECT attempt FROM reliances`} {
		found, err := v.set(ctx, query)
		if err != nil {
			return out, err
		}
		for n := range found.each {
			if p.dcv.has(n) || p.caa.has(n) {
				used.add(n)
			}
		}
	}
	for some := range used.chunks(100) {
		rows, err := v.tx.QueryContext(ctx, `SELECT attempt, document, sha256 FROM decisions WHERE `+within("attempt", some))
		if err != nil {
			return out, err
		}
		type filed struct {
			number int64
			doc    Document
		}
		all, err := collect(rows, func(r *sql.Rows) (f filed, err error) { return f, r.Scan(&f.number, &f.doc.Bytes, &f.doc.SHA256) })
		if err != nil {
			return out, err
		}
		ran := make([]bool, len(all))
		var group sync.WaitGroup
		workers := runtime.GOMAXPROCS(0)
		for w := range workers {
			group.Go(func() {
				for i := w; i < len(all); i += workers {
					ran[i] = all[i].doc.ran(c)
				}
			})
		}
		group.Wait()
		for i, f := range all {
			if ran[i] && p.dcv.has(f.number) {
				out.dcv.add(f.number)
			}
			if ran[i] && p.caa.has(f.number) {
				out.caa.add(f.number)
			}
		}
	}
	return out, nil
}

// ran tells whether a perspective ran the program that is asked for; of a document that cannot be read it cannot be ruled out.
func (d Document) ran(c Criteria) bool {
	var said struct {
		Primary *struct {
			Perspective, Software string
		}
		Remotes []replied
	}
	text, err := d.Text() // the tokens are of no interest
	if err != nil || digest(d.Bytes) != d.SHA256 || json.Unmarshal(text, &said) != nil {
		return true
	}
	is := func(perspective, software string) bool {
		return software == c.PerspectiveSoftware && (c.Perspective == "" || perspective == c.Perspective)
	}
	if said.Primary != nil && is(said.Primary.Perspective, said.Primary.Software) {
		return true
	}
	for _, r := range said.Remotes {
		software, known := r.software()
		if !known {
			software = c.PerspectiveSoftware
		}
		if is(r.Perspective, software) {
			return true
		}
	}
	return false
}

// replied is what a document says of a remote: its reply in one of the forms that mpic.Attestation has in the record.
type replied struct {
	Perspective, State string
	Signed             json.RawMessage
	Report             *struct{ Software string }
}

// software gives the program that a remote says it ran, empty where it says nothing. It is not known where an answer cannot be read, as one that
// was taken out of the document because it shows a token.
func (r replied) software() (name string, known bool) {
	var whole struct {
		Payload struct{ Software string }
	}
	var compact string
	switch {
	case r.Report != nil:
		return r.Report.Software, true
	case len(r.Signed) == 0:
		return "", true
	case json.Unmarshal(r.Signed, &compact) != nil:
		err := json.Unmarshal(r.Signed, &whole)
		return whole.Payload.Software, err == nil
	}
	// A compact JWS (RFC 7515 section 7.1).
	_, rest, _ := strings.Cut(compact, ".")
	encoded, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	if err == nil {
		err = json.Unmarshal(payload, &whole.Payload)
	}
	return whole.Payload.Software, err == nil || r.State != mpic.Answered.String() // nothing rests on what was rejected
}
