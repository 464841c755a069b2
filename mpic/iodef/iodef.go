// Package iodef tells the holders of domains that a certificate was refused because of their CAA records, where these have an iodef
// property: by mail and by HTTPS (CAA-09, BR 3.2.2.8, RFC 8659 section 4.4). Each step is on record.
//
// A report is sent at most once. It changes no decision, and no attempt waits for it. Its address comes from the DNS of strangers, so
// that nothing is taken from it but one plain mail address or one URL (target.go), the web is reached by the rules of DCV (va.Post),
// and hours have limits.
package iodef

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Defaults of Config.
const (
	DefaultPerDomain = 5
	DefaultTotal     = 200
	DefaultQueue     = 256
	DefaultTimeout   = 30 * time.Second
	DefaultDrain     = 10 * time.Second
)

const (
	// maxContacts is how many properties of one refusal are reported to.
	maxContacts = 4
	// workers is how many reports are under way at once.
	workers = 4
	// recordTime bounds one call of Records.
	recordTime = 10 * time.Second
	// maxText is how long the CA's addition may be, in octets.
	maxText = 4096
)

// Records keeps notices. Notice returns when the notice is durable; an error means that nothing was written. A second NoticeBegun, or a
// second end, of one property of one attempt is refused.
type Records interface {
	Notice(ctx context.Context, n mpic.Notice) error
}

// Config says how reports are sent.
type Config struct {
	Records Records
	// Mail sends mail; nil: none is sent.
	Mail *Mail
	// Web posts, with the resolver and from the address of the primary; nil: nothing is posted. Roots verify receivers'
	// certificates; nil for the system's.
	Web   *va.Checker
	Roots *x509.CertPool
	// Organization is the CA's name, Contact its mail address, in each report.
	Organization, Contact string
	// Text is what the CA adds to each report; empty for nothing.
	Text string
	// PerDomain is how many reports an hour may have that concern one registered domain: the refused name's or the receiver's. Default
	// (0): 5. Total is how many it may have in all. Default (0): 200.
	PerDomain, Total int
	// Queue is how many refused attempts may wait for their reports. Default (0): 256.
	Queue int
	// Timeout bounds the delivery of one report. Default (0): 30 s. Drain is how long Close lets waiting reports be sent. Default (0): 10 s.
	Timeout, Drain time.Duration
	// Now is the gate's clock. Default: time.Now.
	Now func() time.Time
	// Logger gets a line for each report's end, with the record's number. Default: nothing is logged.
	Logger *slog.Logger
	// Metrics count reports; nil counts nothing.
	Metrics *Metrics
}

// Reporter sends reports. Its methods may be called concurrently.
type Reporter struct {
	config Config
	limits *limits
	// queue has what is to be reported. dropped has those for which it had no room, to be recorded apart from slow deliveries.
	queue, dropped chan job

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
	// base ends when waiting reports are to be sent no longer.
	base context.Context
	cut  context.CancelFunc
}

// job is one refused attempt.
type job struct {
	attempt  string
	number   int64
	domain   string
	contacts []va.Contact
	facts    facts
}

// end is what became of a report.
type end struct {
	outcome      mpic.NoticeOutcome
	code, detail string
	reply        int
	address      string
}

// New refuses a Config that could send nothing, or whose texts do not belong into a mail. Close ends the Reporter.
func New(c Config) (*Reporter, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value *int
		def   int
	}{{&c.PerDomain, DefaultPerDomain}, {&c.Total, DefaultTotal}, {&c.Queue, DefaultQueue}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&c.Timeout, DefaultTimeout}, {&c.Drain, DefaultDrain}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if c.Mail != nil {
		own := *c.Mail
		c.Mail = &own
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	r := &Reporter{config: c, limits: &limits{perDomain: c.PerDomain, total: c.Total}, queue: make(chan job, c.Queue), dropped: make(chan job, c.Queue)}
	r.base, r.cut = context.WithCancel(context.Background())
	for range workers {
		r.work.Go(func() {
			for j := range r.queue {
				r.each(j, r.report)
			}
		})
	}
	r.work.Go(func() {
		for j := range r.dropped {
			r.each(j, r.drop)
		}
	})
	return r, nil
}

