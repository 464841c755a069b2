package mpic

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
)

// Relied is what a granted attempt may be relied upon for. Reliable works it out; a Ledger keeps it and gives it back.
type Relied struct {
	// Attempt is the attempt's identifier, Number the record's, and SHA256 that of the decision's document, in lower-case
	// hexadecimal.
	Attempt string `json:"attempt"`
	Number  int64  `json:"number"`
	SHA256  string `json:"sha256"`
	// Kind is Issuance, for DCV and CAA, or CAARecheck, for CAA alone.
	Kind Kind `json:"kind"`
	// Account and Method are those of the request: evidence is good for them alone.
	Account string    `json:"account_uri"`
	Method  va.Method `json:"method"`
	// Identifier is the name applied for; its CAA was checked, and no other's.
	Identifier string `json:"identifier"`
	// AuthorizationDomainName, Scope and ReusableUntil are of DCV, and empty in a CAARecheck.
	AuthorizationDomainName string    `json:"authorization_domain_name,omitempty"`
	Scope                   Scope     `json:"scope,omitempty"`
	ReusableUntil           time.Time `json:"reusable_until,omitzero"`
	// Checked is the attempt's start: nothing that was seen is older.
	Checked time.Time `json:"checked"`
	// Issuers are the issuer domain names that CAA was checked for, in the order of the request.
	Issuers []string `json:"issuers"`
	// CAAFreshUntil is the last moment at which the result of CAA may be relied upon: the earliest of all that counted.
	CAAFreshUntil time.Time `json:"caa_fresh_until"`
}

// Reliable tells what a recorded attempt may be relied upon for; ok is false where that is nothing. d is the decision
// of e as the record has it: whether e gives that decision, Judge alone tells. number is the record's, sha256 that of the decision's
// document. Nothing rests on a shadow's attempt, of whatever kind. What was found for another type of certificate than TLS server's is
// good for no permit (CAA-10): issuemail is not issue. It is pure: an auditor works it out again from the record, also where the token
// was left out, without which Judge cannot decide.
func Reliable(e Evidence, d RecordedDecision, number int64, sha256 string) (r Relied, ok bool) {
	a := e.Attempt
	if a.Shadow || d.Outcome != OutcomeGranted || d.Attempt != a.ID() || a.Kind != Issuance && a.Kind != CAARecheck || number < 1 ||
		!digestForm.MatchString(sha256) || a.Probe.Request.CertificateType != va.TLSServer {
		return Relied{}, false
	}
	fresh, ok := freshUntil(e, d)
	if !ok || a.Kind == Issuance && d.Validated.ReusableUntil == nil { // the decision is not of this evidence
		return Relied{}, false
	}
	req := a.Probe.Request
	r = Relied{Attempt: a.ID(), Number: number, SHA256: sha256, Kind: a.Kind, Account: req.AccountURI, Method: req.Method,
		Identifier: req.Identifier, Checked: a.Started.UTC(), Issuers: slices.Clone(req.Issuers), CAAFreshUntil: fresh}
	if a.Kind == Issuance {
		r.AuthorizationDomainName, r.Scope, r.ReusableUntil = req.FQDN(), d.Validated.Scope, *d.Validated.ReusableUntil
	}
	return r, true
}

