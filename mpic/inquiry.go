package mpic

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// signedLimit is how much of a reply that is not believed is kept, in bytes. A usable one is kept whole: cut, its signature
// could not be verified again (invariant 10).
const signedLimit = 64 << 10

// inquiry is one attempt between its first packet and the last reply. Its fields belong to the goroutine that runs
// Validate, and after the decision to the one that runs recordLate.
type inquiry struct {
	c   *Coordinator
	log *slog.Logger
	// e is what is there so far; from closed on it is the attempt alone.
	e        Evidence
	deadline time.Time
	// open tells which remotes have not replied; awaited counts them and the primary.
	open    []bool
	awaited int
	// views are what those who have replied count for, the primary first: Judge's views, each worked out when its reply comes, so that it
	// can be told early when the decision is certain. The decision itself is Judge's, of all the evidence.
	asked  *asked
	policy Policy
	views  []View
	// timedOut tells that those still open when the evidence was closed had had their full time.
	timedOut bool
	replies  chan reply
	cancel   context.CancelFunc
	// base is the caller's context without its end: the journal's calls descend from it.
	base context.Context
}

// reply is what came of asking one perspective.
type reply struct {
	// remote is the place in the roster; it means nothing for the primary's.
	remote      int
	primary     *PrimaryReport
	attestation Attestation
}

// ask starts the primary and all remotes side by side. All of the attempt's roster is asked, always: the quorum table counts those
// attempted (MPIC-03), so a choice among them would choose the table's row. A cohort was chosen before.
func (c *Coordinator) ask(ctx context.Context, log *slog.Logger, e Evidence, deadline time.Time) *inquiry {
	work, cancel := context.WithDeadline(ctx, deadline)
	q := c.inquire(ctx, log, e, deadline)
	q.cancel = cancel
	probe := e.Attempt.Probe
	for i, m := range e.Roster.Remotes {
		c.work.Go(func() { q.replies <- reply{remote: i, attestation: c.askRemote(work, m, probe)} })
	}
	c.work.Go(func() { q.replies <- reply{primary: c.askPrimary(work, e.Roster.Primary, probe)} })
	return q
}

// inquire makes an inquiry in which everybody is awaited.
func (c *Coordinator) inquire(ctx context.Context, log *slog.Logger, e Evidence, deadline time.Time) *inquiry {
	n := len(e.Roster.Remotes)
	q := &inquiry{c: c, log: log, e: e, deadline: deadline, open: make([]bool, n), awaited: n + 1,
		replies: make(chan reply, n+1), // room for all: no goroutine waits for a reader
		base:    ctx, asked: question(e.Attempt), views: make([]View, n+1)}
	q.policy, _ = PolicyAt(e.Attempt.Started) // before has seen that there is one
	q.e.Remotes = make([]Attestation, n)
	asked := c.clock()
	for i, m := range e.Roster.Remotes {
		q.open[i] = true
		q.e.Remotes[i] = Attestation{Perspective: m.Name, State: Outstanding, Asked: asked,
			Problem: perspectiveProblem("outstanding", "the decision did not need to wait for %s", m.Name)}
	}
	return q
}

// collect takes replies until the decision is certain and its grace is over, all have replied, or the deadline is reached.
// It always waits for the primary: without its findings there is nothing to explain a refusal with.
func (q *inquiry) collect() Evidence {
	deadline := time.NewTimer(time.Until(q.deadline))
	defer deadline.Stop()
	var grace *time.Timer
	var graceOver <-chan time.Time
	for q.awaited > 0 {
		select {
		case r := <-q.replies:
			q.take(r)
		case <-graceOver:
			q.takeArrived()
			return q.closed(Outstanding)
		case <-deadline.C:
			q.takeArrived()
			return q.closed(TimedOut)
		}
		if grace == nil && q.e.Primary != nil {
			if wait, certain := q.certain(); certain {
				grace = time.NewTimer(wait)
				defer grace.Stop()
				graceOver = grace.C
			}
		}
	}
	return q.closed(Outstanding)
}

func (q *inquiry) take(r reply) {
	q.awaited--
	if r.primary != nil {
		q.e.Primary = r.primary
		q.views[0] = q.asked.judgeReport(&r.primary.report, q.e.Roster.Primary.Name, Primary)
		return
	}
	q.open[r.remote] = false
	q.e.Remotes[r.remote] = r.attestation
	q.views[r.remote+1] = q.asked.judgeAttestation(q.e.Roster.Remotes[r.remote], r.attestation)
	if r.attestation.State == Rejected { // F9: an alarm, not a mere non-corroboration
		q.log.Error("a reply was rejected", "perspective", r.attestation.Perspective, "code", r.attestation.Problem.Code,
			"detail", r.attestation.Problem.Detail)
	}
}

// takeArrived takes the replies that lie in the channel, so that chance does not decide between a timer and a reply.
func (q *inquiry) takeArrived() {
	for {
		select {
		case r := <-q.replies:
			q.take(r)
		default:
			return
		}
	}
}

