package resolver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// Settings say how a resolver is set, for the record: what an auditor needs to know beside a lookup's own account.
type Settings struct {
	// Mode is "iterative", from the root's servers, or "upstream".
	Mode string `json:"mode"`
	// Anchors are the trust anchors in force, in presentation format.
	Anchors []string `json:"anchors"`
	// Algorithms are the numbers of the supported algorithms, in order.
	Algorithms []int `json:"algorithms"`
	// Slack is how far the clock may be off when signature times are compared, in seconds.
	Slack int `json:"slack"`
	// Limits are those of docs/design.md's DNSSEC section, each under its name.
	Limits map[string]int `json:"limits"`
	// Timeout bounds one lookup, CacheCap the memory of delegations and keys; in seconds.
	Timeout  float64 `json:"timeout"`
	CacheCap float64 `json:"cache_cap"`
	// QnameMinimisation tells whether RFC 9156 is on.
	QnameMinimisation bool `json:"qname_minimisation"`
}

// Modes of a resolver.
const (
	Iterative = "iterative"
	Upstream  = "upstream"
)

// Settings gives what New made of the Config. They are shared, and to be read.
func (r *Resolver) Settings() Settings { return r.settings }

func (c Config) settings() Settings {
	s := Settings{Mode: Iterative, Slack: int(c.Limits.Slack / time.Second), Timeout: c.Timeout.Seconds(),
		CacheCap: c.CacheCap.Seconds(), QnameMinimisation: !c.NoQnameMinimisation,
		Limits: map[string]int{}}
	if c.Upstream.IsValid() {
		s.Mode = Upstream
	}
	for _, n := range slices.Sorted(maps.Keys(c.Algorithms)) {
		s.Algorithms = append(s.Algorithms, int(n))
	}
	for _, a := range c.Anchors {
		s.Anchors = append(s.Anchors, strings.ReplaceAll(a.String(), "\t", " "))
	}
	for _, f := range c.Limits.named() {
		s.Limits[f.key] = *f.value
	}
	return s
}

// prove adds the stages of one question's proof; those that an earlier alias had in common with it are there already.
func (l *Lookup) prove(stages []dnssec.Stage) {
	if len(l.Proof) == 0 {
		l.Proof = stages
		return
	}
	for _, s := range stages {
		if !slices.Contains(l.Proof, s) {
			l.Proof = append(l.Proof, s)
		}
	}
}

// Prover proves the lookups of a record again.
type Prover struct {
	// Anchors are the auditor's own, not those that the record says were in force. Nil takes dnssec.RootAnchors().
	Anchors []dnssec.Anchor
	// Algorithms and Limits are as for a Resolver; the clock slack in Limits is the one that the record tells.
	Algorithms dnssec.Algorithms
	Limits     dnssec.Limits
	// Memory, if set, spares work that proofs have in common; it changes no result. Where Algorithms is nil, those of the memory hold.
	Memory *dnssec.Memory
}

// Prover gives a prover that takes what this resolver takes.
func (r *Resolver) Prover() Prover {
	return Prover{Anchors: r.config.Anchors, Algorithms: r.config.Algorithms, Limits: r.config.Limits.Limits}
}

// ErrNoProof is a lookup whose status does not rest on records: no server answered, or a limit was reached. Where the lookup has a
// proof of the zones on the way, that holds. Nothing may rest on such a lookup.
var ErrNoProof = errors.New("resolver: nothing proves the status of the lookup")

// Prove works out again, from the octets of the messages and records and from the anchors, what a lookup says that it found:
// its status, response code, answers, TTL and chain of trust. Nil means that all of it follows. Other errors: ErrNoProof for a lookup
// that failed before records were judged; dnssec.ErrProof, wrapped, for a proof that does not hold together; and, for one that
// comes to something else, an error that says what.
func (p Prover) Prove(l Lookup, sets dnssec.Sets) error {
	_, err := p.Explain(l, sets)
	return err
}

// Explain proves a lookup as Prove does, and gives what each stage of its proof amounts to: what held, and in which order it was
// found. Where the error is not nil, the stages are those of a proof that holds as far as it goes, or none.
func (p Prover) Explain(l Lookup, sets dnssec.Sets) ([]dnssec.Found, error) {
	if len(l.Proof) == 0 {
		if l.Status.Usable() {
			return nil, fmt.Errorf("%w, and is said to be %s", dnssec.ErrProof, l.Status)
		}
		return nil, ErrNoProof
	}
	if p.Anchors == nil {
		p.Anchors = dnssec.RootAnchors()
	}
	if p.Algorithms == nil && p.Memory != nil {
		p.Algorithms = p.Memory.Algorithms()
	} else if p.Algorithms == nil {
		p.Algorithms = dnssec.DefaultAlgorithms()
	}
	limits, err := p.Limits.Complete()
	if err != nil {
		return nil, err
	}
	qtype, known := typeOf(l.Type)
	name, err := dnssec.Canonical(l.Name)
	if !known || err != nil || name != l.Name {
		return nil, fmt.Errorf("%w: %q %q is no question", dnssec.ErrProof, l.Name, l.Type)
	}
	for _, q := range l.Queries {
		if q.At.Before(l.Started.Add(-time.Second)) || q.At.After(l.Finished) {
			return nil, fmt.Errorf("%w: a query was sent outside of the lookup's time", dnssec.ErrProof)
		}
	}
	got, err := dnssec.Prover{Anchors: p.Anchors, Algorithms: p.Algorithms, Limits: limits, Memory: p.Memory}.Prove(dnssec.Question{
		Name: name, Type: qtype, Started: l.Started, Finished: l.Finished, Response: l.response}, l.Proof, sets)
	if errors.Is(err, dnssec.ErrUnfinished) && !l.Status.Usable() {
		if err := l.compareChain(got); err != nil {
			return got.Stages, err
		}
		return got.Stages, fmt.Errorf("%w: %s", ErrNoProof, l.Why)
	}
	if err != nil {
		return nil, err
	}
	return got.Stages, l.compare(got)
}

