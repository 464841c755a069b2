package va

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// FailureRule says what a CAA lookup that failed counts for (CAA-06). The zero value denies, so that a rule that is
// missing permits nothing.
type FailureRule uint8

const (
	// DenyFailure: a failed lookup is never permission.
	DenyFailure FailureRule = iota
	// PermitProvenFailure: it is where LookupFailure.Excuse finds the three proofs of BR 3.2.2.8.
	PermitProvenFailure
)

var failureRuleNames = map[FailureRule]string{DenyFailure: "deny", PermitProvenFailure: "permit-when-proven"}

// ParseFailureRule reads "deny" or "permit-when-proven".
func ParseFailureRule(text string) (FailureRule, error) {
	for r, n := range failureRuleNames {
		if n == text {
			return r, nil
		}
	}
	return DenyFailure, fmt.Errorf("va: %q is no rule for a failed CAA lookup (deny, permit-when-proven)", text)
}

// String gives the rule's name, or "no rule".
func (r FailureRule) String() string {
	if n, ok := failureRuleNames[r]; ok {
		return n
	}
	return "no rule"
}

// MarshalText refuses a value that is no rule.
func (r FailureRule) MarshalText() ([]byte, error) {
	if n, ok := failureRuleNames[r]; ok {
		return []byte(n), nil
	}
	return nil, fmt.Errorf("va: %d is no rule for a failed CAA lookup", uint8(r))
}

// UnmarshalText refuses everything but a rule's name.
func (r *FailureRule) UnmarshalText(text []byte) error {
	v, err := ParseFailureRule(string(text))
	if err != nil {
		return err
	}
	*r = v
	return nil
}

const (
	// MinPatience is how long a lookup that ran out of time must have waited for the name servers before that counts as
	// their failure: below it, the haste was ours.
	MinPatience = 5 * time.Second
	// aside is how much later than the end of the retry a lookup may begin that is to show that all else works then.
	aside = 5 * time.Second
	// minSilence is how long a query without response must have waited, in milliseconds, to show that its server is silent.
	minSilence = 500
)

// Excuse tells why a CAA lookup that failed is no permission; nil when it is (CAA-06). BR 3.2.2.8 asks for three proofs,
// and each is in what was asked:
//   - it was retried: Retry is the same question, put once more after the first lookup had ended, and it failed alike;
//   - the domain is Insecure (RFC 4035 section 4.3): both chains of trust end at one zone, and DS is its parent's proof,
//     asked for anew, that it has no DS records;
//   - the failure lies outside the CA's infrastructure: servers of that zone were reached and gave no usable response, or
//     kept silent, while others answered: those of the parent for DS, and of the root for Control.
//
// first is the lookup that failed. All of them must lie between from and until. It is pure: the perspective asks it, and
// mpic.Judge again from the record.
func (f LookupFailure) Excuse(first resolver.Lookup, from, until time.Time) error {
	return f.excuse(first, from, until, MinPatience)
}

func (f LookupFailure) excuse(first resolver.Lookup, from, until time.Time, patience time.Duration) error {
	cut, err := outside(first, f.Name, patience)
	if err != nil {
		return err
	}
	again, err := outside(f.Retry, f.Name, patience)
	if err != nil {
		return fmt.Errorf("the retry: %w", err)
	}
	if again != cut {
		return fmt.Errorf("the chain of trust ended at %s, and in the retry at %s", cut, again)
	}
	if err := noDS(f.DS, cut, first.Chain); err != nil {
		return err
	}
	if err := elsewhere(f.Control, cut, first, f.Retry); err != nil {
		return err
	}
	return f.inTime(first, from, until)
}

// outside tells at which zone the chain of trust of a failed CAA lookup of name ended; an error where the lookup is not
// one that may be excused.
func outside(l resolver.Lookup, name string, patience time.Duration) (cut string, err error) {
	if l.Name != name+"." || l.Type != "CAA" {
		return "", fmt.Errorf("the lookup of %s %s stands where that of %s. CAA belongs", l.Name, l.Type, name)
	}
	// CAA-07: a bogus answer is no failure to get one, whatever may be insecure above it.
	if l.Status != dnssec.Failure {
		return "", fmt.Errorf("it is %s, which is no failure to get an answer", l.Status)
	}
	if l.Upstream != "" { // who failed then, it or the name servers behind it, is not to be seen from here
		return "", fmt.Errorf("the resolver %s was asked, which is the CA's own infrastructure", l.Upstream)
	}
	switch l.Code {
	case "dns.no-server":
	case "dns.timeout":
		if took := l.Finished.Sub(l.Started); took < patience {
			return "", fmt.Errorf("it was given %s, and a server that is slow has %s", took, patience)
		}
	default: // limits, names that are not asked about, addresses that are not: these are the CA's own
		return "", fmt.Errorf("it failed with %q, which does not say that the name servers failed", l.Code)
	}
	if cut, err = insecureCut(l.Chain, l.Name); err != nil {
		return "", err
	}
	servers, err := failing(l, cut)
	if err != nil {
		return "", err
	}
	if len(servers) == 0 {
		return "", fmt.Errorf("no server of %s was reached in vain", cut)
	}
	return cut, nil
}