// certain tells whether no reply still awaited can change the outcome, and how long to wait for them all the same. The primary has
// replied. The outcome is certain where it is one whether all that are awaited corroborate or none does.
func (q *inquiry) certain() (wait time.Duration, certain bool) {
	awaited := func(as va.Outcome) (granted bool) {
		views := slices.Clone(q.views)
		for i, open := range q.open {
			if open {
				views[i+1].DCV, views[i+1].CAA = as, as
			}
		}
		return q.granted(views)
	}
	switch {
	case awaited(va.Error):
		return q.c.config.GrantGrace, true
	case awaited(va.Pass):
		return 0, false
	default:
		return q.c.config.RefusalGrace, true
	}
}

// granted tells whether Judge would grant, were these the views.
func (q *inquiry) granted(views []View) bool {
	a := q.e.Attempt
	met := func(of func(View) va.Outcome) bool {
		_, enough, spread := tally(q.policy, a.Demand, q.e.Roster, views, of)
		return of(views[0]) == va.Pass && enough && spread
	}
	return (!a.Kind.dcv() || met(View.dcv)) && (!a.Kind.caa() || met(View.caa))
}

// closed gives the evidence as it stands now. What still lacks a reply gets the state given: no perspective is without an
// account of what became of it (F3). The inquiry keeps none of it, since it may have to wait for a silent remote for long.
func (q *inquiry) closed(state State) Evidence {
	now := q.c.clock()
	q.timedOut = state == TimedOut
	e := q.e
	q.e, q.asked, q.views = Evidence{Attempt: e.Attempt}, nil, nil
	for i, awaited := range q.open {
		if !awaited {
			continue
		}
		e.Remotes[i].State, e.Remotes[i].Closed = state, now
		if state == TimedOut {
			e.Remotes[i].Problem = perspectiveProblem("timeout", "%s gave no answer within %s",
				e.Remotes[i].Perspective, q.c.config.Deadline)
		}
	}
	if e.Primary == nil {
		name := e.Roster.Primary.Name
		e.Primary = &PrimaryReport{report: q.c.failedReport(e.Attempt.Probe, name,
			perspectiveProblem("timeout", "%s, the primary, came to no result within %s", name, q.c.config.Deadline))}
	}
	return e
}

// recordLate waits for the perspectives that the decision did not wait for, and has what they say recorded. A remote that
// was closed as timed out is heard of again only if it did reply.
func (q *inquiry) recordLate() {
	defer q.cancel()
	for ; q.awaited > 0; q.awaited-- {
		r := <-q.replies
		if r.primary != nil {
			q.log.Warn("the primary came to a result after the deadline")
			continue
		}
		a := r.attestation
		if !q.timedOut { // else it is counted as such
			q.c.config.Metrics.reply(a)
		}
		if q.timedOut && a.State != Answered && a.State != Rejected {
			continue
		}
		if err := q.late(a); err != nil { // the attempt is decided, and its record complete without it
			q.log.Error("a late reply could not be recorded", "perspective", a.Perspective, "error", err)
		}
	}
}

// late records one reply. A panic is an error here: nobody above this goroutine could recover it.
func (q *inquiry) late(a Attestation) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("mpic: the journal broke down: %v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(q.base, recordTime)
	defer cancel()
	return q.c.config.Journal.Late(ctx, q.e.Attempt, a)
}

// askPrimary runs the gate's own checker (MPIC-12). What it reports is judged as the record will give it back.
func (c *Coordinator) askPrimary(ctx context.Context, m Member, probe va.Probe) (out *PrimaryReport) {
	defer func() {
		if r := recover(); r != nil {
			out = &PrimaryReport{report: c.failedReport(probe, m.Name,
				perspectiveProblem("panic", "the check at %s, the primary, broke down: %v", m.Name, r))}
		}
	}()
	report, text, err := asRecorded(c.check(ctx, probe))
	if err != nil {
		return &PrimaryReport{report: c.failedReport(probe, m.Name,
			perspectiveProblem("unreadable", "the report of %s, the primary, cannot be recorded: %v", m.Name, err))}
	}
	return &PrimaryReport{report, text}
}

// askRemote asks one remote and holds what it says to what was asked of it. One that leaves as much unanswered as may be is not asked: that
// counts as its silence would.
func (c *Coordinator) askRemote(ctx context.Context, m Member, probe va.Probe) (out Attestation) {
	asked := c.clock()
	defer func() {
		if r := recover(); r != nil {
			out = Attestation{State: Unreachable, Problem: perspectiveProblem("panic", "asking %s broke down: %v", m.Name, r)}
		}
		out.Perspective, out.Asked, out.Closed = m.Name, asked, c.clock()
	}()
	remote, most := c.remotes[m.Name], int64(c.config.MaxInFlight+c.mostLate)
	defer remote.unanswered.Add(-1)
	if remote.unanswered.Add(1) > most {
		return Attestation{State: Unreachable, Problem: perspectiveProblem("unasked", "%d probes to %s are unanswered, and it was not asked another",
			most, m.Name)}
	}
	return vet(m, remote.Attest(ctx, probe))
}

