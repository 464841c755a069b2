package dnssec

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Prover proves again, from a record, what a lookup found. It believes nothing of the record but the octets: which stages
// there are says only where to look, and what each amounts to is worked out anew from the anchors, which the auditor has from
// elsewhere.
type Prover struct {
	Anchors    []Anchor
	Algorithms Algorithms
	// Limits are those that Limits.Complete has passed. Slack in them must be the one that the record tells.
	Limits Limits
	// Memory, if set, remembers what proofs have in common. It changes no result, and serves only the table of algorithms that it was
	// made for.
	Memory *Memory
}

// Question is what a proof is to answer, and when it was asked.
type Question struct {
	// Name is canonical.
	Name string
	Type uint16
	// Started and Finished enclose the lookup. Every signature must have been valid within.
	Started, Finished time.Time
	// Response gives the response at a place in the account of the lookup's queries, from 1, if it answered its query.
	Response func(query int) (*dns.Msg, error)
}

// Proven is what a proof amounts to.
type Proven struct {
	// Verdict is that of the whole: the worst of its stages.
	Verdict Verdict
	Rcode   int
	// Aliases and Records are the answer's; TTL is the smallest.
	Aliases, Records []dns.RR
	TTL              uint32
	// Zones are those whose keys, or whose lack of them, the proof establishes, in its order.
	Zones []ProvenZone
	// Stages are what each stage amounts to, in the proof's order.
	Stages []Found
}

// ProvenZone is a zone of a proof.
type ProvenZone struct {
	Zone string
	// Verdict is Secure where the zone's keys are proven, Insecure where the chain ends at its delegation.
	Verdict Verdict
	// DS are the tags of its DS records or anchors, Keys those of its keys, Algorithm that which signed them, until Until.
	DS, Keys  []uint16
	Algorithm uint8
	Until     time.Time
}

// ErrProof is a proof that does not hold together, whatever its verdict: a stage without those that it needs, records that are
// missing or that another digest names, an answer to another question, a time outside of the lookup.
var ErrProof = errors.New("dnssec: the proof does not hold together")

// ErrUnfinished is a proof that holds as far as it goes, and ends before an answer. What Proven says of the zones is proven.
var ErrUnfinished = errors.New("dnssec: the proof ends before an answer for a name")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProof, fmt.Sprintf(format, args...))
}

// proving is the state of one proof: what is established so far.
type proving struct {
	Prover
	q    Question
	sets Sets
	cuts map[string]*Delegation
	keys map[string]*Keys
	// above has the serial number of what is remembered of a zone: of its cut and of its keys. None is 0.
	above  map[StageKind]map[string]uint64
	out    Proven
	name   string // the name that the next answer must be for; empty when the last has come
	began  bool
	closed bool // a stage was not usable: nothing may follow
}

// A proof is of one moment: a lookup ends after a minute at the most (resolver.Config), and twelve names have no more stages.
const (
	longestLookup = 2 * time.Minute
	mostStages    = 1000
)

// Prove works a proof out again. The error is ErrProof or ErrUnfinished, wrapped, or nil; then the verdict, whatever it is, follows from the
// records and the anchors. A proof that ends in a bogus or failed stage gives that stage's verdict.
func (p Prover) Prove(q Question, stages []Stage, sets Sets) (Proven, error) {
	if took := q.Finished.Sub(q.Started); took < 0 || took > longestLookup || len(stages) > mostStages {
		return Proven{}, broken("no lookup takes %s and %d stages", took, len(stages))
	}
	w := &proving{Prover: p, q: q, sets: sets, cuts: map[string]*Delegation{}, keys: map[string]*Keys{}, name: q.Name}
	if !w.Memory.of(p.Algorithms) {
		w.Memory = nil
	}
	w.above = map[StageKind]map[string]uint64{StageKeys: {}, StageDelegation: {}}
	for _, a := range p.Anchors {
		if w.cuts[a.zone] == nil {
			r := w.Memory.anchors(p.Anchors, a.zone)
			w.cuts[a.zone], w.above[StageDelegation][a.zone] = r.cut, r.serial
		}
	}
	for i, s := range stages {
		if err := w.stage(s); err != nil {
			return Proven{}, fmt.Errorf("stage %d, %s of %s: %w", i+1, s.Kind, cmp.Or(s.Name, s.Zone), err)
		}
	}
	if !w.closed && w.name != "" {
		return w.out, fmt.Errorf("%w: %s", ErrUnfinished, w.name)
	}
	return w.out, nil
}

