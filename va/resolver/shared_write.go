package resolver

import (
	"github.com/quorate/quorate/va/internal/jsonappend"
)

// What is written here is what encoding/json makes of the same values, by the tags of their types.

// Write writes a lookup that was kept.
func (k *Kept) Write(w *jsonappend.Writer) {
	w.Object(func() {
		k.Lookup.writeMembers(w)
		w.IntMember("after", k.After)
		w.TimeMember("started", k.Started)
		w.IntMember("took", k.Took)
		w.TimeMember("finished", k.Finished)
		w.Name("queries")
		if k.Queries == nil {
			w.Null()
		} else {
			w.Array(func() {
				for i := range k.Queries {
					k.Queries[i].write(w)
				}
			})
		}
		w.Name("chain")
		jsonappend.Ints(w, k.Chain)
		if len(k.Proof) > 0 {
			w.Name("proof")
			jsonappend.Ints(w, k.Proof)
		}
	})
}

// writeMembers writes those members that Kept has no others for.
func (l *Lookup) writeMembers(w *jsonappend.Writer) {
	w.Name("name")
	w.String(l.Name)
	w.Name("type")
	w.String(l.Type)
	w.Name("status")
	w.Term(l.Status)
	w.Name("rcode")
	w.String(l.Rcode)
	w.Name("answers")
	w.Strings(l.Answers)
	w.Name("ttl")
	w.Int(int64(l.TTL))
	w.Name("why")
	w.String(l.Why)
	w.StringMember("code", l.Code)
	w.IntMember("ede", int64(l.EDE))
	w.StringMember("upstream", l.Upstream)
}

func (q *keptQuery) write(w *jsonappend.Writer) {
	w.Object(func() {
		w.IntMember("after", q.After)
		w.TimeMember("at", q.At)
		w.Name("server")
		w.String(q.Server)
		for _, m := range []struct {
			name  string
			value *string
		}{{"transport", q.Transport}, {"question", q.Question}, {"rcode", q.Rcode}} {
			if m.value != nil {
				w.Name(m.name)
				w.String(*m.value)
			}
		}
		w.Name("ms")
		w.Float(q.Milliseconds)
		w.StringMember("error", q.Error)
		w.BytesMember("cookie", q.Cookie)
		w.BytesMember("query", q.Query)
		w.BytesMember("response", q.Response)
	})
}

// WriteMembers writes what the lookups have in common, as members of the report.
func (s *Shared) WriteMembers(w *jsonappend.Writer) {
	if len(s.Stages) > 0 {
		w.Name("stages")
		w.Array(func() {
			for i := range s.Stages {
				s.Stages[i].write(w)
			}
		})
	}
	if len(s.Zones) > 0 {
		w.Name("zones")
		w.Array(func() {
			for i := range s.Zones {
				s.Zones[i].write(w)
			}
		})
	}
}

func (s *keptStage) write(w *jsonappend.Writer) {
	w.Object(func() {
		w.Name("stage")
		w.String(string(s.Kind))
		w.Name("zone")
		w.String(s.Zone)
		w.StringMember("name", s.Name)
		w.StringMember("records", s.Records)
		w.IntMember("query", int64(s.Query))
		w.TimeMember("at", s.At)
	})
}

func (l *Link) write(w *jsonappend.Writer) {
	w.Object(func() {
		w.Name("zone")
		w.String(l.Zone)
		if len(l.DS) > 0 {
			w.Name("ds")
			jsonappend.Ints(w, l.DS)
		}
		if len(l.DNSKEY) > 0 {
			w.Name("dnskey")
			jsonappend.Ints(w, l.DNSKEY)
		}
		w.StringMember("algorithm", l.Algorithm)
		if !l.Until.IsZero() {
			w.Name("until")
			w.Time(l.Until)
		}
		w.Name("result")
		w.Term(l.Result)
		w.StringMember("why", l.Why)
	})
}

// Write writes the settings of a resolver.
func (s *Settings) Write(w *jsonappend.Writer) {
	w.Object(func() {
		w.Name("mode")
		w.String(s.Mode)
		w.Name("anchors")
		w.Strings(s.Anchors)
		w.Name("algorithms")
		jsonappend.Ints(w, s.Algorithms)
		w.Name("slack")
		w.Int(int64(s.Slack))
		w.Name("limits")
		w.Counts(s.Limits)
		w.Name("timeout")
		w.Float(s.Timeout)
		w.Name("cache_cap")
		w.Float(s.CacheCap)
		w.Name("qname_minimisation")
		w.Bool(s.QnameMinimisation)
	})
}
