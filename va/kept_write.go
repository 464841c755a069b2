package va

import (
	"github.com/quorate/quorate/va/internal/jsonappend"
	"github.com/quorate/quorate/va/resolver"
)

// MarshalJSON gives the form that is signed and kept: compact, and with an outcome and a status wherever one belongs; one that is
// none is an error. It is what encoding/json makes of a keptReport.
func (r Report) MarshalJSON() ([]byte, error) {
	w := jsonappend.NewWriter(r.roughly())
	k := &keeper{Writer: w, shared: resolver.Shared{Start: r.Started}}
	w.Object(func() { k.report(&r) })
	return w.Text()
}

// roughly gives a length that a report's text hardly exceeds: what is long in it are messages.
func (r *Report) roughly() int {
	size := 3 << 10
	for _, l := range r.Lookups() {
		size += 384
		for i := range l.Queries {
			size += 128 + (len(l.Queries[i].Query)+len(l.Queries[i].Response))*4/3
		}
	}
	return size
}

// keeper writes a report. Its lookups come before what they have in common.
type keeper struct {
	*jsonappend.Writer
	shared resolver.Shared
}

func (w *keeper) report(r *Report) {
	w.Name("perspective")
	w.String(r.Perspective)
	w.Name("software")
	w.String(r.Software)
	w.Name("attempt")
	w.String(r.Attempt)
	w.Name("nonce")
	w.String(r.Nonce)
	w.Name("digest")
	w.String(r.Digest)
	w.Name("started")
	w.Time(r.Started)
	w.Name("finished")
	w.Time(r.Finished)
	w.Name("resolver")
	r.Resolver.Write(w.Writer)
	w.Name("dcv")
	w.Object(func() { w.dcv(&r.DCV) })
	w.Name("caa")
	w.Object(func() { w.caa(&r.CAA) })
	w.shared.WriteMembers(w.Writer)
}

func (w *keeper) dcv(f *DCVFinding) {
	w.Name("outcome")
	w.Term(f.Outcome)
	w.problem(f.Problem)
	w.Name("queried")
	w.String(f.Queried)
	w.StringMember("observed", f.Observed)
	if len(f.Fetches) > 0 {
		w.Name("fetches")
		w.Array(func() {
			for i := range f.Fetches {
				w.fetch(&f.Fetches[i])
			}
		})
	}
	if len(f.Handshakes) > 0 {
		w.Name("handshakes")
		w.Array(func() {
			for i := range f.Handshakes {
				w.handshake(&f.Handshakes[i])
			}
		})
	}
	w.Name("started")
	w.Time(f.Started)
	w.Name("finished")
	w.Time(f.Finished)
	w.lookups(f.Lookups)
}

func (w *keeper) caa(f *CAAFinding) {
	w.Name("outcome")
	w.Term(f.Outcome)
	w.problem(f.Problem)
	w.Name("name")
	w.String(f.Name)
	w.StringMember("found", f.Found)
	w.StringsMember("records", f.Records)
	w.StringMember("permits", f.Permits)
	w.Name("ttl")
	w.Int(int64(f.TTL))
	w.Name("fresh_until")
	w.Time(f.FreshUntil)
	w.Name("started")
	w.Time(f.Started)
	w.Name("finished")
	w.Time(f.Finished)
	w.lookups(f.Lookups)
	if len(f.Failures) > 0 {
		w.Name("failures")
		w.Array(func() {
			for i := range f.Failures {
				w.failure(&f.Failures[i])
			}
		})
	}
}

func (w *keeper) failure(f *LookupFailure) {
	w.Object(func() {
		w.Name("name")
		w.String(f.Name)
		w.Name("retry")
		w.lookup(&f.Retry)
		w.Name("ds")
		w.lookup(&f.DS)
		w.Name("control")
		w.lookup(&f.Control)
	})
}

func (w *keeper) lookups(all []resolver.Lookup) {
	if len(all) == 0 {
		return
	}
	w.Name("lookups")
	w.Array(func() {
		for i := range all {
			w.lookup(&all[i])
		}
	})
}

func (w *keeper) lookup(l *resolver.Lookup) {
	k := w.shared.Keep(*l)
	k.Write(w.Writer)
}

func (w *keeper) problem(p *Problem) {
	if p == nil {
		return
	}
	w.Name("problem")
	w.Object(func() {
		w.Name("code")
		w.String(p.Code)
		w.Name("detail")
		w.String(p.Detail)
		w.StringsMember("rules", p.Rules)
		w.StringMember("field", p.Field)
		w.StringMember("name", p.Name)
		w.StringMember("type", p.Type)
		w.StringMember("url", p.URL)
		w.StringMember("address", p.Address)
	})
}

func (w *keeper) fetch(f *Fetch) {
	w.Object(func() {
		w.Name("url")
		w.String(f.URL)
		w.StringMember("address", f.Address)
		w.StringsMember("considered", f.Considered)
		w.IntMember("status", int64(f.Status))
		w.StringMember("location", f.Location)
		w.StringMember("content_type", f.ContentType)
		w.IntMember("bytes", int64(f.Bytes))
		w.StringMember("body", f.Body)
		w.StringMember("certificate", f.Certificate)
		w.Name("ms")
		w.Float(f.Milliseconds)
		w.StringMember("error", f.Error)
	})
}

func (w *keeper) handshake(h *Handshake) {
	w.Object(func() {
		w.Name("address")
		w.String(h.Address)
		w.StringsMember("considered", h.Considered)
		w.Name("server_name")
		w.String(h.ServerName)
		w.StringMember("version", h.Version)
		w.StringMember("protocol", h.Protocol)
		w.StringsMember("certificates", h.Certificates)
		w.StringsMember("names", h.Names)
		w.Name("ms")
		w.Float(h.Milliseconds)
		w.StringMember("error", h.Error)
	})
}
