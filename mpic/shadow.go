package mpic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
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
	// Coordinator is one with Config.Shadow.
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
	// NoIncumbent: it gave no answer. NoGate: the gate came to no decision on record. Skipped: the gate tried none, because too many
	// ran or because it cannot read the request.
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

// NewShadow refuses a configuration without coordinator, and a coordinator whose decisions count for something.
func NewShadow(c ShadowConfig) (*Shadow, error) {
	if c.Coordinator == nil {
		return nil, errors.New("mpic: a shadow needs a coordinator")
	}
	if !c.Coordinator.config.Shadow {
		return nil, errors.New("mpic: a shadow needs a coordinator that answers for nothing else")
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
// MPIC-12: a call of a kind that makes an authorization, or freshens CAA for a permit, comes to no decision: Carry refuses it.
func (s *Shadow) Begin(call Call) (answered func(granted bool, err error)) {
	call.Shadow = true
	incumbent := make(chan answer, 1)
	answered = func(granted bool, err error) { incumbent <- answer{granted, err} }
	if why := s.start(func() {
		r, err := s.carry(call)
		s.compare(call, r, err, <-incumbent)
	}); why != "" {
		s.Skip(call.Caller, call.Trace, fmt.Errorf("%s: %s of %s", why, call.Kind, call.Request.Identifier))
	}
	return answered
}

// start runs work beside the caller, or says why it does not.
func (s *Shadow) start(work func()) (why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "the gate is shutting down"
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return fmt.Sprintf("%d attempts run", cap(s.slots))
	}
	s.work.Go(func() {
		defer func() { <-s.slots }()
		work()
	})
	return ""
}

// carry turns a panic into an error: nothing of ours may end the process through which the incumbent's answers go.
func (s *Shadow) carry(call Call) (r Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			r, err = Result{}, fmt.Errorf("mpic: the attempt broke down: %v\n%s", v, debug.Stack())
		}
	}()
	return s.config.Coordinator.Carry(context.Background(), call)
}

type answer struct {
	granted bool
	err     error
}

// Skip counts and logs a call for which there is no attempt to begin, for example one that the front cannot read. It returns at once.
func (s *Shadow) Skip(caller, trace string, why error) {
	s.count(Skipped)
	log := s.config.Logger.With("caller", caller)
	if trace != "" {
		log = log.With("trace", trace)
	}
	log.Warn("a call has no attempt beside the incumbent's", "reason", why)
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
