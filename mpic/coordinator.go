package mpic

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate/va"
)

// Defaults and limits of Config.
const (
	DefaultDeadline     = 20 * time.Second
	DefaultRefusalGrace = 2 * time.Second
	DefaultMaxInFlight  = 256
	DefaultMaxWaiting   = 256

	minDeadline = time.Second
	maxDeadline = 5 * time.Minute
	// maxTrace bounds Call.Trace.
	maxTrace = 256
	// recordTime bounds one call of the Journal. It starts anew when the attempt's own deadline is over.
	recordTime = 10 * time.Second
	// mostWait bounds how long an attempt waits for its turn: who asks has a deadline, too, and one that is near helps nobody.
	mostWait = 5 * time.Second
	// lateQuestions are those whose attempts are decided already. A remote that is silent has as many as attempts are granted within a
	// deadline, each with a connection and some goroutines: without a bound it would use up the gate's memory and sockets.
	lateQuestions = 1024
)

var (
	// ErrRecord: the Journal could not keep what it must keep, so the answer is no (REC-05).
	ErrRecord = errors.New("mpic: the record could not be written")
	// ErrRequest: the call itself is wrong: no kind, no caller, no method. It has no form that could be recorded, and a front
	// refuses it before it comes here.
	ErrRequest = errors.New("mpic: not a request for a validation")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("mpic: the coordinator is closed")
	// ErrBusy: as many attempts run and wait as may, or this one waited for its turn in vain. Nothing was begun; the caller may come again.
	ErrBusy = errors.New("mpic: too many attempts are under way")
	// ErrShadow: the gate runs in the shadow of another system, and answers for no issuance.
	ErrShadow = errors.New("mpic: the gate runs in the shadow of another system, which answers in its place")
)

// Config says with whom and how a Coordinator works.
type Config struct {
	// Roster is the CA's knowledge of its perspectives. It must meet the rules in force.
	Roster Roster
	// Primary is the gate's own checker, in the gate's own process (MPIC-12). It is a concrete type on purpose: nothing that
	// speaks to another machine can stand in its place.
	Primary *va.Checker
	// Remotes has the roster's remotes, in the roster's order.
	Remotes []Remote
	// Cohort says how many of them take part in each attempt. Default: all.
	Cohort  Cohort
	Journal Journal
	// Issuers are the CA's Issuer Domain Names (BR 3.2.2.8) in lower case; one at least.
	Issuers []string
	// CAALookupFailure is what a failed CAA lookup counts for, at the primary and at the remotes. Default: never permission.
	CAALookupFailure va.FailureRule
	// Subtree lets a dns-01 validation be relied upon for the names below the one validated, as BR 3.2.2.4.7 does. Default: for
	// that name alone, or for a wildcard and its base (D4).
	Subtree bool
	// Software is the gate's program and version, for the record.
	Software string
	// Configuration is the SHA-256 of the gate's configuration file, in hexadecimal, for the record; empty for none.
	Configuration string
	// Now is the gate's clock. Default: time.Now.
	Now func() time.Time
	// Logger gets one line per attempt and one per fault, each with the attempt's identifier. Default: nothing is logged.
	Logger *slog.Logger
	// AuditLog gets one line for each answer, those of Permits too; nil for none.
	AuditLog AuditLog
	// Metrics count attempts, replies and quorums; nil counts nothing. They are one Coordinator's alone.
	Metrics *Metrics
	// Shadow makes the whole gate a shadow's: it carries out the calls of a Shadow and dry runs, and refuses all else with ErrShadow, so
	// that no front and no permit can rest on what it decides.
	Shadow bool
	// Refused, if set, is told each refused attempt once its record is durable. The answer waits for it, so that it returns at once.
	Refused func(Result)
	// Deadline bounds an attempt, from its start to its decision; 1 s to 5 min. Default: 20 s.
	Deadline time.Duration
	// GrantGrace is how long a decision waits for stragglers when it is certain to be granted. Default: 0.
	GrantGrace time.Duration
	// RefusalGrace is how long it waits when it can no longer be granted, so that the record has each perspective's view
	// (CAA-08). Default (0): 2 s, or the deadline if that is less.
	RefusalGrace time.Duration
	// MaxInFlight is how many attempts run at once; more wait for their turn. Default (0): 256.
	MaxInFlight int
	// MaxWaiting is how many wait, in the order in which they came and for 5 s at most; what is more gets ErrBusy at once. Default (0): 256.
	MaxWaiting int
}