// NoMoreThan tells whether a says the same as b, or less: the same attempt, name, scope and account, and no later ends.
func (a Relied) NoMoreThan(b Relied) bool {
	if a.CAAFreshUntil.After(b.CAAFreshUntil) || a.ReusableUntil.After(b.ReusableUntil) {
		return false
	}
	a.CAAFreshUntil, a.ReusableUntil = b.CAAFreshUntil, b.ReusableUntil
	if !a.Checked.Equal(b.Checked) {
		return false
	}
	a.Checked = b.Checked
	return reflect.DeepEqual(a, b)
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// freshUntil gives the earliest end of freshness over the primary and all remotes whose CAA counted. Each counts from the
// attempt's start, by the gate's clock: what a perspective says of its own times can make it shorter and not longer (CAA-05).
// ok is false where one that counted has no report.
func freshUntil(e Evidence, d RecordedDecision) (earliest time.Time, ok bool) {
	reports, names := e.reports()
	for _, v := range d.Views {
		if v.CAA != va.Pass {
			continue
		}
		i := slices.Index(names, v.Perspective)
		if i < 0 && e.stated(v.Perspective) { // nothing is known of its TTLs
			if fresh := e.Attempt.Started.Add(va.CAALife(0)); !ok || fresh.Before(earliest) {
				earliest, ok = fresh, true
			}
			continue
		}
		if i < 0 {
			return time.Time{}, false
		}
		f := reports[i].CAA
		fresh := e.Attempt.Started.Add(va.CAALife(relevantTTL(f)))
		if f.FreshUntil.Before(fresh) {
			fresh = f.FreshUntil
		}
		if !ok || fresh.Before(earliest) {
			earliest, ok = fresh, true
		}
	}
	return earliest.UTC(), ok
}

// relevantTTL is the TTL of the relevant RRset, no greater than its lookup's, and 0 where there is none.
func relevantTTL(f va.CAAFinding) uint32 {
	if f.Found == "" || len(f.Lookups) == 0 {
		return 0
	}
	ttl := f.TTL
	for _, l := range f.Lookups {
		if l.Name == f.Found+"." && l.Status.Usable() {
			ttl = min(ttl, l.TTL)
		}
	}
	for _, failure := range f.Failures { // CAA-06: the answer to a retry counts in its lookup's place
		if failure.Name == f.Found {
			ttl = min(ttl, failure.Retry.TTL)
		}
	}
	return ttl
}

// Wanted is what a certificate is to be issued for.
type Wanted struct {
	Names   []string
	Account string
	// Issuers are the CA's, as CAA was checked for.
	Issuers []string
	// At is now; evidence must not be of later. It must hold until Until, which is not before At.
	At, Until time.Time
}

// Reliance is what one name of a certificate can rest on.
type Reliance struct {
	Name string
	// DCV is the attempt that showed control, nil where there is none.
	DCV *Relied
	// CAA is the attempt that found permission, nil where there is none that is fresh.
	CAA *Relied
	// Problem says what is missing, in the words of PermitCodes; nil exactly when DCV and CAA are there.
	Problem *va.Problem
}

// Rely chooses for each name its own evidence, or says why there is none (D5). It is pure, and its answer does not depend on the
// order of the candidates: the newest evidence that has fresh CAA beside it, and otherwise the newest.
//
// DCV is good for the same account, for names in its scope, and inside the reuse period of the day for its own method (DCV-03, D3).
// CAA is good for exactly the name, account, method and issuers, and for its TTL or 8 hours (CAA-05): a wildcard and its base
// are two questions, and nothing of what remotes found earlier is counted beyond that (MPIC-13 is not used).
func Rely(w Wanted, candidates []Relied) []Reliance {
	sorted := slices.Clone(candidates)
	slices.SortStableFunc(sorted, func(a, b Relied) int { return cmp.Compare(b.Number, a.Number) })
	out := make([]Reliance, len(w.Names))
	for i, name := range w.Names {
		out[i] = w.rely(name, sorted)
	}
	return out
}

func (w Wanted) rely(name string, candidates []Relied) Reliance {
	out := Reliance{Name: name}
	var best *va.Problem
	weight, covering := -1, CoveringNames(name)
	for i := range candidates {
		c := &candidates[i]
		if c.Kind != Issuance {
			continue
		}
		if p, far := w.controls(*c, name, covering); p != nil {
			if far > weight {
				best, weight = p, far
			}
			continue
		}
		if out.DCV == nil {
			out.DCV = c
		}
		if caa := w.permission(name, c.Method, candidates); caa != nil {
			out.DCV, out.CAA = c, caa
			return out
		}
	}
	switch {
	case out.DCV != nil:
		out.Problem = permitProblem("permit.caa-stale", name,
			"CAA of %s was last checked too long ago, or not at all, for this account and %s; it must be checked again", name, out.DCV.Method)
	case best != nil:
		out.Problem = best
	default:
		out.Problem = noEvidence(name)
	}
	return out
}

// controls tells why a candidate does not show control of a name, nil where it does. far grows with how near it came. covering are the
// name's CoveringNames.
func (w Wanted) controls(c Relied, name string, covering []string) (p *va.Problem, far int) {
	switch {
	case !Covers(c.Scope, c.AuthorizationDomainName, name):
		if c.Account != w.Account || !slices.Contains(covering, c.Identifier) {
			return noEvidence(name), 0
		}
		return permitProblem("permit.scope", name,
			"the validation of %s by %s is good for %s, which %s is not; %s must be validated itself",
			c.Identifier, c.Method, scopeText(c), name, name), 2
	case c.Account != w.Account:
		return permitProblem("permit.account", name,
			"%s was validated for another account; this one must validate it itself", name), 1
	case c.Checked.After(w.At):
		return permitProblem("permit.clock", name, "the validation of %s is of %s, which is still to come", name, stamp(c.Checked)), 3
	}
	if p := methodGone(c.Method.Section(), name, w.Until); p != nil { // D3: the evidence's own method counts
		return p, 4
	}
	// What the record says can only be less than what the dates known today say, and both must hold.
	if until := ReusableUntil(c.Method, c.Checked); w.Until.After(until) || w.Until.After(c.ReusableUntil) {
		return permitProblem("permit.expired", name,
			"%s was validated at %s; that may be relied upon for %d days, until %s, and must be done again", name, stamp(c.Checked),
			ReusePeriod(c.Method, w.Until)/oneDay, stamp(earlier(until, c.ReusableUntil))), 5
	}
	return nil, 0
}

func noEvidence(name string) *va.Problem {
	return permitProblem("permit.no-evidence", name,
		"no validation of %s is on record for this account; it must be validated first", name)
}

// methodGone tells why no certificate may rely on a method, by its section, at a time; nil where one may.
func methodGone(section, name string, at time.Time) *va.Problem {
	from, rule, ok := sunset(section)
	if !ok || at.Before(from) {
		return nil
	}
	p := permitProblem("permit.method", name, "%s was validated by the method of BR %s, on which no certificate may rely since %s",
		name, section, from.Format(time.DateOnly))
	p.Rules = []string{rule}
	return p
}

// permission gives the newest result of CAA that is good for a name and a method, nil where there is none.
func (w Wanted) permission(name string, m va.Method, candidates []Relied) *Relied {
	for i := range candidates {
		c := &candidates[i]
		same := c.Identifier == name && c.Account == w.Account && c.Method == m && slices.Equal(c.Issuers, w.Issuers)
		fresh := !c.Checked.After(w.At) && !w.Until.After(c.CAAFreshUntil)
		if (c.Kind == Issuance || c.Kind == CAARecheck) && same && fresh {
			return c
		}
	}
	return nil
}

func scopeText(c Relied) string {
	switch c.Scope {
	case WildcardScope:
		return fmt.Sprintf("%s and *.%s", c.AuthorizationDomainName, c.AuthorizationDomainName)
	case Subtree:
		return fmt.Sprintf("%s and the names below it", c.AuthorizationDomainName)
	default:
		return fmt.Sprintf("%s alone", c.AuthorizationDomainName)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// PermitCodes lists the problem codes of permits and of the certificates that are linked to them, as va.Codes does. Codes are
// stable.
func PermitCodes() []va.Code {
	return []va.Code{
		{Code: "permit.no-evidence", Means: "the account has no validation of the name", Rules: []string{"DCV-01"}},
		{Code: "permit.account", Means: "the validation that covers the name is another account's", Rules: []string{"DCV-01"}},
		{Code: "permit.scope", Means: "the account has validated a name beside it, and that does not cover this one",
			Rules: []string{"DCV-19"}},
		{Code: "permit.clock", Means: "the validation is of a time that is still to come", Rules: []string{"DCV-03"}},
		{Code: "permit.method", Means: "the validation is by a method on which no certificate may rely any more; the rule is that method's",
			Rules: []string{"DCV-01"}},
		{Code: "permit.expired", Means: "the validation is older than the reuse period of the day", Rules: []string{"DCV-03"}},
		{Code: "permit.caa-stale", Means: "CAA was not checked within its TTL or 8 hours", Rules: []string{"CAA-05"}},
		{Code: "permit.caa-refused", Means: "CAA was checked again, and that was refused", Rules: []string{"CAA-05", "MPIC-01"}},
		{Code: "permit.duplicate", Means: "the name is asked for twice", Rules: []string{"DCV-01"}},
		{Code: "certificate.unreadable", Means: "this is no X.509 certificate, or its names cannot be read", Rules: []string{"REC-04"}},
		{Code: "certificate.authority", Means: "the certificate is a certification authority's", Rules: []string{"DCV-01"}},
		{Code: "certificate.name-type", Means: "the certificate has a name that is no DNS name", Rules: []string{"DCV-01"}},
		{Code: "certificate.name", Means: "the certificate has a name that the permit does not have, or none at all", Rules: []string{"DCV-01"}},
		{Code: "certificate.common-name", Means: "the certificate's common name is none of its DNS names", Rules: []string{"DCV-01"}},
		{Code: "certificate.early", Means: "the certificate was issued before its permit", Rules: []string{"DCV-03", "CAA-05"}},
		{Code: "certificate.late", Means: "the certificate begins after the permit expired, or was linked too long after",
			Rules: []string{"DCV-03", "CAA-05"}},
		{Code: "certificate.permit", Means: "the permit was refused, so that nothing could be issued upon it", Rules: []string{"DCV-01"}},
	}
}

// permitProblem makes a Problem with the rules that PermitCodes has for code.
func permitProblem(code, name, format string, args ...any) *va.Problem {
	p := &va.Problem{Code: code, Name: name, Detail: fmt.Sprintf(format, args...)}
	table := PermitCodes()
	if i := slices.IndexFunc(table, func(c va.Code) bool { return c.Code == code }); i >= 0 {
		p.Rules = table[i].Rules
	}
	return p
}

// cutName shortens what a caller or a certificate calls a name, for use in a sentence.
func cutName(s string) string { return strings.ToValidUTF8(s[:min(len(s), 260)], "\uFFFD") }
