package resolver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// Shared is what the lookups of one report have in common: the stages of their proofs and the zones of their chains of trust, each
// once. A Kept lookup names them by their places. The zero value is empty.
type Shared struct {
	// Start is when the report begins. The lookups are dated from there.
	Start  time.Time   `json:"-"`
	Stages []keptStage `json:"stages,omitempty"`
	Zones  []Link      `json:"zones,omitempty"`
	// taken counts the places that Restore has followed.
	taken int
}

// mostPlaces is how many places the lookups of one report may name in all. Each is a few octets long and stands for a hundred,
// so that a short text could otherwise fill the memory.
const mostPlaces = 1 << 16

// Kept is a lookup in the form that reports keep. It says nothing that its octets or its Shared say.
type Kept struct {
	Lookup
	// After is when the lookup started, in nanoseconds after Shared.Start, and Took how long it took. Started and Finished stand in
	// their places where that is out of reach.
	After    int64       `json:"after,omitempty"`
	Started  *time.Time  `json:"started,omitempty"`
	Took     int64       `json:"took,omitempty"`
	Finished *time.Time  `json:"finished,omitempty"`
	Queries  []keptQuery `json:"queries"`
	// Chain and Proof are places in Shared, from 0.
	Chain []int `json:"chain"`
	Proof []int `json:"proof,omitempty"`
}

// keptStage is a stage. Without At, its time is when the lookup started, in whole seconds.
type keptStage struct {
	Kind    dnssec.StageKind `json:"stage"`
	Zone    string           `json:"zone"`
	Name    string           `json:"name,omitempty"`
	Records string           `json:"records,omitempty"`
	Query   int              `json:"query,omitempty"`
	At      *time.Time       `json:"at,omitempty"`
}

// keptQuery is a query.
type keptQuery struct {
	// After is when it was sent, in nanoseconds after the lookup's start. At stands in its place where that is out of reach.
	After  int64      `json:"after,omitempty"`
	At     *time.Time `json:"at,omitempty"`
	Server string     `json:"server"`
	// Transport is left out for udp, Question where the query says it, Rcode where the response does.
	Transport    *string `json:"transport,omitempty"`
	Question     *string `json:"question,omitempty"`
	Rcode        *string `json:"rcode,omitempty"`
	Milliseconds float64 `json:"ms"`
	Error        string  `json:"error,omitempty"`
	// Cookie stands in the place of Query where that follows from it and the response: see appendUsualQuery.
	Cookie   []byte `json:"cookie,omitempty"`
	Query    []byte `json:"query,omitempty"`
	Response []byte `json:"response,omitempty"`
}

// Keep gives a lookup in the form that is kept, and adds to s what s has not yet. Restore gives the same lookup back, but for what
// no record keeps of a time: its zone and its monotonic reading.
func (s *Shared) Keep(l Lookup) Kept {
	k := Kept{Lookup: l}
	k.After, k.Started = after(l.Started, s.Start)
	k.Took, k.Finished = after(l.Finished, l.Started)
	if l.Queries != nil {
		k.Queries = make([]keptQuery, len(l.Queries))
	}
	for i := range l.Queries {
		k.Queries[i] = keepQuery(&l.Queries[i], l.Started)
	}
	if l.Chain != nil {
		k.Chain = make([]int, len(l.Chain))
	}
	for i := range l.Chain {
		k.Chain[i] = s.zone(&l.Chain[i])
	}
	if len(l.Proof) > 0 {
		k.Proof = make([]int, len(l.Proof))
	}
	start := wholeSecond(l.Started)
	for i := range l.Proof {
		k.Proof[i] = s.stage(&l.Proof[i], start)
	}
	return k
}

// zone gives the place of a link of a chain, which it takes in where there is none.
func (s *Shared) zone(link *Link) int {
	for i := range s.Zones {
		if s.Zones[i].same(link) {
			return i
		}
	}
	s.Zones = append(s.Zones, *link)
	return len(s.Zones) - 1
}

func (l *Link) same(o *Link) bool {
	return l.Zone == o.Zone && l.Result == o.Result && l.Until == o.Until && l.Algorithm == o.Algorithm && l.Why == o.Why &&
		slices.Equal(l.DS, o.DS) && slices.Equal(l.DNSKEY, o.DNSKEY)
}