// Coordinator carries out attempts: it asks the primary and the remotes, has Judge decide, and has the Journal keep.
// Its methods may be called concurrently.
type Coordinator struct {
	config Config
	// check is the primary's Check. Tests of this package put another function here; nobody else can.
	check func(context.Context, va.Probe) va.Report
	slots chan struct{}
	// waiting is how many wait for one of the slots.
	waiting atomic.Int64
	rules   string
	// remotes has Config.Remotes by their names.
	remotes map[string]*line
	// mostLate is how many questions to one remote may be unanswered beyond those of the attempts in flight. It is lateQuestions but in tests
	// of this package.
	mostLate int

	mu     sync.Mutex
	closed bool
	// work counts attempts in flight, and asked perspectives that have not returned.
	work sync.WaitGroup
}

// line is a remote, and how many questions to it are unanswered.
type line struct {
	Remote
	unanswered atomic.Int64
}

// Result is what one attempt came to.
type Result struct {
	// Number is the record's.
	Number   int64
	Evidence Evidence
	Decision Decision
}

// New refuses a configuration that cannot meet the rules in force today, and logs a warning when it will not meet those
// of the next date known.
func New(c Config) (*Coordinator, error) {
	if c.Primary == nil {
		return nil, errors.New("mpic: there is no primary perspective (MPIC-12)")
	}
	return newCoordinator(c, c.Primary.Check)
}

func newCoordinator(c Config, check func(context.Context, va.Probe) va.Report) (*Coordinator, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	if c.RefusalGrace == 0 {
		c.RefusalGrace = min(DefaultRefusalGrace, c.Deadline)
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = DefaultMaxWaiting
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Roster.Remotes = slices.Clone(c.Roster.Remotes)
	c.Remotes = slices.Clone(c.Remotes)
	c.Issuers = slices.Clone(c.Issuers)
	o := OutlookOn(c.Roster, c.Cohort, c.Now())
	for _, p := range o.NextBreaks {
		c.Logger.Warn("the roster does not meet the next rules", "from", o.Next.Format(time.DateOnly), "code", p.Code,
			"rules", p.Rules, "detail", p.Detail)
	}
	remotes := map[string]*line{}
	for _, r := range c.Remotes {
		remotes[r.Member().Name] = &line{Remote: r}
	}
	return &Coordinator{config: c, check: check, slots: make(chan struct{}, c.MaxInFlight), rules: RulesDigest(), remotes: remotes,
		mostLate: lateQuestions}, nil
}

// validate gives all that is wrong, so that an operator mends it in one go.
func (c Config) validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf("mpic: "+format, args...)) }
	if c.Journal == nil {
		refuse("there is no journal (REC-05)")
	}
	if c.Software == "" {
		refuse("the software has no name for the record")
	}
	if c.Deadline < minDeadline || c.Deadline > maxDeadline {
		refuse("a deadline of %s: it must lie between %s and %s", c.Deadline, minDeadline, maxDeadline)
	}
	if c.GrantGrace < 0 || c.GrantGrace > c.Deadline {
		refuse("a grant grace of %s: it must lie between 0 and the deadline, %s", c.GrantGrace, c.Deadline)
	}
	if c.RefusalGrace < 0 || c.RefusalGrace > c.Deadline {
		refuse("a refusal grace of %s: it must lie between 0 and the deadline, %s", c.RefusalGrace, c.Deadline)
	}
	if _, err := c.CAALookupFailure.MarshalText(); err != nil {
		refuse("%w", err)
	}
	if c.MaxInFlight < 0 {
		refuse("%d attempts in flight: at least 1 is needed", c.MaxInFlight)
	}
	if c.MaxWaiting < 0 {
		refuse("%d attempts that wait: at least 1 is needed", c.MaxWaiting)
	}
	if len(c.Issuers) == 0 {
		refuse("no issuer domain name is configured; without one no CAA record could permit")
	}
	for _, name := range c.Issuers {
		if !validIssuer(name) {
			refuse("issuer domain name %q: it is not in lower case, or not by RFC 8659 section 4.2", name)
		}
	}
	if len(c.Remotes) != len(c.Roster.Remotes) {
		refuse("%d remotes are connected, the roster has %d", len(c.Remotes), len(c.Roster.Remotes))
	}
	for i, m := range c.Roster.Remotes {
		switch {
		case i >= len(c.Remotes):
		case c.Remotes[i] == nil:
			refuse("remote %s has no connection", m.Name)
		case c.Remotes[i].Member() != m: // F8, F9: what is checked is what is asked
			refuse("remote %s of the roster is connected to another member, %s", m.Name, c.Remotes[i].Member().Name)
		}
	}
	for _, p := range c.Cohort.Check(c.Roster, c.Now()) {
		refuse("roster: %w", p)
	}
	return errors.Join(errs...)
}