// insecureCut gives the first zone of a chain of trust that is insecure. The chain must lead from the root to the name in
// one line, signed down to that zone and unsigned from there: another one has followed an alias to somewhere else, or
// broke above every proof.
func insecureCut(chain []resolver.Link, name string) (cut string, err error) {
	for i, link := range chain {
		switch {
		case i == 0 && link.Zone != ".", i > 0 && !dnssec.Below(link.Zone, chain[i-1].Zone), !dns.IsSubDomain(link.Zone, name):
			return "", fmt.Errorf("its chain of trust does not lead straight from the root to %s", name)
		case link.Result == dnssec.Insecure && i > 0:
			if cut == "" {
				cut = link.Zone
			}
		case link.Result != dnssec.Secure || cut != "":
			return "", fmt.Errorf("the zone %s in its chain of trust is %s", link.Zone, link.Result)
		}
	}
	if cut == "" {
		return "", errors.New("no zone in its chain of trust is proven insecure")
	}
	return cut, nil
}

// failing gives the servers, with their ports, that left a question about the zone without a response that could be used:
// what came was an error or not acceptable, or they were silent. The error is of a query that failed otherwise, as for want
// of a route, a socket or an open port: that may be the fault of this host, which might have had the answer there.
func failing(l resolver.Lookup, zone string) (servers map[string]bool, err error) {
	servers = map[string]bool{}
	for _, q := range l.Queries {
		name := q.Question[:max(strings.LastIndexByte(q.Question, ' '), 0)]
		responded, waited := q.Rcode != "" || len(q.Response) > 0, strings.HasPrefix(q.Error, "no response within ")
		switch {
		case !dns.IsSubDomain(zone, name):
		case strings.HasPrefix(q.Error, "the response "): // it came, and what was not read in it could forbid (CAA-02)
			return nil, fmt.Errorf("%s answered, and this resolver could not read it: %s", q.Server, q.Error)
		case responded && q.Error == "" && (q.Rcode == "NOERROR" || q.Rcode == "NXDOMAIN"):
		case responded, waited && q.Milliseconds >= minSilence:
			servers[q.Server] = true
		case waited, strings.HasPrefix(q.Error, "given up: "): // the time was up, or another server was quicker
		default:
			return nil, fmt.Errorf("the query to %s failed by %q, which may be the fault of this host", q.Server, q.Error)
		}
	}
	return servers, nil
}

// inTime holds the lookups to their order. A record without times shows none.
func (f LookupFailure) inTime(first resolver.Lookup, from, until time.Time) error {
	if first.Started.IsZero() || first.Started.Before(from) || first.Finished.Before(first.Started) {
		return fmt.Errorf("it was not looked up between %s and %s", from, until)
	}
	for _, l := range []resolver.Lookup{f.Retry, f.DS, f.Control} {
		if l.Started.Before(first.Finished) || l.Finished.Before(l.Started) || l.Finished.After(until) {
			return fmt.Errorf("the lookup of %s %s does not lie between the failure and %s", l.Name, l.Type, until)
		}
		if l.Started.After(f.Retry.Finished.Add(aside)) {
			return fmt.Errorf("the lookup of %s %s was not made beside the retry", l.Name, l.Type)
		}
	}
	return nil
}

// noDS holds a lookup to what it must show: that the last signed zone of the chain says, now, that cut has no DS records
// (RFC 4035 section 5.2), or that it lies in an opt-out span (RFC 5155 section 6). DS records of unknown algorithms make
// a zone insecure too; such a zone is not excused, because it means to be signed.
func noDS(l resolver.Lookup, cut string, chain []resolver.Link) error {
	if l.Name != cut || l.Type != "DS" {
		return fmt.Errorf("the lookup of %s %s stands where that of %s DS belongs", l.Name, l.Type, cut)
	}
	proven := l.Status == dnssec.Secure || l.Status == dnssec.Insecure && l.Code == dnssec.CodeOptOut
	if !proven || l.Rcode != "NOERROR" || len(l.Answers) > 0 {
		return fmt.Errorf("the lookup of %s DS is %s (%s) with %d records, which is no proof that there are none", cut, l.Status,
			l.Rcode, len(l.Answers))
	}
	for i, link := range chain {
		switch signed := link.Result == dnssec.Secure; {
		case signed != (i < len(l.Chain)):
			return fmt.Errorf("the proof that %s has no DS records is not its parent zone's", cut)
		case signed && (l.Chain[i].Zone != link.Zone || l.Chain[i].Result != dnssec.Secure):
			return fmt.Errorf("the proof that %s has no DS records has another chain of trust", cut)
		}
	}
	if len(answering(l)) == 0 {
		return fmt.Errorf("no server was asked for %s DS", cut)
	}
	return nil
}

// elsewhere holds the control to what it must show: a signed answer of the root, by a server that is none of those that
// failed.
func elsewhere(l resolver.Lookup, cut string, failed ...resolver.Lookup) error {
	if l.Name != "." || l.Type != "SOA" {
		return fmt.Errorf("the lookup of %s %s stands where that of . SOA belongs", l.Name, l.Type)
	}
	if l.Status != dnssec.Secure || l.Rcode != "NOERROR" || len(l.Answers) == 0 {
		return fmt.Errorf("the lookup of . SOA is %s with %d records: nothing shows that the network works", l.Status,
			len(l.Answers))
	}
	suspects := map[string]bool{}
	for _, f := range failed {
		servers, err := failing(f, cut)
		if err != nil {
			return err
		}
		maps.Copy(suspects, servers)
	}
	for server := range answering(l) {
		if !suspects[server] {
			return nil
		}
	}
	return errors.New("no other server than those that failed answered for . SOA")
}

// answering gives the servers that answered the lookup's own question.
func answering(l resolver.Lookup) map[string]bool {
	servers := map[string]bool{}
	for _, q := range l.Queries {
		if q.Question == l.Name+" "+l.Type && q.Rcode == "NOERROR" && q.Error == "" {
			servers[q.Server] = true
		}
	}
	return servers
}