func (w *proving) stage(s Stage) error {
	if w.closed {
		v := w.out.Verdict
		return broken("it goes on, and the stage before comes to %s: %s", v.Status, v.Reason.Text)
	}
	if w.name == "" {
		return broken("it goes on after the answer")
	}
	if (s.Kind == StageDelegation) != (s.Name != "") {
		return broken("a delegation alone names a name, and this one is of %q", s.Name)
	}
	// Times are compared in whole seconds, as those of signatures are.
	if s.At.Before(w.q.Started.Truncate(time.Second)) || s.At.After(w.q.Finished) {
		return broken("the time %s lies outside of the lookup", s.At.Format(time.RFC3339))
	}
	v := NewVerifier(w.Algorithms, w.Limits, s.At)
	if w.Memory != nil {
		v.known = w.Memory.signatures
	}
	var verdict Verdict
	var err error
	switch s.Kind {
	case StageKeys:
		verdict, err = w.zoneKeys(v, s)
	case StageDelegation:
		verdict, err = w.delegation(v, s)
	case StageAnswer:
		verdict, err = w.answer(v, s)
	default:
		return broken("%q is no kind of stage", s.Kind)
	}
	if err != nil {
		return err
	}
	found := verdict.Proof.stage
	found.Stage = s
	w.out.Stages = append(w.out.Stages, found)
	w.closed = !verdict.Status.Usable()
	if s.Kind == StageAnswer || w.closed {
		whole := Worse(w.out.Verdict, verdict)
		if !w.began || whole.Status == Secure {
			whole = verdict
		}
		w.out.Verdict, w.began = whole, true
	}
	return nil
}

// section gives the records of a stage, which must be those of its digest.
func (w *proving) section(s Stage) ([]*RRset, error) {
	octets, ok := w.sets[s.Records]
	if !ok {
		return nil, broken("the records %s are missing", s.Records)
	}
	if err := (Sets{s.Records: octets}).Check(); err != nil {
		return nil, broken("%v", err)
	}
	rrs, err := Records(octets)
	if err != nil {
		return nil, broken("the records %s cannot be read: %v", s.Records, err)
	}
	return Group(rrs), nil
}

func (w *proving) zoneKeys(v *Verifier, s Stage) (Verdict, error) {
	d := w.cuts[s.Zone]
	if d == nil || d.Verdict.Status != Secure {
		return Verdict{}, broken("nothing says how the keys of %s are to be known", s.Zone)
	}
	r, err := w.recall(v, s, w.above[StageDelegation][s.Zone], func(section []*RRset) *remembered {
		keys, verdict := v.Keys(Find(section, s.Zone, dns.TypeDNSKEY), d)
		return &remembered{keys: keys, verdict: verdict}
	})
	if err != nil {
		return Verdict{}, err
	}
	if keys := r.keys; keys != nil {
		w.keys[s.Zone], w.above[StageKeys][s.Zone] = keys, r.serial
		w.out.Zones = append(w.out.Zones, ProvenZone{Zone: s.Zone, Verdict: r.verdict, DS: d.Tags(), Keys: keys.Tags,
			Algorithm: keys.Algorithm, Until: keys.Until})
	}
	return r.verdict, nil
}

// recall gives what a stage amounts to, from memory or by judging its records. above is the serial number of what it builds on.
func (w *proving) recall(v *Verifier, s Stage, above uint64, judge func(section []*RRset) *remembered) (*remembered, error) {
	k := stageKey{kind: s.Kind, above: above, zone: s.Zone, name: s.Name, records: s.Records, limits: w.Limits}
	octets, there := w.sets[s.Records]
	if there {
		if r := w.Memory.find(k, octets, s.At); r != nil {
			return r, nil
		}
	}
	section, err := w.section(s)
	if err != nil {
		return nil, err
	}
	if w.Memory != nil {
		v.span = spanAbout(s.At)
	}
	r := judge(section)
	if v.span == nil || r.keys == nil && r.cut == nil { // only what is usable is remembered
		return r, nil
	}
	r.octets, r.span = octets, *v.span
	return w.Memory.keep(k, r, s.At), nil
}

