package dnssec

import (
	"slices"
	"strconv"

	"github.com/miekg/dns"
)

// Message is one response, with its place in the account of the lookup's queries, from 1.
type Message struct {
	*dns.Msg
	Query int
}

// Answer is what one response says about one question, an alias not followed.
type Answer struct {
	Verdict Verdict
	// Rcode is what the answer amounts to: NXDOMAIN only where that is proven, or where nothing is signed.
	Rcode int
	// Records are those of the type asked, or the alias that stands in their place.
	Records []dns.RR
	// TTL is the smallest of the records, never above what a signature vouches for.
	TTL uint32
	// Target is where an alias leads, in canonical form; empty where there is none.
	Target string
}

// Answer validates an authoritative response of a signed zone about a name within it, with the zone's keys (RFC 4035 section 5).
// DCV-05.
func (v *Verifier) Answer(m Message, keys *Keys, name string, qtype uint16) Answer {
	set := pick(Group(m.Answer), keys.Zone, name, qtype)
	a := Answer{Rcode: m.Rcode}
	var steps []Step
	switch {
	case set == nil && m.Rcode == dns.RcodeYXDomain:
		a.Verdict = tooLong(name)
	case set != nil:
		sig := v.RRset(set, keys)
		a.Verdict, a.TTL = sig.Verdict, min(sig.TTL, set.TTL())
		if sig.Status == Secure {
			steps = append(steps, sig.Step)
			if sig.Expanded {
				var more []Step
				a.Verdict, more = v.expansion(m, set, qtype, sig, keys)
				steps = append(steps, more...)
			}
		}
		if a.Verdict.Status == Secure {
			a.Verdict.Reason.Text = "signed by " + keys.Zone + " with key " + strconv.Itoa(int(sig.Tag)) + " (" + AlgorithmName(sig.Algorithm) +
				"), and the chain of trust holds"
		}
	default:
		var what Existence
		denial := v.Denial(Group(m.Ns), keys)
		what, a.Verdict = denial.Negative(name, qtype, m.Rcode == dns.RcodeNameError)
		steps = denial.steps
		a.Rcode = dns.RcodeSuccess
		if what == NoName {
			a.Rcode = dns.RcodeNameError
		}
	}
	if a.Verdict.Status.Usable() && set != nil {
		a = a.follow(set, name, qtype)
	}
	a.Verdict.Proof = v.proof(keys.Proof, Found{Stage: Stage{Kind: StageAnswer, Zone: keys.Zone, Query: m.Query},
		About: name, Type: typeName(qtype), Steps: steps}, nil, a.Verdict)
	return a
}

// Unsigned reads a response of a zone that is proven insecure by the end of the chain at cut, which is the zone or one above
// it. Nothing in it is proven, so that an answer to some other question must not pass for "there is no such record".
func (v *Verifier) Unsigned(m Message, cut *Delegation, zone, name string, qtype uint16) Answer {
	set := pick(Group(m.Answer), zone, name, qtype)
	a := Answer{Rcode: m.Rcode, Verdict: cut.Verdict}
	switch {
	case set == nil && m.Rcode == dns.RcodeYXDomain:
		a.Verdict = tooLong(name)
	case set == nil && len(m.Answer) > 0:
		a.Verdict = failure(CodeNoServer, EDEInvalidData, "a server of the zone %s answers %s %s with other records", zone, name,
			typeName(qtype))
	case set != nil:
		a.TTL = set.TTL()
		a = a.follow(set, name, qtype)
	}
	a.Verdict.Proof = v.proof(cut.Verdict.Proof, Found{Stage: Stage{Kind: StageAnswer, Zone: zone, Query: m.Query}, About: name,
		Type: typeName(qtype)}, nil, a.Verdict)
	return a
}

// pick finds the records of an authoritative answer that speak of the question: those of the type, or else a DNAME above the
// name, or else a CNAME. Everything else in the answer section is ignored, a CNAME that the server made of a DNAME too.
func pick(answer []*RRset, zone, name string, qtype uint16) *RRset {
	if set := Find(answer, name, qtype); set != nil {
		return set
	}
	for _, set := range answer {
		if set.Type == dns.TypeDNAME && len(set.RRs) > 0 && Below(name, set.Name) && within(set.Name, zone) {
			return set
		}
	}
	return Find(answer, name, dns.TypeCNAME)
}

func (v *Verifier) expansion(m Message, set *RRset, qtype uint16, sig Signature, keys *Keys) (Verdict, []Step) {
	if set.Type == dns.TypeDNAME { // RFC 6672 section 3.3: a wildcard DNAME has no defined meaning
		return bogus(CodeSignatureInvalid, EDEBogus, "the DNAME at %s was expanded from a wildcard", set.Name), nil
	}
	d := v.Denial(Group(m.Ns), keys)
	verdict := d.Expansion(set.Name, qtype, sig.Labels)
	return verdict, d.steps
}

func tooLong(name string) Verdict {
	return failure(CodeAliasLong, EDEInvalidData, "%s: an alias would be too long (YXDOMAIN)", name)
}

// follow finds where an alias leads. A DNAME's CNAME is made here, whatever the server made (RFC 6672 section 3.1).
func (a Answer) follow(set *RRset, name string, qtype uint16) Answer {
	a.Rcode = dns.RcodeSuccess
	records := slices.Clone(set.RRs)
	for i, rr := range records { // servers repeat the owner in the case of the question, which is random
		records[i] = dns.Copy(rr)
		records[i].Header().Name = set.Name
	}
	if len(records) > 1 {
		records = dns.Dedup(records, nil) // which writes the TTL of a double into the first
	}
	if set.Type == qtype && set.Name == name { // a DNAME above the name is no answer to a question about DNAME
		a.Records = records
		return a
	}
	if len(records) != 1 {
		a.Verdict = failure(CodeAliasAmbiguous, EDEInvalidData, "%s has more than one %s record", set.Name, typeName(set.Type))
		return a
	}
	var target string
	switch rr := records[0].(type) {
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
	canonical, err := Canonical(target)
	if err != nil {
		a.Verdict = failure(CodeAliasLong, EDEInvalidData, "the alias that %s gives %s is no name (YXDOMAIN)", set.Name, name)
		return a
	}
	a.Records, a.Target = records, canonical
	return a
}