// stage gives the place of a stage of a lookup that started in the second given; as zone.
func (s *Shared) stage(stage *dnssec.Stage, start time.Time) int {
	kept := keptStage{Kind: stage.Kind, Zone: stage.Zone, Name: stage.Name, Records: stage.Records, Query: stage.Query}
	if !stage.At.Equal(start) {
		at := stage.At
		kept.At = &at
	}
	for i := range s.Stages {
		if s.Stages[i].same(&kept) {
			return i
		}
	}
	s.Stages = append(s.Stages, kept)
	return len(s.Stages) - 1
}

// Restore gives the lookup that was kept. It refuses one that names what s has not.
func (s *Shared) Restore(k Kept) (Lookup, error) {
	l := k.Lookup
	l.Queries, l.Chain, l.Proof = nil, nil, nil
	var err error
	if l.Started, err = moment(k.After, k.Started, s.Start); err != nil {
		return Lookup{}, err
	}
	if l.Finished, err = moment(k.Took, k.Finished, l.Started); err != nil {
		return Lookup{}, err
	}
	if s.taken += len(k.Chain) + len(k.Proof); s.taken > mostPlaces {
		return Lookup{}, fmt.Errorf("resolver: the lookups name more than %d places", mostPlaces)
	}
	if k.Queries != nil {
		l.Queries = make([]Query, len(k.Queries))
	}
	for i := range k.Queries {
		if l.Queries[i], err = restoreQuery(&k.Queries[i], l.Started); err != nil {
			return Lookup{}, err
		}
	}
	if k.Chain != nil {
		l.Chain = make([]Link, len(k.Chain))
	}
	for i, place := range k.Chain {
		if place < 0 || place >= len(s.Zones) {
			return Lookup{}, fmt.Errorf("resolver: the lookup of %s %s names the zone %d of %d", l.Name, l.Type, place, len(s.Zones))
		}
		l.Chain[i] = s.Zones[place]
	}
	start := wholeSecond(l.Started)
	if len(k.Proof) > 0 {
		l.Proof = make([]dnssec.Stage, len(k.Proof))
	}
	for i, place := range k.Proof {
		if place < 0 || place >= len(s.Stages) {
			return Lookup{}, fmt.Errorf("resolver: the lookup of %s %s names the stage %d of %d", l.Name, l.Type, place, len(s.Stages))
		}
		kept := &s.Stages[place]
		l.Proof[i] = dnssec.Stage{Kind: kept.Kind, Zone: kept.Zone, Name: kept.Name, Records: kept.Records, Query: kept.Query, At: start}
		if kept.At != nil {
			l.Proof[i].At = *kept.At
		}
	}
	return l, nil
}

func (s *keptStage) same(o *keptStage) bool {
	return s.Kind == o.Kind && s.Zone == o.Zone && s.Name == o.Name && s.Records == o.Records && s.Query == o.Query &&
		(s.At == nil) == (o.At == nil) && (s.At == nil || s.At.Equal(*o.At))
}

