package resolver

import (
	"context"
	"fmt"
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
}

// resolve follows a question and its aliases to the end. Its verdict is the worst of all links, each proven in its own
// chain (RFC 6672, RFC 4035).
func (w *work) resolve(ctx context.Context, f frame, name string, qtype uint16) *result {
	res := &result{verdict: usable, ttl: ^uint32(0)}
	seen := map[string]bool{}
	for links := 0; ; links++ {
		if v, refused := w.r.refuse(name); refused {
			res.verdict = v
			return res
		}
		if seen[name] {
			res.verdict = failed(codeAliasLoop, dnssec.EDEInvalidData, "the aliases lead back to %s", name)
			return res
		}
		seen[name] = true
		if links > w.r.config.Limits.Restarts {
			res.verdict = failed(codeLimit, 0, "more than %d aliases", w.r.config.Limits.Restarts)
			return res
		}
		s := w.single(ctx, f, name, qtype)
		if !s.verdict.Status.Usable() {
			w.r.forget(s.zone)
		}
		for _, l := range s.zone.chain(s.verdict) {
			if !slices.ContainsFunc(res.chain, func(o Link) bool { return o.Zone == l.Zone }) {
				res.chain = append(res.chain, l)
			}
		}
		res.verdict = dnssec.Worse(res.verdict, s.verdict)
		if links == 0 || res.verdict.Status == dnssec.Secure {
			res.verdict = s.verdict
		}
		if !s.verdict.Status.Usable() {
			return res
		}
		res.rcode = s.rcode
		if len(s.records) > 0 {
			res.ttl = min(res.ttl, s.ttl)
		}
		if s.target == "" {
			res.records = s.records
			return res
		}
		res.aliases = append(res.aliases, s.records...)
		name = s.target
	}
}

// step is the outcome of one question, without following aliases.
type step struct {
	zone    *zone
	next    *zone // the question must be asked there
	verdict dnssec.Verdict
	rcode   int
	records []dns.RR
	ttl     uint32
	target  string // where an alias leads
}

// maxMinimised is how many labels are asked about one by one (RFC 9156 section 2.3, MAX_MINIMISE_COUNT).
const maxMinimised = 10