// validIssuer holds a name to the grammar of issuer-domain-name in RFC 8659 section 4.2, in lower case.
func validIssuer(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !validMemberName(label) || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
	}
	return true
}

// Call is what a front asks for.
type Call struct {
	Kind Kind
	// Caller is who asks, with the front in front: see Attempt.
	Caller string
	// Request is what to check. Its Issuers are put there by the Coordinator.
	Request va.Request
	// Issuers narrows the issuer domain names down to some of the configuration's; empty for all of them. Another one is ErrRequest.
	Issuers []string
	// Demand, Try, Trace and Shadow stand in the attempt.
	Demand Demand
	Try    int
	Trace  string
	Shadow bool
}

// Validate carries out one attempt: see Carry.
func (c *Coordinator) Validate(ctx context.Context, kind Kind, caller string, req va.Request) (Result, error) {
	return c.Carry(ctx, Call{Kind: kind, Caller: caller, Request: req})
}

// Carry carries out one attempt and returns when its record is durable. The decision in Result is the only answer that
// counts; an error means no (ErrRecord, ErrAuditLog, ErrRequest, ErrShadow, ErrClosed, ErrBusy, or ctx's error while it waited for its turn).
//
// The caller gives who it is and what it asks for; the issuer domain names are the configuration's, whatever the request has. A
// caller that goes away does not end an attempt that has begun: it is decided and recorded all the same. Each call is an
// attempt of its own, and nothing of an earlier one counts (MPIC-09, F5). It takes no longer than the deadline and two
// calls of the journal, of 20 s at most each where its database is mute.
func (c *Coordinator) Carry(ctx context.Context, call Call) (result Result, err error) {
	if err := c.config.takes(call); err != nil {
		return Result{}, err
	}
	if err := c.begin(ctx); err != nil {
		return Result{}, err
	}
	defer c.end()

	e, err := c.prepare(call)
	if err != nil {
		return Result{}, err
	}
	log := c.config.Logger.With("attempt", e.Attempt.ID(), "kind", call.Kind.String(), "identifier", call.Request.Identifier,
		"method", call.Request.Method.String(), "caller", call.Caller)
	if call.Trace != "" {
		log = log.With("trace", call.Trace)
	}
	began := time.Now()
	deadline := began.Add(c.config.Deadline)
	c.config.Metrics.begun()
	defer func() { c.config.Metrics.ended(call.Kind, call.Request.Method, result, err, time.Since(began)) }()
	ctx = context.WithoutCancel(ctx)

	opening, cancel := context.WithTimeout(ctx, recordTime)
	number, err := c.config.Journal.Open(opening, e.Attempt, e.Roster)
	cancel()
	if err != nil { // REC-05: nothing was sent
		return Result{}, fmt.Errorf("%w: opening attempt %s: %w", ErrRecord, e.Attempt.ID(), err)
	}
	var q *inquiry
	if len(before(e, e.Attempt.Started)) == 0 {
		q = c.ask(ctx, log, e, deadline)
		e = q.collect()
	} else {
		e.Remotes = notAsked(e.Roster)
	}
	d := Judge(e)

	closing, cancel := context.WithTimeout(ctx, recordTime)
	err = c.config.Journal.Close(closing, e, d)
	cancel()
	if err != nil { // REC-05: whatever the decision was, it is not an answer
		if q != nil {
			q.cancel()
		}
		c.unrecorded(e.Attempt, number)
		return Result{}, fmt.Errorf("%w: closing attempt %s, record %d: %w", ErrRecord, e.Attempt.ID(), number, err)
	}
	if q != nil {
		c.work.Go(q.recordLate)
	}
	logDecision(log, number, d)
	result = Result{Number: number, Evidence: e, Decision: d}
	if c.config.Refused != nil && !d.granted {
		c.config.Refused(result)
	}
	return c.told(result)
}

