package resolver

import (
	"math"
	"strings"
	"sync/atomic"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/internal/jsonread"
)

// What is read here is what shared_write.go writes, member for member.

// Read reads a lookup that was kept.
func (k *Kept) Read(r *jsonread.Reader) {
	r.Object(func() {
		k.readMembers(r)
		k.After = r.IntMember("after", math.MaxInt64)
		k.Started = r.TimeMember("started")
		k.Took = r.IntMember("took", math.MaxInt64)
		k.Finished = r.TimeMember("finished")
		r.Name("queries")
		k.Queries = jsonread.Elements(r, (*keptQuery).read)
		r.Name("chain")
		k.Chain = jsonread.Ints(r, math.MaxInt)
		k.Proof = jsonread.IntsMember(r, "proof", math.MaxInt)
	})
}

func (l *Lookup) readMembers(r *jsonread.Reader) {
	r.Name("name")
	l.Name = r.String()
	r.Name("type")
	l.Type = r.String()
	r.Name("status")
	r.Term(&l.Status)
	r.Name("rcode")
	l.Rcode = r.String()
	r.Name("answers")
	l.Answers = r.Strings()
	r.Name("ttl")
	l.TTL = uint32(r.Int(math.MaxUint32))
	r.Name("why")
	l.Why = r.String()
	l.Code = r.StringMember("code")
	l.EDE = uint16(r.IntMember("ede", math.MaxUint16))
	l.Upstream = r.StringMember("upstream")
}

func (q *keptQuery) read(r *jsonread.Reader) {
	r.Object(func() {
		q.After = r.IntMember("after", math.MaxInt64)
		q.At = r.TimeMember("at")
		r.Name("server")
		q.Server = r.String()
		for _, m := range []struct {
			name  string
			value **string
		}{{"transport", &q.Transport}, {"question", &q.Question}, {"rcode", &q.Rcode}} {
			if r.Has(m.name) {
				s := r.String()
				*m.value = &s
			}
		}
		r.Name("ms")
		q.Milliseconds = r.Float()
		q.Error = r.StringMember("error")
		q.Cookie = r.BytesMember("cookie")
		q.Query = r.BytesMember("query")
		q.Response = r.BytesMember("response")
	})
}

// ReadMembers reads what the lookups have in common, members of the report.
func (s *Shared) ReadMembers(r *jsonread.Reader) {
	s.Stages = jsonread.ElementsMember(r, "stages", (*keptStage).read)
	s.Zones = jsonread.ElementsMember(r, "zones", (*Link).read)
}

func (s *keptStage) read(r *jsonread.Reader) {
	r.Object(func() {
		r.Name("stage")
		s.Kind = dnssec.StageKind(r.String())
		r.Name("zone")
		s.Zone = r.String()
		s.Name = r.StringMember("name")
		s.Records = r.StringMember("records")
		s.Query = int(r.IntMember("query", math.MaxInt))
		s.At = r.TimeMember("at")
	})
}

func (l *Link) read(r *jsonread.Reader) {
	r.Object(func() {
		r.Name("zone")
		l.Zone = r.String()
		l.DS = jsonread.IntsMember[uint16](r, "ds", math.MaxUint16)
		l.DNSKEY = jsonread.IntsMember[uint16](r, "dnskey", math.MaxUint16)
		l.Algorithm = r.StringMember("algorithm")
		if r.Has("until") {
			l.Until = r.Time()
		}
		r.Name("result")
		r.Term(&l.Result)
		l.Why = r.StringMember("why")
	})
}

// readSettings are some that were read lately, with their texts: those of a perspective hardly change, and perspectives have the same. A text alone
// decides what is read, so that nothing of one report reaches another through it.
var readSettings atomic.Pointer[[]settingsText]

type settingsText struct {
	text     string
	settings Settings
}

// mostSettings is how many are remembered, and longestSettings the length of their text, in octets.
const (
	mostSettings    = 16
	longestSettings = 4 << 10
)

// Read reads them. Their map and slices may be those of others that were read, and are to be read.
func (s *Settings) Read(r *jsonread.Reader) {
	var known []settingsText
	if p := readSettings.Load(); p != nil {
		known = *p
	}
	for i := range known {
		if r.Skip(known[i].text) {
			*s = known[i].settings
			return
		}
	}
	text := r.Span(func() { s.readMembers(r) })
	if text == "" || len(text) > longestSettings {
		return
	}
	own := settingsText{text: strings.Clone(text)}
	own.settings.readMembers(jsonread.NewReader(own.text)) // its strings are part of that text, and not of the whole report's
	known = append([]settingsText{own}, known[:min(len(known), mostSettings-1)]...)
	readSettings.Store(&known)
}

func (s *Settings) readMembers(r *jsonread.Reader) {
	r.Object(func() {
		r.Name("mode")
		s.Mode = r.String()
		r.Name("anchors")
		s.Anchors = r.Strings()
		r.Name("algorithms")
		s.Algorithms = jsonread.Ints(r, math.MaxInt)
		r.Name("slack")
		s.Slack = int(r.Int(math.MaxInt))
		r.Name("limits")
		s.Limits = r.Counts()
		r.Name("timeout")
		s.Timeout = r.Float()
		r.Name("cache_cap")
		s.CacheCap = r.Float()
		r.Name("qname_minimisation")
		s.QnameMinimisation = r.Bool()
	})
}
