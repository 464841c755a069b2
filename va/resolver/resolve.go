package resolver

import (
	"context"
	"errors"
	"slices"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

// result is what a question led to, aliases followed.
type result struct {
	verdict dnssec.Verdict
	rcode   int
	aliases []dns.RR
	records []dns.RR
	ttl     uint32
	chain   []Link
	proofs  []*dnssec.Proof // one for each question of the chain of aliases, as far as they went
}

// resolve follows a question and its aliases to the end. Its verdict is the worst of all links, each proven in its own
// chain (RFC 6672, RFC 4035).
func (w *work) resolve(ctx context.Context, f frame, name string, qtype uint16) *result {
	res := &result{verdict: usable, ttl: ^uint32(0)}
	var seen []string
	for links := 0; ; links++ {
		if v, refused := w.r.refuse(name); refused {
			res.verdict = v
			return res
		}
		if slices.Contains(seen, name) {
			res.verdict = failed(codeAliasLoop, dnssec.EDEInvalidData, "the aliases lead back to %s", name)
			return res
		}
		seen = append(seen, name)
		if links > w.r.config.Limits.Restarts {
			res.verdict = failed(codeLimit, 0, "more than %d aliases", w.r.config.Limits.Restarts)
			w.r.config.Metrics.ended(res.verdict)
			return res
		}
		s := w.single(ctx, f, name, qtype)
		// Who no longer wants the answer says nothing of the zone, and must not have others ask for it anew.
		if !s.Verdict.Status.Usable() && !errors.Is(ctx.Err(), context.Canceled) {
			w.r.forget(s.zone)
			if w.again(ctx, s) {
				s = w.single(ctx, f, name, qtype)
			}
		}
		proof := s.Verdict.Proof
		if proof == nil { // no records were judged: what is known of the zone is proven none the less (CAA-06)
			proof = s.zone.proof()
		}
		res.proofs = append(res.proofs, proof)
		chain := s.zone.chain(s.Verdict, proof)
		if links == 0 {
			res.chain, chain = chain, nil
		}
		for _, l := range chain {
			if !slices.ContainsFunc(res.chain, func(o Link) bool { return o.Zone == l.Zone }) {
				res.chain = append(res.chain, l)
			}
		}
		res.verdict = dnssec.Worse(res.verdict, s.Verdict)
		if links == 0 || res.verdict.Status == dnssec.Secure {
			res.verdict = s.Verdict
		}
		if !s.Verdict.Status.Usable() {
			return res
		}
		res.rcode = s.Rcode
		if len(s.Records) > 0 {
			res.ttl = min(res.ttl, s.TTL)
		}
		if s.Target == "" {
			res.records = s.Records
			return res
		}
		res.aliases = append(res.aliases, s.Records...)
		name = s.Target
	}
}

// again tells, once in a lookup, that what failed may be what was remembered: a delegation that has moved, keys that were replaced,
// servers that were assumed while somebody lied. It is forgotten by now, and the question is worth asking anew.
func (w *work) again(ctx context.Context, s step) bool {
	if ctx.Err() != nil || s.zone == nil || s.zone.by == w.number || final(s.Verdict) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	first := !w.retried
	w.retried, w.keyless = true, nil
	return first
}

// step is the outcome of one question, without following aliases.
type step struct {
	dnssec.Answer
	zone *zone
	next *zone // the question must be asked there
}

// maxMinimised is how many labels are asked about one by one (RFC 9156 section 2.3, MAX_MINIMISE_COUNT).
const maxMinimised = 10

// single goes from the closest known zone down to the one that answers for name.
func (w *work) single(ctx context.Context, f frame, name string, qtype uint16) step {
	z := w.r.closest(name, qtype)
	if z.parent == nil {
		w.prefetch(ctx, f, z)
	}
	if w.r.stub() {
		return w.throughUpstream(ctx, f, z, name, qtype)
	}
	asked := dns.CountLabel(z.name)
	minimise := !w.r.config.NoQnameMinimisation
	for sent := 0; ; {
		next := asked + 1
		whole := dns.CountLabel(name)
		anchored := w.r.anchors[dnssec.Ancestor(name, next)] != nil
		if next < whole && (anchored || (minimise && sent < maxMinimised)) ||
			next == whole && anchored && qtype != dns.TypeDS && z.name != name {
			if !anchored && z.isUncut(dnssec.Ancestor(name, next)) {
				asked = next
				continue
			}
			sent++
			c := w.cut(ctx, f, z, dnssec.Ancestor(name, next))
			if !c.verdict.Status.Usable() {
				return failedStep(z, c.verdict)
			}
			asked = next
			if c.zone != nil {
				z, asked = c.zone, dns.CountLabel(c.zone.name)
			} else if c.nothing {
				minimise = false
			}
			continue
		}
		if !minimise && next < whole && w.anchorBelow(name, asked) {
			asked++
			continue
		}
		s := w.whole(ctx, f, z, name, qtype)
		if s.next == nil || !s.Verdict.Status.Usable() {
			return s
		}
		z = s.next
		asked = dns.CountLabel(z.name)
	}
}

func (w *work) anchorBelow(name string, labels int) bool {
	for n := labels + 1; n <= dns.CountLabel(name); n++ {
		if w.r.anchors[dnssec.Ancestor(name, n)] != nil {
			return true
		}
	}
	return false
}

// whole asks z the whole question. Directly below the root or a top-level domain the response is most likely a referral, which lookups
// of other types need as well: then it is asked once at a time, and who waited and saw no referral asks his own question.
func (w *work) whole(ctx context.Context, f frame, z *zone, name string, qtype uint16) step {
	if dns.CountLabel(z.name) > 1 || dns.CountLabel(name) != dns.CountLabel(z.name)+1 || qtype == dns.TypeDS {
		return w.question(ctx, f, z, name, qtype)
	}
	var own *step
	c := w.shareCut(ctx, f, z, name, func() (shareable, bool) {
		if c := w.r.closest(name, dns.TypeNone); c.name == name {
			return cutResult{zone: c, verdict: usable}, true
		}
		s := w.question(ctx, f, z, name, qtype)
		own = &s
		return cutResult{zone: s.next, verdict: s.Verdict}, s.next != nil && s.Verdict.Status.Usable()
	})
	switch {
	case own != nil:
		return *own
	case c.zone == nil: // another's question about the cut alone
		return w.question(ctx, f, z, name, qtype)
	}
	return step{Answer: dnssec.Answer{Verdict: usable}, next: c.zone}
}

// question asks z the whole question and judges what comes.
func (w *work) question(ctx context.Context, f frame, z *zone, name string, qtype uint16) step {
	var s step
	v := w.ask(ctx, f, z, name, qtype, func(m dnssec.Message) dnssec.Verdict {
		s = step{}
		if child, ok := w.referred(m.Msg, z, name); ok && !(qtype == dns.TypeDS && child == name) {
			c, v := w.refer(ctx, f, z, child, m.Msg)
			s.next = c
			return v
		}
		if v, ok := w.authoritative(m, z); !ok {
			return v
		}
		s = w.judge(ctx, f, z, name, qtype, m)
		return s.Verdict
	})
	if !v.Status.Usable() {
		return failedStep(z, v)
	}
	s.zone, s.Verdict = z, v
	if s.next != nil {
		s.Verdict = usable
	}
	return s
}

// judge validates an authoritative answer of zone z. Where z's keys vouch for nothing, there may be a zone cut that the server
// does not show; without a proven one, missing signatures are bogus.
func (w *work) judge(ctx context.Context, f frame, z *zone, name string, qtype uint16, m dnssec.Message) step {
	switch z.verdict.Status {
	case dnssec.Insecure:
		return step{Answer: w.verifier.Unsigned(m, z.cut, z.name, name, qtype)}
	case dnssec.Secure:
	default:
		return failedStep(z, z.verdict)
	}
	keys, v := w.zoneKeys(ctx, f, z)
	if keys == nil {
		return failedStep(z, v)
	}
	s := step{Answer: w.verifier.Answer(m, keys, name, qtype)}
	switch s.Verdict.Reason.Code {
	case dnssec.CodeSignatureMissing, dnssec.CodeDenialMissing, dnssec.CodeDenialInvalid:
		c, v := w.findCut(ctx, f, z, name, qtype)
		if c != nil {
			s = step{next: c}
			s.Verdict = usable
			return s
		}
		if final(v) {
			s.Verdict = v
		}
	}
	return s
}

func failedStep(z *zone, v dnssec.Verdict) step {
	return step{Answer: dnssec.Answer{Verdict: v}, zone: z}
}