func (c *Config) validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf("iodef: "+format, args...)) }
	if c.Records == nil {
		refuse("there are no records to keep notices in")
	}
	if c.Mail == nil && c.Web == nil {
		refuse("reports go neither by mail nor by HTTPS")
	}
	if c.Mail != nil {
		errs = append(errs, c.Mail.validate()...)
	}
	if c.Organization == "" || !printable(c.Organization) || len(c.Organization) > 200 {
		refuse("the organization %q is not a name of 1 to 200 characters in ASCII", c.Organization)
	}
	if a, err := mail.ParseAddress(c.Contact); err != nil || a.Name != "" || a.Address != c.Contact || !printable(c.Contact) {
		refuse("the contact %q is no mail address in ASCII", c.Contact)
	}
	if len(c.Text) > maxText || strings.ContainsFunc(c.Text, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
		refuse("the text has more than %d octets, or control characters other than line feeds", maxText)
	}
	if c.PerDomain < 0 || c.Total < 0 || c.Queue < 0 || c.Timeout < 0 || c.Drain < 0 {
		refuse("a limit is below zero")
	}
	return errors.Join(errs...)
}

// Refused reports a refused attempt, where the primary saw CAA records that forbid and that name somebody to tell. It is for
// mpic.Config.Refused and returns at once: what there is no room for is dropped and counted.
func (r *Reporter) Refused(result mpic.Result) {
	defer r.guard("reading a refused attempt", result.Number)
	finding, code, ok := mpic.Forbidden(result.Evidence, result.Decision.Recorded())
	if !ok {
		return
	}
	contacts := va.Contacts(finding.Records)
	if len(contacts) == 0 {
		return
	}
	a := result.Evidence.Attempt
	req := a.Probe.Request
	j := job{attempt: a.ID(), number: result.Number, domain: va.RegisteredDomain(req.FQDN()), contacts: contacts, facts: facts{
		name: req.Identifier, code: code, issuers: slices.Clone(req.Issuers), started: a.Started, number: result.Number,
		organization: r.config.Organization, contact: r.config.Contact, text: r.config.Text}}
	j.facts.forbade(finding, req)
	r.enqueue(j)
}

func (r *Reporter) enqueue(j job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		for _, q := range []chan job{r.queue, r.dropped} {
			select {
			case q <- j:
				r.config.Metrics.wait(1)
				return
			default:
			}
		}
	}
	r.config.Metrics.lost(len(j.contacts))
	r.config.Logger.Error("reports of a refused request were dropped, and there are too many to record it", "record", j.number,
		"attempt", j.attempt, "reports", len(j.contacts))
}

// each carries out a job. A fault in it ends the job alone.
func (r *Reporter) each(j job, do func(job)) {
	defer r.config.Metrics.wait(-1)
	defer r.guard("reporting a refused attempt", j.number)
	do(j)
}

func (r *Reporter) guard(what string, number int64) {
	if v := recover(); v != nil {
		r.config.Metrics.lost(1)
		r.config.Logger.Error("a fault in the program", "while", what, "record", number, "panic", v, "stack", string(debug.Stack()))
	}
}

// drop records that there was no room for an attempt's reports.
func (r *Reporter) drop(j job) {
	r.over(j, mpic.Notice{Count: len(j.contacts)}, "none", end{outcome: mpic.NoticeDropped, code: "notice.queue",
		detail: fmt.Sprintf("%d refused attempts were waiting for their reports", r.config.Queue)})
}

func (r *Reporter) report(j job) {
	for i, c := range j.contacts[:min(len(j.contacts), maxContacts)] {
		r.one(j, i, c)
	}
	if more := len(j.contacts) - maxContacts; more > 0 {
		r.over(j, mpic.Notice{Position: maxContacts, Count: more}, "none", end{outcome: mpic.NoticeDropped, code: "notice.properties",
			detail: fmt.Sprintf("the records have %d iodef properties, and %d are reported to", len(j.contacts), maxContacts)})
	}
}

