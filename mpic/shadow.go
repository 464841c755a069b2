package mpic

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Shadow carries out attempts beside another system that answers in their place: the incumbent. Its own decision is recorded, marked as
// a shadow's, compared with the incumbent's answer, and used for nothing: no caller is given it.
type Shadow struct {
	config ShadowConfig
	slots  chan struct{}
	work   sync.WaitGroup
	mu     sync.Mutex
	closed bool
}

// ShadowConfig says beside whom.
type ShadowConfig struct {
	Coordinator *Coordinator
	// MaxInFlight is how many attempts run at once; what comes above that is not carried out, and counted as skipped, since the incumbent's
	// answer must not wait. Default (0): 64.
	MaxInFlight int
	// Logger gets one line per comparison: a warning where both disagree. Default: nothing is logged.
	Logger *slog.Logger
	// Metrics count comparisons; nil counts nothing.
	Metrics *ShadowMetrics
}

// DefaultShadowInFlight is MaxInFlight where none is given.
const DefaultShadowInFlight = 64

// Comparison is what came of one.
type Comparison string

const (
	// BothGranted and BothRefused: no disagreement.
	BothGranted Comparison = "both-granted"
	BothRefused Comparison = "both-refused"
	// OnlyIncumbent: it granted what the gate refuses. OnlyGate: the other way round.
	OnlyIncumbent Comparison = "only-incumbent"
	OnlyGate      Comparison = "only-gate"
	// NoIncumbent: it gave no answer. NoGate: the gate came to no decision on record. Skipped: too many ran.
	NoIncumbent Comparison = "no-incumbent"
	NoGate      Comparison = "no-gate"
	Skipped     Comparison = "skipped"
)

// Comparisons lists them.
func Comparisons() []Comparison {
	return []Comparison{BothGranted, BothRefused, OnlyIncumbent, OnlyGate, NoIncumbent, NoGate, Skipped}
}

// ShadowMetrics count comparisons.
type ShadowMetrics struct{ comparisons *prometheus.CounterVec }

// NewShadowMetrics registers them.
func NewShadowMetrics(r prometheus.Registerer) (*ShadowMetrics, error) {
	m := &ShadowMetrics{comparisons: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_shadow_comparisons_total",
		Help: "Decisions beside an incumbent's answers, by what the comparison gave."}, []string{"result"})}
	for _, c := range Comparisons() {
		m.comparisons.WithLabelValues(string(c))
	}
	return m, r.Register(m.comparisons)
}

// NewShadow refuses a configuration without coordinator.
func NewShadow(c ShadowConfig) (*Shadow, error) {
	if c.Coordinator == nil {
		return nil, errors.New("mpic: a shadow needs a coordinator")
	}
	if c.MaxInFlight < 0 {
		return nil, errors.New("mpic: a shadow with fewer than no attempts in flight")
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultShadowInFlight
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Shadow{config: c, slots: make(chan struct{}, c.MaxInFlight)}, nil
}

// Begin starts an attempt and returns at once. Whoever calls it must call the function that it returns once, with the incumbent's answer:
// whether it granted, and an error where it gave no answer; that returns at once too.
//
// MPIC-12: what would make an authorization, or freshen CAA for a permit, is carried out as the kind that asks for the same and makes
// nothing: a dry run, or CAA alone.
func (s *Shadow) Begin(call Call) (answered func(granted bool, err error)) {
	call.Shadow = true
	switch call.Kind {
	case Issuance:
		call.Kind = DryRun
	case CAARecheck:
		call.Kind = CAAAlone
	}
	incumbent := make(chan answer, 1)
	answered = func(granted bool, err error) { incumbent <- answer{granted, err} }
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.slots <- struct{}{}:
	default:
		s.skipped(call)
		return answered
	}
	if s.closed {
		<-s.slots
		s.skipped(call)
		return answered
	}
	s.work.Go(func() {
		defer func() { <-s.slots }()
		r, err := s.config.Coordinator.Carry(context.Background(), call)
		s.compare(call, r, err, <-incumbent)
	})
	return answered
}

type answer struct {
	granted bool
	err     error
}

func (s *Shadow) skipped(call Call) {
	s.count(Skipped)
	s.config.Logger.Warn("a shadow attempt was skipped: too many run", "identifier", call.Request.Identifier, "caller", call.Caller)
}

func (s *Shadow) compare(call Call, r Result, err error, a answer) {
	log := s.config.Logger.With("identifier", call.Request.Identifier, "kind", call.Kind.String(), "caller", call.Caller)
	if call.Trace != "" {
		log = log.With("trace", call.Trace)
	}
	if err != nil {
		s.count(NoGate)
		log.Error("the gate came to no decision beside the incumbent", "error", err, "incumbent_granted", a.granted && a.err == nil)
		return
	}
	log = log.With("attempt", r.Evidence.Attempt.ID(), "record", r.Number)
	result := comparison(r.Decision.Granted(), a)
	s.count(result)
	var reasons []string
	for _, p := range r.Decision.Reasons() {
		reasons = append(reasons, p.Code+": "+p.Detail)
	}
	switch result {
	case NoIncumbent:
		log.Warn("the incumbent gave no answer", "granted", r.Decision.Granted(), "reasons", reasons, "error", a.err)
	case OnlyIncumbent, OnlyGate:
		log.Warn("the gate and the incumbent disagree", "result", string(result), "reasons", reasons)
	default:
		log.Info("the gate and the incumbent agree", "result", string(result))
	}
}

func comparison(granted bool, a answer) Comparison {
	switch {
	case a.err != nil:
		return NoIncumbent
	case granted && a.granted:
		return BothGranted
	case granted:
		return OnlyGate
	case a.granted:
		return OnlyIncumbent
	default:
		return BothRefused
	}
}

func (s *Shadow) count(c Comparison) {
	if s.config.Metrics != nil {
		s.config.Metrics.comparisons.WithLabelValues(string(c)).Inc()
	}
}

// Close starts no attempt any more, and waits until those that run were compared, or until ctx ends, whose error it then gives.
func (s *Shadow) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
