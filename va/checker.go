package va

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Defaults and limits of Config.
const (
	DefaultTimeout     = 15 * time.Second
	DefaultHopTimeout  = 8 * time.Second
	DefaultDialTimeout = 3 * time.Second

	maxTimeout = 5 * time.Minute
	// A probe asks no more once its lookups have brought so many octets, of messages and of the records that their proofs rest on, or have
	// cost so many packets. Each lookup has limits of its own, and how many there are the applicant chooses: one for each label of the
	// name, and two for each redirect. Those under way come to their end.
	probeOctets  = 2 << 20
	probePackets = 2000

	// maxMargin is the most of a probe's time that is kept for the way of the report back to the gate.
	maxMargin = time.Second
)

// Config describes a Checker.
type Config struct {
	// Name is what the perspective calls itself in its reports.
	Name string
	// Software is the program and its version: visible ASCII and spaces. It is in the reports and in the User-Agent field.
	Software string
	// Resolver answers every lookup. It is a concrete type, so that nothing without DNSSEC can stand in its place
	// (DCV-04).
	Resolver *resolver.Resolver
	// SourceAddr is the local address to connect from; the zero Addr lets the host choose. Servers that have only
	// addresses of the other family are then unreachable.
	SourceAddr netip.Addr
	// Now is the perspective's clock. Default: time.Now.
	Now func() time.Time
	// Logger gets one line for each check, with the attempt's identifier. Default: nothing is logged.
	Logger *slog.Logger
	// Timeout bounds one probe. Default: 15 s; at most 5 min. A probe's deadline bounds it further.
	Timeout time.Duration
	// HopTimeout bounds one HTTP request or one TLS handshake, from the first packet of its connection. Default: 8 s.
	HopTimeout time.Duration
	// DialTimeout bounds the connection to one address. Default: 3 s.
	DialTimeout time.Duration
	// World has the doors of a world in a box. In production it is the zero World, and no configuration file, flag or
	// environment reaches it: only cmd/quorate-sandbox and tests set it.
	World World
}

// World says in what an artificial internet differs from the real one. The rules stay: a redirect, say, names port 80
// or 443 or is refused, and the connection goes to the port that stands for it.
type World struct {
	// HTTPPort and TLSPort are where the servers listen that would be at ports 80 and 443. 0 is 80 and 443.
	HTTPPort, TLSPort uint16
	// AllowReserved lets servers stand at Reserved IP Addresses.
	AllowReserved bool
}

// port gives where the Authorized Port 80 or 443 is.
func (w World) port(authorized uint16) uint16 {
	switch {
	case authorized == 80 && w.HTTPPort != 0:
		return w.HTTPPort
	case authorized == 443 && w.TLSPort != 0:
		return w.TLSPort
	}
	return authorized
}

// Checker does the checks of one Network Perspective. It keeps no result between probes (MPIC-07, MPIC-09) and is safe for concurrent
// use.
type Checker struct {
	config Config
	// lookup is the resolver's Lookup. Tests of this package put another function here; nobody else can.
	lookup func(ctx context.Context, name string, qtype uint16) *resolver.Answer
	// patience is MinPatience. Tests of this package are less patient; nobody else can be.
	patience time.Duration
	// found says where CAA records stood, which decides nothing.
	found *found
}