// typeOf reads a mnemonic, or TYPE and a number (RFC 3597 section 5) for a type that has none.
func typeOf(s string) (uint16, bool) {
	if t, ok := dns.StringToType[s]; ok {
		return t, true
	}
	number, ok := strings.CutPrefix(s, "TYPE")
	t, err := strconv.ParseUint(number, 10, 16)
	return uint16(t), ok && err == nil && dns.Type(t).String() == s
}

// response reads the response to a query of the account, under the rules of the moment when it came.
func (l Lookup) response(n int) (*dns.Msg, error) {
	if n < 1 || n > len(l.Queries) {
		return nil, fmt.Errorf("there is no query %d", n)
	}
	q := l.Queries[n-1]
	sent := new(dns.Msg)
	if err := sent.Unpack(q.Query); err != nil || len(sent.Question) != 1 {
		return nil, fmt.Errorf("query %d is no DNS message: %w", n, err)
	}
	m, err := accept(q.Response, sent)
	if err != nil && !(errors.Is(err, errCase) && q.Transport == "tcp") {
		return nil, fmt.Errorf("query %d: %w", n, err)
	}
	switch {
	case m.Truncated:
		return nil, fmt.Errorf("query %d: %w", n, errTrunc)
	case !m.Authoritative && l.Upstream == "":
		return nil, fmt.Errorf("query %d: the server is not authoritative", n)
	case !speaks(m.Rcode):
		return nil, fmt.Errorf("query %d: the response code is %s", n, rcodeName(m.Rcode))
	}
	return m, nil
}

func (l Lookup) differ(what string, said, found any) error {
	return fmt.Errorf("resolver: the record of %s %s says that the %s is %v, and the proof comes to %v", l.Name, l.Type, what, said,
		found)
}

func (l Lookup) compare(got dnssec.Proven) error {
	if v := got.Verdict; v.Status != l.Status {
		return l.differ("status", l.Status, v.Status)
	} else if v.Reason.Code != l.Code {
		return l.differ("reason", l.Code, v.Reason.Code)
	}
	if err := l.compareChain(got); err != nil {
		return err
	}
	if !l.Status.Usable() {
		return nil
	}
	if rcode := rcodeName(got.Rcode); rcode != l.Rcode {
		return l.differ("response code", l.Rcode, rcode)
	}
	var answers []string
	for _, rrs := range [][]dns.RR{got.Aliases, got.Records} {
		for _, rr := range rrs {
			answers = append(answers, rr.String())
		}
	}
	if !slices.Equal(answers, l.Answers) {
		return l.differ("answer", l.Answers, answers)
	}
	if got.TTL != l.TTL {
		return l.differ("TTL", l.TTL, got.TTL)
	}
	return nil
}

// compareChain holds the chain that is shown to people to what is proven.
func (l Lookup) compareChain(got dnssec.Proven) error {
	for _, link := range l.Chain {
		if err := compareLink(link, got.Zones); err != nil {
			return err
		}
	}
	return nil
}

// compareLink holds a link of the chain that is shown to people to the zones that are proven.
func compareLink(l Link, zones []dnssec.ProvenZone) error {
	i := slices.IndexFunc(zones, func(z dnssec.ProvenZone) bool { return z.Zone == l.Zone })
	if i < 0 {
		if l.Result == dnssec.Secure {
			return fmt.Errorf("%w: the keys of the zone %s are not in it", dnssec.ErrProof, l.Zone)
		}
		return nil
	}
	z := zones[i]
	if l.Result != z.Verdict.Status || !slices.Equal(l.DS, z.DS) || !slices.Equal(l.DNSKEY, z.Keys) ||
		(l.Algorithm != "" && l.Algorithm != dnssec.AlgorithmName(z.Algorithm)) || !l.Until.Equal(z.Until) {
		z.Verdict.Proof = nil // an address in memory says nothing
		return fmt.Errorf("resolver: the record gives the zone %s as %+v, and the proof as %+v", l.Zone, l, z)
	}
	return nil
}