// single goes from the closest known zone down to the one that answers for name.
func (w *work) single(ctx context.Context, f frame, name string, qtype uint16) step {
	z := w.r.closest(name, qtype)
	if z.parent == nil {
		w.prefetch(ctx, f, z)
	}
	asked := dns.CountLabel(z.name)
	minimise := !w.r.config.NoQnameMinimisation
	for sent := 0; ; {
		next := asked + 1
		whole := dns.CountLabel(name)
		anchored := dnssec.FromAnchors(w.r.config.Anchors, dnssec.Ancestor(name, next)) != nil
		if next < whole && (anchored || (minimise && sent < maxMinimised)) ||
			next == whole && anchored && qtype != dns.TypeDS && z.name != name {
			if !anchored && z.isUncut(dnssec.Ancestor(name, next)) {
				asked = next
				continue
			}
			sent++
			c := w.cut(ctx, f, z, dnssec.Ancestor(name, next))
			if !c.verdict.Status.Usable() {
				return step{zone: z, verdict: c.verdict}
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
		s := w.question(ctx, f, z, name, qtype)
		if s.next == nil || !s.verdict.Status.Usable() {
			return s
		}
		z = s.next
		asked = dns.CountLabel(z.name)
	}
}

func (w *work) anchorBelow(name string, labels int) bool {
	for n := labels + 1; n <= dns.CountLabel(name); n++ {
		if dnssec.FromAnchors(w.r.config.Anchors, dnssec.Ancestor(name, n)) != nil {
			return true
		}
	}
	return false
}

// question asks z the whole question and judges what comes.
func (w *work) question(ctx context.Context, f frame, z *zone, name string, qtype uint16) step {
	var s step
	v := w.ask(ctx, f, z, name, qtype, func(m *dns.Msg) dnssec.Verdict {
		s = step{}
		if child, ok := referred(m, z, name); ok && !(qtype == dns.TypeDS && child == name) {
			c, v := w.refer(ctx, f, z, child, m)
			s.next = c
			return v
		}
		if !m.Authoritative {
			return failed(codeNoServer, dnssec.EDENoReachableAuthority,
				"not authoritative for the zone %s, and no referral below it", z.name)
		}
		s = w.judge(ctx, f, z, name, qtype, m)
		return s.verdict
	})
	if !v.Status.Usable() {
		return step{zone: z, verdict: v}
	}
	s.zone = z
	if s.next == nil {
		s.verdict = v
	} else {
		s.verdict = usable
	}
	return s
}

// pick finds the records of an authoritative answer that speak of the question: those of the type, or else a DNAME above the
// name, or else a CNAME. Everything else in the answer section is ignored, a CNAME that the server made of a DNAME too.
func pick(answer []*dnssec.RRset, z *zone, name string, qtype uint16) *dnssec.RRset {
	if set := dnssec.Find(answer, name, qtype); set != nil {
		return set
	}
	for _, set := range answer {
		if set.Type == dns.TypeDNAME && len(set.RRs) > 0 && dnssec.Below(name, set.Name) && dns.IsSubDomain(z.name, set.Name) {
			return set
		}
	}
	return dnssec.Find(answer, name, dns.TypeCNAME)
}

// judge validates an authoritative answer of zone z (RFC 4035 section 5).
func (w *work) judge(ctx context.Context, f frame, z *zone, name string, qtype uint16, m *dns.Msg) step {
	set := pick(dnssec.Group(m.Answer), z, name, qtype)
	s := step{rcode: m.Rcode, verdict: z.verdict}
	if set == nil && m.Rcode == dns.RcodeYXDomain {
		s.verdict = failed(codeAliasLong, dnssec.EDEInvalidData, "%s: an alias would be too long (YXDOMAIN)", name)
		return s
	}
	switch z.verdict.Status {
	case dnssec.Secure:
		s = w.prove(ctx, f, z, name, qtype, m, set)
	case dnssec.Insecure:
		// Nothing is proven here, so that an answer to some other question must not pass for "there is no such record".
		if set == nil && len(m.Answer) > 0 {
			s.verdict = failed(codeNoServer, dnssec.EDEInvalidData, "a server of the zone %s answers %s %s with other records", z.name,
				name, dns.Type(qtype))
			return s
		}
		if set != nil {
			s.ttl = set.TTL()
		}
	default:
		return s
	}
	if s.next != nil || !s.verdict.Status.Usable() || set == nil {
		return s
	}
	s.records = dns.Dedup(set.RRs, nil)
	return follow(s, set, name, qtype)
}

// follow finds where an alias leads. A DNAME's CNAME is made here, whatever the server made (RFC 6672 section 3.1).
func follow(s step, set *dnssec.RRset, name string, qtype uint16) step {
	s.rcode = dns.RcodeSuccess
	if set.Type == qtype && set.Name == name { // a DNAME above the name is no answer to a question about DNAME
		return s
	}
	if len(s.records) != 1 {
		s.verdict = failed("dns.alias-ambiguous", dnssec.EDEInvalidData, "%s has more than one %s record", set.Name,
			dns.Type(set.Type))
		s.records = nil
		return s
	}
	var target string
	switch rr := s.records[0].(type) {
	case *dns.CNAME:
		target = rr.Target
	case *dns.DNAME:
		target = name[:len(name)-len(set.Name)]
		if set.Name == "." {
			target = name
		}
		if rr.Target != "." {
			target += rr.Target
		}
	}
	canonical, err := dnssec.Canonical(target)
	if err != nil {
		s.verdict = failed(codeAliasLong, dnssec.EDEInvalidData, "the alias that %s gives %s is no name (YXDOMAIN)", set.Name, name)
		s.records = nil
		return s
	}
	s.target = canonical
	return s
}

// prove validates an answer, or the absence of one, with the keys of the signed zone z. Where z's keys vouch for nothing,
// there may be a zone cut that the server does not show; without a proven one, missing signatures are bogus.
func (w *work) prove(ctx context.Context, f frame, z *zone, name string, qtype uint16, m *dns.Msg,
	set *dnssec.RRset) step {
	keys, v := w.zoneKeys(ctx, f, z)
	if keys == nil {
		return step{zone: z, verdict: v}
	}
	s := step{rcode: m.Rcode}
	if set != nil {
		sig := w.verifier.RRset(set, keys)
		s.verdict, s.ttl = sig.Verdict, min(sig.TTL, set.TTL())
		if sig.Status == dnssec.Secure && sig.Expanded {
			s.verdict = w.expansion(set, qtype, sig, keys, m)
		}
		if sig.Status == dnssec.Secure {
			s.verdict.Reason.Text = explain(s.verdict, z, sig)
		}
	} else {
		var what dnssec.Existence
		what, s.verdict = w.verifier.Denial(dnssec.Group(m.Ns), keys).Negative(name, qtype, m.Rcode == dns.RcodeNameError)
		s.rcode = dns.RcodeSuccess
		if what == dnssec.NoName {
			s.rcode = dns.RcodeNameError
		}
	}
	switch s.verdict.Reason.Code {
	case dnssec.CodeSignatureMissing, dnssec.CodeDenialMissing, dnssec.CodeDenialInvalid:
		c, v := w.findCut(ctx, f, z, name, qtype)
		if c != nil {
			return step{next: c, verdict: usable}
		}
		if final(v) {
			s.verdict = v
		}
	}
	return s
}

func (w *work) expansion(set *dnssec.RRset, qtype uint16, sig dnssec.Signature, keys *dnssec.Keys,
	m *dns.Msg) dnssec.Verdict {
	if set.Type == dns.TypeDNAME { // RFC 6672 section 3.3: a wildcard DNAME has no defined meaning
		return bogus(dnssec.CodeSignatureInvalid, dnssec.EDEBogus, "the DNAME at %s was expanded from a wildcard", set.Name)
	}
	return w.verifier.Denial(dnssec.Group(m.Ns), keys).Expansion(set.Name, qtype, sig.Labels)
}

func explain(v dnssec.Verdict, z *zone, sig dnssec.Signature) string {
	if v.Status != dnssec.Secure {
		return v.Reason.Text
	}
	return fmt.Sprintf("signed by %s with key %d (%s), and the chain of trust holds", z.name, sig.Tag,
		dnssec.AlgorithmName(sig.Algorithm))
}
