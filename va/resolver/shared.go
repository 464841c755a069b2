package resolver

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// Shared is what the lookups of one report have in common: the stages of their proofs and the zones of their chains of trust, each
// once. A Kept lookup names them by their places. The zero value is empty.
type Shared struct {
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
	Queries []keptQuery `json:"queries"`
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
	At      time.Time        `json:"at,omitzero"`
}

// keptQuery is a query.
type keptQuery struct {
	// After is when it was sent, in nanoseconds after the lookup's start. At stands in its place where that is out of reach.
	After  int64     `json:"after,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Server string    `json:"server"`
	// Transport is left out for udp, Question where Query says it, Rcode where Response does.
	Transport    *string `json:"transport,omitempty"`
	Question     *string `json:"question,omitempty"`
	Rcode        *string `json:"rcode,omitempty"`
	Milliseconds float64 `json:"ms"`
	Error        string  `json:"error,omitempty"`
	Query        []byte  `json:"query,omitempty"`
	Response     []byte  `json:"response,omitempty"`
}

// Keep gives a lookup in the form that is kept, and adds to s what s has not yet. Restore gives the same lookup back, but for what
// no record keeps of a time: its zone and its monotonic reading.
func (s *Shared) Keep(l Lookup) Kept {
	k := Kept{Lookup: l}
	if l.Queries != nil {
		k.Queries = make([]keptQuery, len(l.Queries))
	}
	for i, q := range l.Queries {
		k.Queries[i] = keepQuery(q, l.Started)
	}
	if l.Chain != nil {
		k.Chain = make([]int, len(l.Chain))
	}
	for i, link := range l.Chain {
		place := slices.IndexFunc(s.Zones, func(o Link) bool { return o.Zone == link.Zone && reflect.DeepEqual(o, link) })
		if place < 0 {
			place = len(s.Zones)
			s.Zones = append(s.Zones, link)
		}
		k.Chain[i] = place
	}
	start := wholeSecond(l.Started)
	for _, stage := range l.Proof {
		kept := keptStage{stage.Kind, stage.Zone, stage.Name, stage.Records, stage.Query, stage.At.UTC().Round(0)}
		if kept.At.Equal(start) {
			kept.At = time.Time{}
		}
		place := slices.Index(s.Stages, kept)
		if place < 0 {
			place = len(s.Stages)
			s.Stages = append(s.Stages, kept)
		}
		k.Proof = append(k.Proof, place)
	}
	return k
}

// Restore gives the lookup that was kept. It refuses one that names what s has not.
func (s *Shared) Restore(k Kept) (Lookup, error) {
	l := k.Lookup
	l.Queries, l.Chain, l.Proof = nil, nil, nil
	if s.taken += len(k.Chain) + len(k.Proof); s.taken > mostPlaces {
		return Lookup{}, fmt.Errorf("resolver: the lookups name more than %d places", mostPlaces)
	}
	if k.Queries != nil {
		l.Queries = make([]Query, len(k.Queries))
	}
	for i, q := range k.Queries {
		var err error
		if l.Queries[i], err = restoreQuery(q, l.Started); err != nil {
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
	for _, place := range k.Proof {
		if place < 0 || place >= len(s.Stages) {
			return Lookup{}, fmt.Errorf("resolver: the lookup of %s %s names the stage %d of %d", l.Name, l.Type, place, len(s.Stages))
		}
		kept := s.Stages[place]
		if kept.At.IsZero() {
			kept.At = start
		}
		l.Proof = append(l.Proof, dnssec.Stage(kept))
	}
	return l, nil
}

func wholeSecond(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func keepQuery(q Query, started time.Time) keptQuery {
	k := keptQuery{Server: q.Server, Milliseconds: q.Milliseconds, Error: q.Error, Query: q.Query, Response: q.Response}
	at, started := q.At.UTC().Round(0), started.UTC().Round(0)
	if after := at.Sub(started); started.Add(after).Equal(at) {
		k.After = int64(after)
	} else {
		k.At = at
	}
	if q.Transport != udp {
		k.Transport = &q.Transport
	}
	if q.Question != questionIn(q.Query) {
		k.Question = &q.Question
	}
	if q.Rcode != rcodeIn(q.Response, q.Error) {
		k.Rcode = &q.Rcode
	}
	return k
}

func restoreQuery(k keptQuery, started time.Time) (Query, error) {
	q := Query{At: k.At, Server: k.Server, Transport: udp, Question: questionIn(k.Query), Rcode: rcodeIn(k.Response, k.Error),
		Milliseconds: k.Milliseconds, Error: k.Error, Query: k.Query, Response: k.Response}
	switch {
	case k.At.IsZero():
		q.At = started.Add(time.Duration(k.After))
	case k.After != 0:
		return Query{}, errors.New("resolver: a query has two times")
	}
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

const udp = "udp"

// questionIn gives the question of a message as Query.Question tells it; empty where there is none to read.
func questionIn(octets []byte) string {
	const header = 12
	if len(octets) < header {
		return ""
	}
	name, end, err := dns.UnpackDomainName(octets, header)
	if err != nil || end+4 > len(octets) {
		return ""
	}
	return strings.ToLower(name) + " " + dns.Type(uint16(octets[end])<<8|uint16(octets[end+1])).String()
}

// rcodeIn gives the response code of a message as Query.Rcode tells it; empty where the response was not used, or there is none.
// It is that of the header: Query.Rcode has the extension too, and is kept where that makes another one of it.
func rcodeIn(octets []byte, used string) string {
	if len(octets) < 4 || used != "" {
		return ""
	}
	return rcodeName(int(octets[3] & 0x0f))
}