func wholeSecond(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func keepQuery(q *Query, started time.Time) keptQuery {
	k := keptQuery{Server: q.Server, Milliseconds: q.Milliseconds, Error: q.Error, Query: q.Query, Response: q.Response}
	k.After, k.At = after(q.At, started)
	var room [256]byte
	if cookie := cookieIn(q.Query); len(cookie) > 0 && bytes.Equal(q.Query, appendUsualQuery(room[:0], q.Response, cookie)) {
		k.Cookie, k.Query = cookie, nil
	}
	if q.Transport != udp {
		k.Transport = &q.Transport
	}
	if q.Question != string(appendQuestion(room[:0], q.Query)) {
		k.Question = &q.Question
	}
	if q.Rcode != rcodeIn(q.Response, q.Error) {
		k.Rcode = &q.Rcode
	}
	return k
}

func restoreQuery(k *keptQuery, started time.Time) (Query, error) {
	q := Query{Server: k.Server, Transport: udp, Rcode: rcodeIn(k.Response, k.Error), Milliseconds: k.Milliseconds, Error: k.Error,
		Query: k.Query, Response: k.Response}
	var err error
	if q.At, err = moment(k.After, k.At, started); err != nil {
		return Query{}, err
	}
	if len(k.Cookie) > 0 {
		if q.Query = appendUsualQuery(nil, k.Response, k.Cookie); q.Query == nil || len(k.Query) > 0 {
			return Query{}, errors.New("resolver: the octets of a query do not follow from its response and cookie, or stand beside them")
		}
	}
	var room [256]byte
	q.Question = string(appendQuestion(room[:0], q.Query))
	override(&q.Transport, k.Transport)
	override(&q.Question, k.Question)
	override(&q.Rcode, k.Rcode)
	return q, nil
}

func override(s, given *string) {
	if given != nil {
		*s = *given
	}
}

// after gives a time by how long after another it is, in nanoseconds, or the time itself where it is too far from there.
func after(t, start time.Time) (int64, *time.Time) {
	t, start = t.UTC().Round(0), start.UTC().Round(0)
	if d := t.Sub(start); start.Add(d).Equal(t) {
		return int64(d), nil
	}
	far := t // apart from t, which then need not be on the heap where it is not far
	return 0, &far
}

// moment undoes after. It refuses a time that JSON could not write again.
func moment(after int64, t *time.Time, start time.Time) (time.Time, error) {
	if t == nil {
		at := start.Add(time.Duration(after))
		if y := at.Year(); y < 0 || y > 9999 {
			return time.Time{}, fmt.Errorf("resolver: %d ns from %s is no time", after, start)
		}
		return at, nil
	}
	if after != 0 {
		return time.Time{}, errors.New("resolver: one moment has two times")
	}
	return *t, nil
}

const (
	udp    = "udp"
	header = 12 // octets
)

// appendQuestion appends the question of a message as Query.Question tells it; nothing where there is none to read.
func appendQuestion(b, octets []byte) []byte {
	end := questionEnd(octets)
	if end == 0 {
		return b
	}
	kind := octets[end-4:]
	if named, ok := appendPlainName(b, octets[header:end-4]); ok {
		b = named
	} else {
		name, _, err := dns.UnpackDomainName(octets, header)
		if err != nil {
			return b
		}
		b = append(b, strings.ToLower(name)...)
	}
	return append(append(b, ' '), dns.Type(binary.BigEndian.Uint16(kind)).String()...)
}

// appendPlainName appends a name of letters, digits, hyphens and underscores in lower case; false for all others, which are for the
// library to read: those with escapes, those that are too long, and the root.
func appendPlainName(b, wire []byte) ([]byte, bool) {
	if len(wire) < 3 || len(wire) > 255 {
		return b, false
	}
	for i := 0; wire[i] != 0; {
		end := i + 1 + int(wire[i])
		for i++; i < end; i++ {
			c := wire[i]
			switch {
			case 'A' <= c && c <= 'Z':
				c += 'a' - 'A'
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return b, false
			}
			b = append(b, c)
		}
		b = append(b, '.')
	}
	return b, true
}

// questionEnd gives the place behind the first question of a message, whose name is not compressed; 0 where there is none.
func questionEnd(octets []byte) int {
	for i := header; i < len(octets) && octets[i] < 64; i += int(octets[i]) + 1 {
		if octets[i] == 0 && i+5 <= len(octets) {
			return i + 5
		}
	}
	return 0
}

// optHead is the OPT record of the usual query up to the lengths of its only option, which is a cookie: 1232 octets, and DO.
const optHead = "\x00\x00\x29\x04\xd0\x00\x00\x80\x00"

// optLength is optHead with both lengths, in octets, and the option's code.
const optLength = len(optHead) + 6

// appendUsualQuery appends the query that a response answers, if it was the usual one of one question: nothing set in its header, the
// response's identifier and question, octet for octet, and the OPT record above. It appends nothing, and gives nil for nil, where
// there is no response with a question.
func appendUsualQuery(b, response, cookie []byte) []byte {
	end := questionEnd(response)
	if end == 0 || len(cookie) > 40 { // RFC 7873 section 4
		return b
	}
	q := append(slices.Grow(b, end+optLength+len(cookie)), response[0], response[1], 0, 0, 0, 1, 0, 0, 0, 0, 0, 1)
	q = append(append(q, response[header:end]...), optHead...)
	q = binary.BigEndian.AppendUint16(q, uint16(4+len(cookie)))
	q = binary.BigEndian.AppendUint16(q, dns.EDNS0COOKIE)
	q = binary.BigEndian.AppendUint16(q, uint16(len(cookie)))
	return append(q, cookie...)
}

// cookieIn gives what stands in a query in the place of the usual one's cookie.
func cookieIn(query []byte) []byte {
	if end := questionEnd(query); end > 0 && len(query) > end+optLength {
		return query[end+optLength:]
	}
	return nil
}

// rcodeIn gives the response code of a message as Query.Rcode tells it; empty where the response was not used, or there is none.
// It is that of the header: Query.Rcode has the extension too, and is kept where that makes another one of it.
func rcodeIn(octets []byte, used string) string {
	if len(octets) < 4 || used != "" {
		return ""
	}
	return rcodeName(int(octets[3] & 0x0f))
}