// vet turns an attestation that contradicts itself, or that speaks for another, into a rejected one. F9: who answered is
// settled by the channel; a remote that names another has no answer.
func vet(m Member, a Attestation) Attestation {
	reject := func(code, format string, args ...any) Attestation {
		signed := a.Signed
		if a.Reply != nil {
			signed = a.Reply.signed
		}
		return Attestation{State: Rejected, Problem: perspectiveProblem(code, format, args...), Signed: cut(signed)}
	}
	if a.Perspective != m.Name {
		return reject("identity", "%s was asked, and the answer is by %q", m.Name, a.Perspective)
	}
	switch a.State {
	case Answered:
		if (a.Report == nil && a.Reply == nil && a.Statement == nil) || a.Problem != nil {
			return reject("contradiction", "the answer of %s has no report, or has a problem beside it", m.Name)
		}
		if (a.Statement != nil) != (m.Protocol != Native) || a.Statement != nil && (a.Report != nil || a.Reply != nil || a.Signed != "") {
			return reject("contradiction", "the answer of %s is not in the form of its protocol", m.Name)
		}
		if a.Statement != nil {
			s, err := a.Statement.recorded()
			if err != nil {
				return reject("unreadable", "the answer of %s cannot be recorded: %v", m.Name, err)
			}
			a.Statement = &s
			break
		}
		if a.Signed != "" || (a.Report != nil && a.Reply != nil) {
			return reject("contradiction", "the answer of %s has a report beside it that need not be the one in it", m.Name)
		}
		if a.Reply != nil {
			a.Report, a.Signed = &a.Reply.report, a.Reply.signed
			if err := a.Reply.complete(); err != nil {
				return reject("unreadable", "the report of %s cannot be recorded: %v", m.Name, err)
			}
			break
		}
		report, _, err := asRecorded(*a.Report)
		if err != nil {
			return reject("unreadable", "the report of %s cannot be recorded: %v", m.Name, err)
		}
		a.Report = &report
	case TimedOut, Unreachable, Rejected:
		if a.Report != nil || a.Reply != nil || a.Statement != nil {
			return reject("contradiction", "%s gave a report and the state %q", m.Name, a.State)
		}
		if a.Problem == nil {
			a.Problem = perspectiveProblem("silent", "%s gave no usable answer (%s)", m.Name, a.State)
		}
		if len(a.Problem.Detail) > maxReason {
			p := *a.Problem
			p.Detail = strings.ToValidUTF8(p.Detail[:maxReason], "\uFFFD")
			a.Problem = &p
		}
		a.Signed = cut(a.Signed)
	default: // not-asked and outstanding are the coordinator's own
		return reject("contradiction", "what became of the question to %s is not known (%s)", m.Name, a.State)
	}
	return a
}

func cut(signed string) string { return signed[:min(len(signed), signedLimit)] }

// asRecorded gives a report that nobody signed as it will be read back from the record, and the text of it that it was read from, so that Judge now and the auditor later read
// the same. A report with a value that has no form there (an outcome that is none) is an error, and so is one that comes without
// the DNS records on which its proofs rest. One that was signed is what was read from its signed text: see Reply.
func asRecorded(r va.Report) (out va.Report, text []byte, err error) {
	text, err = r.MarshalJSON()
	if err == nil {
		err = out.UnmarshalJSON(text)
	}
	if err != nil {
		return va.Report{}, nil, err
	}
	return out, text, supply(&out, r.Sets)
}

// supply leaves a report with the records that its proofs rest on, and no others; or with none and an error, where one is missing or
// has another digest.
func supply(r *va.Report, sets dnssec.Sets) error {
	r.Sets = nil
	own := dnssec.Sets{}
	if missing := r.Choose(own, sets); missing != "" {
		return fmt.Errorf("mpic: the report rests on the records %s, which are missing", missing)
	}
	if err := own.Check(); err != nil {
		return err
	}
	r.Sets = own
	return nil
}

// failedReport is the report of a primary that could not make one: what was asked for is an error, never a pass.
func (c *Coordinator) failedReport(probe va.Probe, name string, p *va.Problem) va.Report {
	now := c.clock()
	dcv := va.DCVFinding{Outcome: va.Error, Problem: p, Queried: probe.Request.Queried(), Started: now, Finished: now}
	caa := va.CAAFinding{Outcome: va.Error, Problem: p, Name: probe.Request.FQDN(), FreshUntil: now, Started: now, Finished: now}
	if probe.CAAAlone {
		dcv = va.DCVFinding{Outcome: va.NotChecked, Started: now, Finished: now}
	}
	if probe.DCVAlone {
		caa = va.CAAFinding{Outcome: va.NotChecked, Started: now, Finished: now}
	}
	return va.Report{Perspective: name, Software: c.config.Software, Attempt: probe.Attempt, Nonce: probe.Nonce,
		Digest: probe.Digest(), Started: now, Finished: now,
		DCV: dcv, CAA: caa}
}

func perspectiveProblem(code, format string, args ...any) *va.Problem {
	return &va.Problem{Code: "perspective." + code, Rules: []string{"MPIC-03"}, Detail: fmt.Sprintf(format, args...)}
}
