package mpic

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/va"
)

// Defaults and limits of permits.
const (
	DefaultPermitLifetime = time.Hour
	// MaxPermitLifetime is the least time for which CAA is good (CAA-05).
	MaxPermitLifetime = 8 * time.Hour
	// MaxPermitNames is how many names one permit may have.
	MaxPermitNames = 100

	// maxAccount is how much of an account URI is kept, which va.AdmitAccount refuses where it is longer.
	maxAccount = 2048
	// leastLife is for how long the evidence of a permit must still be good: one that expires at once is of no use.
	leastLife = time.Minute
	// defaultRechecks is how many names of one permit have their CAA checked at once.
	defaultRechecks = 8
)

// PermitsConfig says what permits are made with. All but Now, Logger, Lifetime and Rechecks is required.
type PermitsConfig struct {
	// Coordinator checks CAA again where it is stale. It is the gate's own, so that this passes the same rules as all else (C8).
	Coordinator *Coordinator
	Ledger      Ledger
	// Signer signs permits: Ed25519, or ECDSA on P-256. It is a key of its own, for nothing else.
	Signer crypto.Signer
	// Now is the gate's clock. Default: time.Now.
	Now func() time.Time
	// Logger gets one line per permit and certificate. Default: nothing is logged.
	Logger *slog.Logger
	// Lifetime is how long a permit is good at most; 1 min to 8 h. Default (0): 1 h.
	Lifetime time.Duration
	// Rechecks is how many names of one permit have their CAA checked at once; 1 to 100. Default (0): 8.
	Rechecks int
}

// Permits makes permits before issuance, and links certificates to them afterwards. Its methods may be called concurrently.
type Permits struct {
	config PermitsConfig
	signer *permitSigner
}

// Permit is what a request for one came to. Only a granted one has a Token, and the token alone is a permit.
type Permit struct {
	PermitRecord
	Token string `json:"token,omitempty"`
}

// NewPermits refuses a configuration that lacks something or has an impossible value.
func NewPermits(c PermitsConfig) (*Permits, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Lifetime == 0 {
		c.Lifetime = DefaultPermitLifetime
	}
	if c.Rechecks == 0 {
		c.Rechecks = defaultRechecks
	}
	switch {
	case c.Coordinator == nil || c.Ledger == nil:
		return nil, errors.New("mpic: permits need a coordinator and a ledger")
	case c.Lifetime < leastLife || c.Lifetime > MaxPermitLifetime:
		return nil, fmt.Errorf("mpic: a permit's lifetime of %s: it must lie between %s and %s", c.Lifetime, leastLife,
			MaxPermitLifetime)
	case c.Rechecks < 1 || c.Rechecks > MaxPermitNames:
		return nil, fmt.Errorf("mpic: %d rechecks at once: they must be 1 to %d", c.Rechecks, MaxPermitNames)
	}
	signer, err := newPermitSigner(c.Signer)
	if err != nil {
		return nil, err
	}
	return &Permits{config: c, signer: signer}, nil
}

// Key is the thumbprint (RFC 7638) of the key that signs permits.
func (p *Permits) Key() string { return p.signer.header.KeyID }

// clock gives the time as the record will hold it.
func (p *Permits) clock() time.Time { return p.config.Now().UTC().Round(0) }

// Permit decides whether a certificate may be issued for names upon the evidence of an account, checks CAA again with quorum
// where it is stale, and returns when the answer is on record (REC-05). names are 1 to 100 identifiers, each once, in A-labels and
// lower case; the set asked for is the set decided on (C1). A refusal is no error: it has OutcomeRefused, and a problem for each
// name concerned.
//
// An error means no: ErrShadow, ErrRequest (no caller, or a number of names that no permit has), ErrUnread, ErrRecord, ErrAuditLog, ErrClosed, ErrBusy, or ctx's.
func (p *Permits) Permit(ctx context.Context, caller, account string, names []string) (Permit, error) {
	return p.PermitWithin(ctx, caller, account, names, func() (func(), bool) { return func() {}, true })
}

// Places gives a caller one more place of its share, or false where none is free. leave gives it back.
type Places func() (leave func(), ok bool)

// PermitWithin is Permit for a caller that has a share of the gate: where CAA of more than one name is checked again at a time, each beyond the first
// takes a place of that share. Where none is free, names are checked one after the other.
func (p *Permits) PermitWithin(ctx context.Context, caller, account string, names []string, more Places) (Permit, error) {
	if p.config.Coordinator.config.Shadow { // also where there is evidence of a time at which the gate was no shadow
		return Permit{}, ErrShadow
	}
	if caller == "" || len(names) == 0 || len(names) > MaxPermitNames {
		return Permit{}, fmt.Errorf("%w: a permit is for a caller and for 1 to %d names", ErrRequest, MaxPermitNames)
	}
	at := p.clock()
	names = slices.Clone(names) // the caller's may change while CAA is checked
	r := PermitRecord{ID: rand.Text(), Caller: caller, Requested: at,
		Account:  strings.ToValidUTF8(account[:min(len(account), maxAccount)], "\uFFFD"),
		Software: p.config.Coordinator.config.Software, Requirements: Requirements, Key: p.Key()}
	log := p.config.Logger.With("permit", r.ID, "account", r.Account, "caller", caller)
	if r.Problem = va.AdmitAccount(account); r.Problem == nil {
		var refused bool
		if r.Names, refused = admitNames(names); !refused {
			var err error
			if r.Names, at, err = p.decide(ctx, caller, account, names, more); err != nil {
				return Permit{}, err
			}
		}
	} else {
		for _, name := range names {
			r.Names = append(r.Names, PermitName{Name: cutName(name)})
		}
	}
	p.close(&r, names, at)
	return p.record(ctx, log, r)
}

