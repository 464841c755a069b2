package resolver

import (
	"context"

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
			c, what, v := w.askDS(ctx, f, z, below, nil)
			if !v.Status.Usable() {
				return failedStep(z, v)
			}
			if what == dnssec.NoName {
				break
			}
			if c != nil {
				z = c
			} else {
				z.noteUncut(below)
			}
		}
		s := w.question(ctx, f, z, name, qtype)
		if s.next == nil || !s.Verdict.Status.Usable() {
			return s
		}
		z = s.next // a cut that was not there when it was noted
	}
}
