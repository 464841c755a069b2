package resolver

import (
	"context"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// stub tells whether an upstream resolver is asked instead of the servers of each zone.
func (r *Resolver) stub() bool { return r.config.Upstream.IsValid() }

// throughUpstream finds the zone that answers for name by asking for DS from the closest known zone down, since an upstream shows
// no referrals, and then puts the question. The proofs are the same as those of iteration; every server is the upstream.
func (w *work) throughUpstream(ctx context.Context, f frame, z *zone, name string, qtype uint16) step {
	for {
		last := dns.CountLabel(name)
		if qtype == dns.TypeDS {
			last--
		}
		for n := dns.CountLabel(z.name) + 1; n <= last; n++ {
			below := dnssec.Ancestor(name, n)
			if w.r.anchors[below] != nil {
				z = w.child(ctx, f, z, below, w.r.root.hosts, nil, ^uint32(0))
				continue
			}
			if !z.signed() || z.isUncut(below) {
				continue
			}
			d := w.delegated(ctx, f, z, below)
			if !d.verdict.Status.Usable() {
				return failedStep(z, d.verdict)
			}
			if d.what == dnssec.NoName {
				break
			}
			if d.zone != nil {
				z = d.zone
			}
		}
		s := w.question(ctx, f, z, name, qtype)
		if s.next == nil || !s.Verdict.Status.Usable() {
			return s
		}
		z = s.next // a cut that was not there when it was noted
	}
}

// delegatedResult is a delegation; without zone, what says why there is none.
type delegatedResult struct {
	zone    *zone
	what    dnssec.Existence
	verdict dnssec.Verdict
}

func (r delegatedResult) holds(at time.Time) bool { return r.zone.holds(at) }

type delegatedKey cutKey

// delegated asks the upstream whether the signed zone z delegates name, once for all lookups that want to know at the same time.
func (w *work) delegated(ctx context.Context, f frame, z *zone, name string) delegatedResult {
	return w.share(ctx, f, delegatedKey{z, name}, func() (shareable, bool) {
		if c := w.r.closest(name, dns.TypeNone); c.name == name {
			return delegatedResult{zone: c, verdict: usable}, true
		}
		c, what, v := w.askDS(ctx, f, z, name, nil)
		if v.Status.Usable() && c == nil && what != dnssec.NoName {
			z.noteUncut(name)
		}
		return delegatedResult{c, what, v}, v.Status.Usable()
	}).(delegatedResult)
}