// takes keeps a shadow's calls and all others apart: one Coordinator never carries out both, so that no decision of a shadow can be
// taken for another's, and a gate in the shadow has nothing to answer with.
func (c Config) takes(call Call) error {
	switch {
	case call.Shadow && !c.Shadow:
		return fmt.Errorf("%w: it is a shadow's, and this gate is none's", ErrRequest)
	case call.Shadow && !call.Kind.shadowed():
		return fmt.Errorf("%w: a shadow's is of the kind %s or %s, and this one of the kind %s", ErrRequest, DCVAlone, CAAAlone, call.Kind)
	case c.Shadow && !call.Shadow && call.Kind != DryRun:
		return ErrShadow
	default:
		return nil
	}
}

// prepare makes the attempt: all that is fixed before the first packet.
func (c *Coordinator) prepare(call Call) (Evidence, error) {
	kind, req := call.Kind, call.Request
	req.Issuers = slices.Clone(c.config.Issuers)
	if len(call.Issuers) > 0 {
		req.Issuers = slices.Clone(call.Issuers)
	}
	for _, name := range req.Issuers {
		if !slices.Contains(c.config.Issuers, name) {
			return Evidence{}, fmt.Errorf("%w: %q is none of this gate's issuer domain names", ErrRequest, name)
		}
	}
	started := c.clock()
	nonce := make([]byte, 16)
	rand.Read(nonce) // crypto/rand.Read returns no error: it ends the program instead
	e := Evidence{
		Attempt: Attempt{Kind: kind, Started: started, Caller: call.Caller, Software: c.config.Software, Rules: c.rules,
			Configuration: c.config.Configuration, Subtree: c.config.Subtree, Demand: call.Demand, Try: call.Try,
			Trace: call.Trace, Shadow: call.Shadow, Probe: va.Probe{
				Attempt: rand.Text(), Nonce: hex.EncodeToString(nonce), Deadline: started.Add(c.config.Deadline), Request: req,
				CAALookupFailure: c.config.CAALookupFailure, CAAAlone: !kind.dcv(), DCVAlone: !kind.caa()}},
	}
	// Where no choice of that size meets the rules of the day, Judge says of the whole roster why.
	roster, ok := c.config.Cohort.choose(c.config.Roster, strings.ToLower(req.FQDN()), call.Try, call.Demand.Remotes, started)
	if !ok {
		roster = c.config.Roster
	}
	e.Roster = Roster{Primary: roster.Primary, Remotes: slices.Clone(roster.Remotes)}
	if _, err := kind.MarshalText(); err != nil {
		return Evidence{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if call.Caller == "" { // REC-03
		return Evidence{}, fmt.Errorf("%w: nobody is named as the caller", ErrRequest)
	}
	if kind.dcv() && req.Method == 0 {
		return Evidence{}, fmt.Errorf("%w: domain control is to be shown, and no method is named", ErrRequest)
	}
	if len(call.Trace) > maxTrace || !utf8.ValidString(call.Trace) {
		return Evidence{}, fmt.Errorf("%w: the caller's identifier of its call is longer than %d octets, or no UTF-8", ErrRequest, maxTrace)
	}
	if e.Attempt.Probe.Digest() == "" {
		return Evidence{}, fmt.Errorf("%w: the method is none, or the token's date is none", ErrRequest)
	}
	return e, nil
}

// clock gives the time as the record will hold it: UTC, and without the monotonic reading that no record keeps.
func (c *Coordinator) clock() time.Time { return c.config.Now().UTC().Round(0) }

func notAsked(r Roster) []Attestation {
	out := make([]Attestation, len(r.Remotes))
	for i, m := range r.Remotes {
		out[i] = Attestation{Perspective: m.Name, State: NotAsked, Problem: &va.Problem{Code: "perspective.not-asked",
			Detail: fmt.Sprintf("the attempt was refused before anything was sent to %s", m.Name)}}
	}
	return out
}

// begin waits for a turn.
func (c *Coordinator) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mpic: the caller went away before the attempt began: %w", err)
	}
	select {
	case c.slots <- struct{}{}:
	default:
		if err := c.queue(ctx); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		<-c.slots
		return ErrClosed
	}
	c.work.Add(1)
	return nil
}

