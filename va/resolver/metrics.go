package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/va/dnssec"
)

// Metrics count what one Resolver does (docs/operations.md). Every label has a small closed set of values, all of them this
// program's own words: no name, address or text of the DNS, of which whoever runs a name server could make any number. A nil
// *Metrics counts nothing.
type Metrics struct {
	lookups   *prometheus.CounterVec
	durations *prometheus.HistogramVec
	perLookup prometheus.Histogram
	packets   *prometheus.CounterVec
	trips     *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	limits    *prometheus.CounterVec
	checks    prometheus.Counter
	zones     prometheus.Gauge
	stranger  prometheus.Gauge
}

// NewMetrics registers the metrics of one resolver. The error is the registry's: another resolver's metrics are in it.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_dns_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorate_dns_" + name, Help: help})
	}
	m := &Metrics{
		lookups: counter("lookups_total", "Lookups by type, DNSSEC status and reason code.", "type", "status", "code"),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "quorate_dns_lookup_duration_seconds",
			Help:    "How long lookups took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60}}, []string{"status"}),
		perLookup: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorate_dns_lookup_packets",
			Help: "Packets sent for one lookup.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 200}}),
		packets: counter("packets_total", "Queries sent to name servers, and what came of them.", "transport", "outcome"),
		trips: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "quorate_dns_round_trip_seconds",
			Help:    "Time from a query to its response, connection included, of queries that had one.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .2, .4, .8, 1.6, 3.2, 6.4}}, []string{"transport"}),
		refused: counter("responses_refused_total", "Responses that came and were not used: the server is lame, its response code "+
			"is no answer, or validation refused it for the reason given.", "reason"),
		limits: counter("limits_total", "Questions that a limit ended, by code.", "code"),
		checks: prometheus.NewCounter(prometheus.CounterOpts{Name: "quorate_dns_signature_checks_total",
			Help: "Signatures checked, those included that are known to hold."}),
		zones:    gauge("cached_zones", "Delegations that are remembered."),
		stranger: gauge("unknown_root_key", "1 while the root zone shows a key-signing key that is no trust anchor, else 0."),
	}
	for _, transport := range []string{"udp", "tcp"} { // so that a rate is seen from the first one on
		for _, o := range outcomes() {
			m.packets.WithLabelValues(transport, o)
		}
	}
	for _, c := range []prometheus.Collector{m.lookups, m.durations, m.perLookup, m.packets, m.trips, m.refused, m.limits, m.checks,
		m.zones, m.stranger} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("resolver: metrics: %w", err)
		}
	}
	return m, nil
}

// finished counts a lookup that has come to its end; w is nil where nothing was sent.
func (m *Metrics) finished(l *Lookup, w *work) {
	if m == nil {
		return
	}
	kind := l.Type
	if !slices.Contains([]string{"A", "AAAA", "CAA", "TXT", "DS", "SOA"}, kind) {
		kind = "other"
	}
	status := l.Status.String()
	m.lookups.WithLabelValues(kind, status, l.Code).Inc()
	m.durations.WithLabelValues(status).Observe(l.Finished.Sub(l.Started).Seconds())
	m.perLookup.Observe(float64(len(l.Queries)))
	if w == nil {
		return
	}
	m.checks.Add(float64(w.verifier.Checks()))
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	m.zones.Set(float64(w.r.zones.len()))
}

// ended counts a question that a limit ended.
func (m *Metrics) ended(v dnssec.Verdict) {
	if m == nil || v.Status != dnssec.Failure {
		return
	}
	switch v.Reason.Code {
	case codeLimit, dnssec.CodeLimit, dnssec.CodeIterations:
		m.limits.WithLabelValues(v.Reason.Code).Inc()
	}
}

// strangers tells how many keys of the root are no anchors.
func (m *Metrics) strangers(n int) {
	if m != nil {
		m.stranger.Set(float64(min(n, 1)))
	}
}