func (w *proving) delegation(v *Verifier, s Stage) (Verdict, error) {
	keys := w.keys[s.Zone]
	if keys == nil {
		return Verdict{}, broken("the keys of %s are not proven", s.Zone)
	}
	if w.anchored(s.Name) {
		return Verdict{}, broken("%s has a trust anchor, which no delegation replaces", s.Name)
	}
	var what Existence
	r, err := w.recall(v, s, w.above[StageKeys][s.Zone], func(section []*RRset) *remembered {
		r := new(remembered)
		r.cut, what, r.verdict = v.Delegation(section, keys, s.Name)
		return r
	})
	if err != nil {
		return Verdict{}, err
	}
	switch d := r.cut; {
	case d != nil:
		w.cuts[s.Name], w.above[StageDelegation][s.Name] = d, r.serial
		if d.Verdict.Status == Insecure {
			w.out.Zones = append(w.out.Zones, ProvenZone{Zone: s.Name, Verdict: d.Verdict, DS: d.Tags()})
		}
	case r.verdict.Status.Usable():
		return Verdict{}, broken("no delegation stands at %s (%d), and nothing can follow from that", s.Name, what)
	}
	return r.verdict, nil
}

func (w *proving) anchored(name string) bool {
	return slices.ContainsFunc(w.Anchors, func(a Anchor) bool { return a.zone == name })
}

func (w *proving) answer(v *Verifier, s Stage) (Verdict, error) {
	if !within(w.name, s.Zone) {
		return Verdict{}, broken("%s lies outside of the zone %s", w.name, s.Zone)
	}
	if s.Zone == w.name && w.name != "." && w.q.Type == dns.TypeDS { // RFC 4035 section 2.4
		return Verdict{}, broken("the DS records of %s are its parent's to give", w.name)
	}
	for n := dns.CountLabel(s.Zone) + 1; n <= dns.CountLabel(w.name); n++ {
		if below := Ancestor(w.name, n); w.anchored(below) && !(below == w.name && w.q.Type == dns.TypeDS) {
			return Verdict{}, broken("%s has a trust anchor, and its zone did not answer", below)
		}
	}
	m, err := w.q.Response(s.Query)
	if err != nil {
		return Verdict{}, broken("the response: %v", err)
	}
	if len(m.Question) != 1 || lower(m.Question[0].Name) != w.name || m.Question[0].Qtype != w.q.Type ||
		m.Question[0].Qclass != dns.ClassINET {
		return Verdict{}, broken("the response answers another question than %s %s, which was due", w.name, typeName(w.q.Type))
	}
	var a Answer
	if keys := w.keys[s.Zone]; keys != nil {
		a = v.Answer(Message{m, s.Query}, keys, w.name, w.q.Type)
	} else {
		cut, err := w.insecure(s.Zone)
		if err != nil {
			return Verdict{}, err
		}
		a = v.Unsigned(Message{m, s.Query}, cut, s.Zone, w.name, w.q.Type)
	}
	w.out.Rcode = a.Rcode
	if len(a.Records) > 0 && (len(w.out.Aliases)+len(w.out.Records) == 0 || a.TTL < w.out.TTL) {
		w.out.TTL = a.TTL
	}
	if a.Target != "" {
		w.out.Aliases = append(w.out.Aliases, a.Records...)
	} else {
		w.out.Records = a.Records
	}
	w.name = a.Target
	return a.Verdict, nil
}

// insecure gives the proven end of the chain at or above a zone. An anchor between them begins a chain anew.
func (w *proving) insecure(zone string) (*Delegation, error) {
	for n := dns.CountLabel(zone); n >= 0; n-- {
		name := Ancestor(zone, n)
		if d := w.cuts[name]; d != nil {
			if d.Verdict.Status == Insecure {
				return d, nil
			}
			break
		}
	}
	return nil, broken("neither are the keys of %s proven, nor that it has none", zone)
}
