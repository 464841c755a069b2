package db

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"runtime"
	"strings"
	"sync"
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
		Remotes []struct {
			Perspective, Signed string
			Report              *struct{ Software string }
		}
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
		software := ""
		if r.Report != nil {
			software = r.Report.Software
		} else if r.Signed != "" {
			software = signedSoftware(r.Signed)
		}
		if is(r.Perspective, software) {
			return true
		}
	}
	return false
}

// signedSoftware reads the program out of the payload of a compact JWS (RFC 7515 section 7.1); what cannot be read has none.
func signedSoftware(signed string) string {
	_, rest, _ := strings.Cut(signed, ".")
	encoded, _, _ := strings.Cut(rest, ".")
	var said struct{ Software string }
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || json.Unmarshal(payload, &said) != nil {
		return ""
	}
	return said.Software
}