// queue waits for a slot. Those who wait get theirs in order, since a channel serves its senders so, and nobody overtakes them: while one waits
// the channel is full.
func (c *Coordinator) queue(ctx context.Context) error {
	defer c.waiting.Add(-1)
	if c.waiting.Add(1) > int64(c.config.MaxWaiting) {
		return fmt.Errorf("%w: %d in flight, and %d that wait", ErrBusy, c.config.MaxInFlight, c.config.MaxWaiting)
	}
	c.config.Metrics.waiting(1)
	defer c.config.Metrics.waiting(-1)
	enough := time.NewTimer(mostWait)
	defer enough.Stop()
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-enough.C:
		return fmt.Errorf("%w: %d in flight, and its turn did not come within %s", ErrBusy, c.config.MaxInFlight, mostWait)
	case <-ctx.Done():
		return fmt.Errorf("mpic: %d attempts are in flight, and the caller went away: %w", c.config.MaxInFlight, ctx.Err())
	}
}

func (c *Coordinator) end() {
	<-c.slots
	c.work.Done()
}

// Close refuses new attempts and waits until those in flight are decided and each perspective that was asked has
// returned, its late reply recorded; or until ctx ends, whose error it then gives.
func (c *Coordinator) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	done := make(chan struct{})
	go func() {
		c.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("mpic: attempts or perspectives are still at work: %w", ctx.Err())
	}
}

func logDecision(log *slog.Logger, number int64, d Decision) {
	log = log.With("record", number, "dcv", d.dcv.String(), "caa", d.caa.String(), "policy", d.policy.Name())
	for _, v := range d.views {
		if len(v.CAAExcused) > 0 {
			log.Warn("a failed CAA lookup counted as permission", "perspective", v.Perspective, "names", v.CAAExcused)
		}
	}
	if d.granted {
		log.Info("granted")
		return
	}
	codes := make([]string, len(d.reasons))
	for i, p := range d.reasons {
		codes[i] = p.Code
	}
	log.Info("refused", "reasons", codes)
}