// admitNames refuses what no certificate can have, and a name that is there twice.
func admitNames(names []string) (out []PermitName, refused bool) {
	seen := map[string]bool{}
	for _, name := range names {
		n := PermitName{Name: cutName(name), Problem: va.AdmitName(name)}
		if n.Problem == nil && seen[name] {
			n.Problem = permitProblem("permit.duplicate", n.Name, "%s is asked for twice", n.Name)
		}
		seen[name] = true
		refused = refused || n.Problem != nil
		out = append(out, n)
	}
	return out, refused
}

// decide finds the evidence of each name, and gives the time at which it was good: after the last recheck.
func (p *Permits) decide(ctx context.Context, caller, account string, names []string, more Places) ([]PermitName, time.Time, error) {
	first, at, err := p.rely(ctx, account, names)
	if err != nil {
		return nil, at, err
	}
	stale := staleAlone(first)
	if len(stale) == 0 {
		return permitNames(first), at, p.confirm(ctx, first)
	}
	refusals, err := p.recheck(ctx, caller, account, stale, more)
	if err != nil {
		return nil, at, err
	}
	again, at, err := p.rely(ctx, account, names)
	if err != nil {
		return nil, at, err
	}
	for i, r := range again {
		// What was refused a moment ago is not permitted by what was found before.
		if refusal := refusals[r.Name]; refusal != nil {
			again[i].CAA, again[i].Problem = nil, refusal
		}
	}
	return permitNames(again), at, p.confirm(ctx, again)
}

// confirm has the evidence that was chosen worked out again from its records, each once: nothing is permitted upon a copy (D5).
func (p *Permits) confirm(ctx context.Context, all []Reliance) error {
	done := map[int64]bool{}
	for _, r := range all {
		for _, e := range []*Relied{r.DCV, r.CAA} {
			if r.Problem != nil || e == nil || done[e.Number] {
				continue
			}
			done[e.Number] = true
			if err := p.config.Ledger.Confirm(ctx, *e); err != nil {
				return fmt.Errorf("%w: the evidence of %s, record %d: %w", ErrUnread, r.Name, e.Number, err)
			}
		}
	}
	return nil
}

func (p *Permits) rely(ctx context.Context, account string, names []string) ([]Reliance, time.Time, error) {
	covering := map[string]bool{}
	var asked []string
	for _, name := range names {
		for _, c := range CoveringNames(name) {
			if !covering[c] {
				covering[c] = true
				asked = append(asked, c)
			}
		}
	}
	candidates, err := p.config.Ledger.Evidence(ctx, account, asked)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: evidence of %s: %w", ErrUnread, account, err)
	}
	at := p.clock()
	want := Wanted{Names: names, Account: account, Issuers: p.config.Coordinator.config.Issuers, At: at, Until: at.Add(leastLife)}
	return Rely(want, candidates), at, nil
}

// staleAlone gives the names that lack nothing but fresh CAA; none where another name lacks more, because then no CAA changes the
// answer.
func staleAlone(all []Reliance) []Reliance {
	var out []Reliance
	for _, r := range all {
		switch {
		case r.Problem == nil:
		case r.Problem.Code == "permit.caa-stale":
			out = append(out, r)
		default:
			return nil
		}
	}
	return out
}

// recheck has CAA checked with quorum, a few names side by side, each as an attempt of its own. It gives the refusals by name. An
// error of one is one of all.
func (p *Permits) recheck(ctx context.Context, caller, account string, stale []Reliance, more Places) (map[string]*va.Problem, error) {
	problems, errs := make([]*va.Problem, len(stale)), make([]error, len(stale))
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(stale)); i = next.Add(1) - 1 {
			problems[i], errs[i] = p.recheckOne(ctx, caller, account, stale[i])
		}
	}
	var all sync.WaitGroup
	for range min(p.config.Rechecks, len(stale)) - 1 {
		leave, ok := more()
		if !ok {
			break
		}
		all.Go(func() {
			defer leave()
			work()
		})
	}
	work()
	all.Wait()
	refusals := map[string]*va.Problem{}
	for i, s := range stale {
		refusals[s.Name] = problems[i]
	}
	return refusals, errors.Join(errs...)
}