// New refuses a Config without resolver, name or software, and times outside their range.
func New(c Config) (*Checker, error) {
	var errs []error
	if c.Resolver == nil {
		errs = append(errs, errors.New("va: there is no resolver"))
	}
	if c.Name == "" {
		errs = append(errs, errors.New("va: the perspective has no name"))
	}
	if c.Software == "" || !printable(strings.ReplaceAll(c.Software, " ", "")) {
		errs = append(errs, fmt.Errorf("va: the software %q is not a name in visible ASCII", c.Software))
	}
	for _, d := range []struct {
		what  string
		value *time.Duration
		def   time.Duration
	}{
		{"timeout", &c.Timeout, DefaultTimeout},
		{"hop timeout", &c.HopTimeout, DefaultHopTimeout},
		{"dial timeout", &c.DialTimeout, DefaultDialTimeout},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
		if *d.value < 0 || *d.value > maxTimeout {
			errs = append(errs, fmt.Errorf("va: a %s of %s: it must be above 0 and at most %s", d.what, *d.value, maxTimeout))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Checker{config: c, lookup: c.Resolver.Lookup, patience: MinPatience, found: new(found)}, nil
}

// Check carries out one probe, DCV and CAA side by side or CAA alone, and gives a complete report: each finding has an outcome, and
// a problem unless it passed or was not asked for. It ends by the Config's Timeout, a little before the probe's deadline, or when ctx ends,
// whichever is first; a check that is cut short is an Error.
func (c *Checker) Check(ctx context.Context, probe Probe) Report {
	r := Report{Perspective: c.config.Name, Software: c.config.Software, Attempt: probe.Attempt, Nonce: probe.Nonce,
		Digest: probe.Digest(), Started: c.clock()}
	ctx, cancel, refusal := c.begin(ctx, probe, r.Started)
	defer cancel()
	var sets proofSets
	c = c.collecting(&sets)
	log := probeLog{c.config.Logger, probe.Attempt, probe.Request.Identifier}
	var both sync.WaitGroup
	if probe.CAAAlone {
		r.DCV = DCVFinding{Outcome: NotChecked, Started: r.Started, Finished: r.Started}
	} else {
		both.Go(func() { r.DCV = c.checkDCV(ctx, log, probe.Request, refusal) })
	}
	if probe.DCVAlone {
		r.CAA = CAAFinding{Outcome: NotChecked, Started: r.Started, Finished: r.Started}
	} else {
		r.CAA = c.checkCAA(ctx, log, probe.Request, probe.CAALookupFailure, refusal)
	}
	both.Wait()
	if c.config.Resolver != nil {
		r.Resolver = c.config.Resolver.Settings()
	}
	r.Sets = dnssec.Sets{}
	for _, sum := range r.Needs() {
		r.Sets[sum] = sets.all[sum]
	}
	r.Finished = c.clock()
	return r
}

// proofSets gathers the records that the proofs of one probe's lookups rest on, and counts what the lookups cost.
type proofSets struct {
	mu              sync.Mutex
	all             dnssec.Sets
	octets, packets int
}

// spent tells whether the probe asks no more.
func (s *proofSets) spent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.octets > probeOctets || s.packets > probePackets
}

func (s *proofSets) add(a *resolver.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sum, octets := range a.Sets {
		if _, known := s.all[sum]; !known {
			s.all[sum] = octets
			s.octets += len(octets)
		}
	}
	s.packets += len(a.Lookup.Queries)
	for i := range a.Lookup.Queries {
		s.octets += len(a.Lookup.Queries[i].Response)
	}
}

// collecting gives the checker for one probe: c, with an eye on its lookups.
func (c *Checker) collecting(sets *proofSets) *Checker {
	one := *c
	sets.all = dnssec.Sets{}
	one.lookup = func(ctx context.Context, name string, qtype uint16) *resolver.Answer {
		if sets.spent() {
			return c.failed(name, qtype, "dns.limit", "the lookups for this name have brought too much, or cost too many packets, and no more is asked")
		}
		a := c.lookup(ctx, name, qtype)
		if a != nil {
			sets.add(a)
		}
		return a
	}
	return &one
}

// begin sets the time limit, and refuses a probe that is inadmissible or too late.
func (c *Checker) begin(
	ctx context.Context, probe Probe, now time.Time,
) (context.Context, context.CancelFunc, *Problem) {
	if p := probe.Admit(now); p != nil {
		return ctx, func() {}, p
	}
	left := probe.Deadline.Sub(now)
	if left <= 0 {
		return ctx, func() {}, refuse("request.deadline", "the deadline of the probe, %s, has passed or is missing",
			probe.Deadline.UTC().Format(time.RFC3339))
	}
	left -= min(left/10, maxMargin)
	ctx, cancel := context.WithTimeout(ctx, min(left, c.config.Timeout))
	return ctx, cancel, nil
}

// probeLog tells operators of one probe. The attempt and the identifier, where there are any, are on every line.
type probeLog struct {
	*slog.Logger
	attempt, identifier string
}

func (l probeLog) tell(ctx context.Context, level slog.Level, message string, args ...slog.Attr) {
	if !l.Enabled(ctx, level) {
		return
	}
	if l.attempt != "" {
		args = append([]slog.Attr{slog.String("attempt", l.attempt), slog.String("identifier", l.identifier)}, args...)
	}
	l.LogAttrs(ctx, level, message, args...)
}

func (c *Checker) checkDCV(ctx context.Context, log probeLog, req Request, refusal *Problem) (f DCVFinding) {
	f = DCVFinding{Queried: req.Queried(), Started: c.clock()}
	f.Outcome, f.Problem = c.guarded(ctx, log, "DCV", func() (Outcome, *Problem) {
		switch {
		case refusal != nil:
			return Fail, refusal
		case req.Method == HTTP01:
			return c.http01(ctx, req, &f)
		case req.Method == DNS01:
			return c.dns01(ctx, req, &f)
		case req.Method == TLSALPN01:
			return c.tlsALPN01(ctx, req, &f)
		default: // Admit let it through and there is nothing to do it
			return Error, refuse("request.method", "there is no check for %s", req.Method)
		}
	})
	f.Finished = c.clock()
	return f
}

func (c *Checker) checkCAA(
	ctx context.Context, log probeLog, req Request, rule FailureRule, refusal *Problem,
) (f CAAFinding) {
	f = CAAFinding{Name: req.FQDN(), Started: c.clock()}
	f.Outcome, f.Problem = c.guarded(ctx, log, "CAA", func() (Outcome, *Problem) {
		if refusal != nil {
			return Fail, refusal
		}
		return c.caa(ctx, req, rule, &f)
	})
	f.Finished = c.clock()
	return f
}

// guarded carries out a check. A panic becomes the check's Error, and so does a result that says nothing: a report is never
// lost (F3), and the absence of a problem is no pass (F6).
func (c *Checker) guarded(ctx context.Context, log probeLog, what string, check func() (Outcome, *Problem)) (o Outcome, p *Problem) {
	fault := func(why any, stack []byte) {
		log.tell(ctx, slog.LevelError, "a fault in the program", slog.String("check", what), slog.Any("why", why), slog.String("stack", string(stack)))
		o, p = Error, refuse("perspective.panic", "the %s check of %s came to a halt by a fault in the program",
			what, c.config.Name)
	}
	defer func() {
		if v := recover(); v != nil {
			fault(v, debug.Stack())
		}
	}()
	o, p = check()
	switch {
	case o.name() == "" || o == NotChecked || (o == Pass) != (p == nil):
		fault("an outcome that does not go with its problem", nil)
	case p != nil:
		log.tell(ctx, slog.LevelInfo, "checked", slog.String("check", what), slog.String("outcome", o.String()), slog.String("code", p.Code))
	default:
		log.tell(ctx, slog.LevelInfo, "checked", slog.String("check", what), slog.String("outcome", o.String()))
	}
	return o, p
}

// ask does one lookup. It always returns an answer, and one that speaks for the question that was put: anything else
// becomes a failure (C1). name has no trailing dot.
func (c *Checker) ask(ctx context.Context, name string, qtype uint16) (a *resolver.Answer) {
	defer func() {
		if v := recover(); v != nil {
			a = c.broke(name, qtype, v)
		}
	}()
	a = c.lookup(ctx, name, qtype)
	if a == nil || a.Lookup.Name != dns.CanonicalName(name) || a.Lookup.Type != dns.TypeToString[qtype] {
		return c.failed(name, qtype, "dns.failure", "the answer is not one to this question")
	}
	return a
}

// broke is the answer where the program panicked with v.
func (c *Checker) broke(name string, qtype uint16, v any) *resolver.Answer {
	c.config.Logger.Error("the resolver panicked", "name", name, "panic", v, "stack", string(debug.Stack()))
	return c.failed(name, qtype, "perspective.panic", "the resolver came to a halt by a fault in the program")
}

// failed is the answer to a question that nobody was asked, or of which nothing came that may be used.
func (c *Checker) failed(name string, qtype uint16, code, why string) *resolver.Answer {
	now := c.clock()
	return &resolver.Answer{Lookup: resolver.Lookup{Name: dns.CanonicalName(name), Type: dns.TypeToString[qtype],
		Status: dnssec.Failure, Code: code, Why: why, Started: now, Finished: now}}
}

// unusable tells why an answer may not be relied upon; nil when it may (DCV-04).
func unusable(l resolver.Lookup) *Problem {
	if l.Status.Usable() {
		return nil
	}
	code, what := "dns.lookup", "gave no usable answer"
	if l.Status == dnssec.Bogus {
		code, what = "dnssec.bogus", "was answered, and the answer is bogus"
	}
	p := refuse(code, "the lookup of %s %s %s: %s%s", l.Name, l.Type, what, l.Why, inParentheses(l.Code))
	p.Name, p.Type = l.Name, l.Type
	return p
}

func inParentheses(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// clock gives the time as a record holds it: UTC, without monotonic reading.
func (c *Checker) clock() time.Time { return c.config.Now().UTC().Round(0) }

// cut gives at most the first n octets of s, and what is not UTF-8 among them as U+FFFD.
func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "\uFFFD") }