// failures are the errors of an exchange that have an outcome of their own; all others are the network's.
func failures() []struct {
	err  error
	name string
} {
	return []struct {
		err  error
		name string
	}{{errSilent, "timeout"}, {errGivenUp, "given_up"}, {errTrunc, "truncated"}, {errTruncTCP, "truncated"}, {errCase, "case"},
		{errNoCookie, "cookie"}, {errMangled, "mangled"}, {errCrowded, "crowded"}, {errQuestion, "question"}, {errStrays, "question"}}
}

// outcomes lists what may come of a packet: a response code, or why no response could be used.
func outcomes() []string {
	list := []string{"noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "yxdomain", "badvers", "badcookie",
		"other_rcode", "network"}
	for _, f := range failures() {
		if !slices.Contains(list, f.name) {
			list = append(list, f.name)
		}
	}
	return list
}

func outcome(m *dns.Msg, err error) string {
	for _, f := range failures() {
		if errors.Is(err, f.err) {
			return f.name
		}
	}
	if err != nil {
		return "network"
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeFormatError, dns.RcodeServerFailure, dns.RcodeNameError, dns.RcodeNotImplemented, dns.RcodeRefused,
		dns.RcodeYXDomain, dns.RcodeBadCookie:
		return strings.ToLower(dns.RcodeToString[m.Rcode])
	case dns.RcodeBadVers: // the table calls it BADSIG, which is TSIG's
		return "badvers"
	}
	return "other_rcode"
}

// tracer gives the logger for the packets of one lookup, nil unless operators asked to see each packet.
func (r *Resolver) tracer(ctx context.Context, name string, qtype uint16) *slog.Logger {
	if !r.config.Logger.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	return r.config.Logger.With("name", name, "type", dns.Type(qtype).String())
}

// told counts one query and tells what came of it. The answer of a server may still be refused: see refused.
func (q *asking) told(transport string, server netip.AddrPort, query *dns.Msg, x exchanged, err error, took time.Duration) {
	if m := q.r.config.Metrics; m != nil {
		m.packets.WithLabelValues(transport, outcome(x.m, err)).Inc()
		if err == nil {
			m.trips.WithLabelValues(transport).Observe(took.Seconds())
		}
	}
	if q.trace == nil {
		return
	}
	asked := query.Question[0]
	came := slog.String("rcode", "")
	if err != nil {
		came = slog.String("error", err.Error())
	} else {
		came.Value = slog.StringValue(rcodeName(x.m.Rcode))
	}
	q.trace.Debug("packet", "server", server.String(), "zone", q.zone.name, "question",
		strings.ToLower(asked.Name)+" "+dns.Type(asked.Qtype).String(), "transport", transport, came,
		"ms", float64(took.Microseconds())/1000, "octets", len(x.received))
}

// refused keeps, counts and tells why a response that came is not used. Where none came, told has said so.
func (q *asking) refused(r reply, v dnssec.Verdict) {
	if r.err != nil {
		return
	}
	q.refuse(r.m.Query, v.Reason.Text)
	if m := q.r.config.Metrics; m != nil {
		m.refused.WithLabelValues(q.why(r, v)).Inc()
	}
	if q.trace != nil {
		q.trace.Debug("response refused", "server", r.server.addr.String(), "zone", q.zone.name, "question",
			q.name+" "+dns.Type(q.qtype).String(), "reason", q.why(r, v), "detail", v.Reason.Text)
	}
}

// why gives "rcode", "lame", or the code of the verdict.
func (q *asking) why(r reply, v dnssec.Verdict) string {
	if !speaks(r.m.Rcode) {
		return "rcode"
	}
	child, referral := q.referred(r.m.Msg, q.zone, q.name)
	referral = referral && (q.qtype != dns.TypeDS || child != q.name)
	if _, ok := q.authoritative(r.m, q.zone); !ok && !referral {
		return "lame"
	}
	return v.Reason.Code
}