func (p *Permits) recheckOne(ctx context.Context, caller, account string, s Reliance) (problem *va.Problem, err error) {
	defer func() {
		if v := recover(); v != nil { // nobody above its goroutine could
			err = fmt.Errorf("mpic: checking CAA of %s again broke down: %v", s.Name, v)
		}
	}()
	result, err := p.config.Coordinator.Validate(ctx, CAARecheck, caller, va.Request{Identifier: s.Name, Method: s.DCV.Method, AccountURI: account})
	if err != nil {
		return nil, fmt.Errorf("mpic: checking CAA of %s again: %w", s.Name, err)
	}
	if !result.Decision.Granted() {
		problem = refusedCAA(s.Name, result)
	}
	return problem, nil
}

func refusedCAA(name string, r Result) *va.Problem {
	why := "it was not granted"
	if reasons := r.Decision.Reasons(); len(reasons) > 0 {
		why = reasons[0].Detail
	}
	p := permitProblem("permit.caa-refused", name, "CAA of %s was checked again (record %d), and does not permit: %s",
		name, r.Number, why)
	p.Type = "CAA"
	return p
}

// permitNames gives the form of the record. Where one name has no evidence, the others' is told too.
func permitNames(all []Reliance) []PermitName {
	out := make([]PermitName, len(all))
	for i, r := range all {
		out[i] = PermitName{Name: r.Name, Problem: r.Problem}
		if d := r.DCV; d != nil {
			out[i].DCV = &PermitDCV{Attempt: d.Attempt, Number: d.Number, SHA256: d.SHA256, Method: d.Method, Scope: d.Scope,
				AuthorizationDomainName: d.AuthorizationDomainName, Validated: d.Checked.UTC(), ReusableUntil: d.ReusableUntil.UTC()}
		}
		if c := r.CAA; c != nil {
			out[i].CAA = &PermitCAA{Attempt: c.Attempt, Number: c.Number, SHA256: c.SHA256, Checked: c.Checked.UTC(),
				FreshUntil: c.CAAFreshUntil.UTC()}
		}
	}
	return out
}

// close sets outcome and times; at is when the evidence was good. It grants nothing but the very set that was asked for (C1), each
// name with its evidence. The permit ends with the first of that, and in whole seconds, as its token says it.
func (p *Permits) close(r *PermitRecord, asked []string, at time.Time) {
	r.Issued, r.Outcome = at.Truncate(time.Second), OutcomeRefused
	lacks := func(n PermitName) bool { return n.Problem != nil || n.DCV == nil || n.CAA == nil }
	if r.Problem != nil || !sameNames(asked, r.Names) || slices.ContainsFunc(r.Names, lacks) {
		return
	}
	expires := r.Issued.Add(p.config.Lifetime)
	for _, n := range r.Names {
		expires = earlier(expires, earlier(n.DCV.ReusableUntil, n.CAA.FreshUntil))
	}
	r.Outcome, r.Expires = OutcomeGranted, expires.Truncate(time.Second)
}

// record has the Ledger keep the permit, and signs it only then. It is kept also where the caller has gone.
func (p *Permits) record(ctx context.Context, log *slog.Logger, r PermitRecord) (Permit, error) {
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	number, err := p.config.Ledger.RecordPermit(recording, r)
	if err != nil { // REC-05
		return Permit{}, fmt.Errorf("%w: permit %s: %w", ErrRecord, r.ID, err)
	}
	r.Number = number
	if err := p.toldPermit(r); err != nil {
		return Permit{}, err
	}
	log = log.With("record", number, "names", len(r.Names))
	if r.Outcome != OutcomeGranted {
		log.Info("permit refused")
		return Permit{PermitRecord: r}, nil
	}
	token, err := p.signer.sign(r)
	if err != nil {
		return Permit{}, fmt.Errorf("mpic: permit %s is on record and could not be signed: %w", r.ID, err)
	}
	log.Info("permit granted", "expires", r.Expires)
	return Permit{PermitRecord: r, Token: token}, nil
}

// sameNames tells whether a permit has the names asked for, no more and no fewer, in their order.
func sameNames(asked []string, names []PermitName) bool {
	return slices.EqualFunc(asked, names, func(a string, n PermitName) bool { return a == n.Name })
}

// Find gives a caller's own permit, without its token. ErrNoPermit where there is none, ErrUnread where it cannot be told.
func (p *Permits) Find(ctx context.Context, caller, id string) (Permit, error) {
	r, err := p.find(ctx, caller, id)
	return Permit{PermitRecord: r}, err
}

func (p *Permits) find(ctx context.Context, caller, id string) (PermitRecord, error) {
	r, err := p.config.Ledger.FindPermit(ctx, id)
	switch {
	case errors.Is(err, ErrNoPermit):
		return PermitRecord{}, err
	case err != nil:
		return PermitRecord{}, fmt.Errorf("%w: permit %s: %w", ErrUnread, id, err)
	case caller == "" || r.Caller != caller || r.ID != id: // that another's exists is nobody else's business
		return PermitRecord{}, ErrNoPermit
	}
	return r, nil
}