// one makes one report. What goes out is on record before its first packet, so that nothing is ever sent a second time.
func (r *Reporter) one(j job, position int, c va.Contact) {
	n := mpic.Notice{Position: position, Property: mpic.NoticeProperty(c.Value)}
	t, code, detail := read(c)
	if code == "" {
		code, detail = r.unserved(t)
	}
	if code != "" {
		r.over(j, n, t.way(), end{outcome: mpic.NoticeUnusable, code: code, detail: detail})
		return
	}
	if r.base.Err() != nil {
		r.over(j, n, t.way(), end{outcome: mpic.NoticeDropped, code: "notice.shutdown", detail: "the gate was shut down before it was sent"})
		return
	}
	if code := r.limits.take(r.clock(), j.domain, t.domain); code != "" {
		r.over(j, n, t.way(), end{outcome: mpic.NoticeDropped, code: code,
			detail: fmt.Sprintf("%d reports an hour are sent that concern %s or %s, and %d in all", r.config.PerDomain, j.domain, t.domain, r.config.Total)})
		return
	}
	f := j.facts
	f.made = r.clock()
	body, err := f.iodef()
	if err == nil && t.url != nil {
		body, err = f.rid(body, t.url.Hostname())
	}
	if err != nil {
		r.over(j, n, t.way(), end{outcome: mpic.NoticeDropped, code: "notice.fault", detail: "the document cannot be made: " + told(err)})
		return
	}
	sum := sha256.Sum256(body)
	n.Report = hex.EncodeToString(sum[:])
	if !r.record(j, n, end{outcome: mpic.NoticeBegun, code: "notice.begun", detail: "it is about to be sent"}) {
		return // REC-05: what is not on record does not go out
	}
	ctx, cancel := context.WithTimeout(r.base, r.config.Timeout)
	defer cancel()
	if t.mail != "" {
		r.over(j, n, t.way(), r.config.Mail.send(ctx, t.mail, f, body))
		return
	}
	r.over(j, n, t.way(), r.post(ctx, t, body))
}

func (r *Reporter) unserved(t target) (code, detail string) {
	switch {
	case t.mail != "" && r.config.Mail == nil:
		return "notice.no-mail", "the gate's configuration has no mail server"
	case t.url != nil && r.config.Web == nil:
		return "notice.no-web", "the gate's configuration posts no reports"
	}
	return "", ""
}

// post sends a report as a message of RFC 6545 over HTTPS (RFC 6546). What the receiver answers with is not read.
func (r *Reporter) post(ctx context.Context, t target, body []byte) end {
	p, problem := r.config.Web.Post(ctx, t.url, "application/xml; charset=utf-8", body, r.config.Roots)
	e := end{outcome: mpic.NoticeFailed, reply: p.Status, address: p.Address}
	switch {
	case problem != nil:
		e.code, e.detail = problem.Code, told(problem)
	case p.Status >= 200 && p.Status < 300:
		e.outcome, e.code, e.detail = mpic.NoticeDelivered, "notice.delivered", fmt.Sprintf("the receiver answered with the status %d", p.Status)
	case p.Status >= 300 && p.Status < 400:
		e.outcome, e.code, e.detail = mpic.NoticeRefused, "notice.http-redirect", fmt.Sprintf("the receiver answered with the status %d, and no redirect is followed", p.Status)
	default:
		e.outcome, e.code, e.detail = mpic.NoticeRefused, "notice.http-status", fmt.Sprintf("the receiver answered with the status %d", p.Status)
	}
	return e
}

// over records the end of a report, and tells operators.
func (r *Reporter) over(j job, n mpic.Notice, way string, e end) {
	r.config.Metrics.ended(way, e.outcome, n.Count)
	if r.record(j, n, e) {
		r.config.Logger.Info("report of a refused request", "record", j.number, "attempt", j.attempt, "way", way, "outcome", string(e.outcome),
			"code", e.code, "detail", e.detail)
	}
}

func (r *Reporter) record(j job, n mpic.Notice, e end) bool {
	n.Attempt, n.Number, n.At = j.attempt, j.number, r.clock()
	n.Outcome, n.Code, n.Detail, n.Reply, n.Address = e.outcome, e.code, e.detail, e.reply, e.address
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), recordTime)
	defer cancel()
	if err := r.config.Records.Notice(ctx, n); err != nil {
		r.config.Metrics.lost(max(n.Count, 1))
		r.config.Logger.Error("a report of a refused request is not on record", "record", j.number, "attempt", j.attempt, "outcome", string(e.outcome),
			"code", e.code, "error", err)
		return false
	}
	return true
}

func (r *Reporter) clock() time.Time { return r.config.Now().UTC().Round(0) }

// Close takes no more, sends what waits for as long as Drain, then cuts off what is under way and records the rest as dropped. It
// returns when all of that is on record, or with ctx's error.
func (r *Reporter) Close(ctx context.Context) error {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.queue)
		close(r.dropped)
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.work.Wait()
		close(done)
	}()
	defer r.cut()
	drain := time.NewTimer(r.config.Drain)
	defer drain.Stop()
	select {
	case <-done:
		return nil
	case <-drain.C:
	case <-ctx.Done():
	}
	r.cut()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("iodef: reports were still being recorded: %w", ctx.Err())
	}
}
