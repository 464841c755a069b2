package openmpic

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// ReadChecker makes the statement of a checker of what was exchanged with it. It is pure. An error means that what was exchanged is no
// answer to the probe.
func ReadChecker(m mpic.Member, p va.Probe, exchanges []mpic.Exchange) (mpic.Statement, error) {
	return read(m, p, exchanges, func(m mpic.Member, top object, _ string) (said entry, err error) {
		said.check, err = result(top)
		return said, err
	})
}

// ReadCoordinator makes the statement of one of the perspectives behind a coordinator: it looks at perspectives, and at nothing that the
// coordinator itself makes of them (F1). It is pure. A coordinator that names one perspective twice has no answer; one that does not name
// this one has an answer that is an error.
func ReadCoordinator(m mpic.Member, p va.Probe, exchanges []mpic.Exchange) (mpic.Statement, error) {
	return read(m, p, exchanges, coordinated)
}

// entry is what an answer says of one perspective.
type entry struct {
	// code is empty where the protocol has none, name where the answer does not repeat it. check is nil where there is nothing of this
	// perspective.
	code, name string
	check      object
}

func read(m mpic.Member, p va.Probe, exchanges []mpic.Exchange, find func(mpic.Member, object, string) (entry, error)) (mpic.Statement, error) {
	s := mpic.Statement{Digest: p.Digest(), Exchanges: exchanges}
	checks := asked(p)
	if len(exchanges) != len(checks) {
		return s, fmt.Errorf("%d exchanges for %d checks", len(exchanges), len(checks))
	}
	for i, check := range checks {
		x := exchanges[i]
		if x.Status != http.StatusOK {
			return s, fmt.Errorf("%s: the status %d", check, x.Status)
		}
		top, err := readObject([]byte(x.Received))
		if err != nil {
			return s, fmt.Errorf("%s: the answer is no JSON object: %w", check, err)
		}
		found, err := find(m, top, check)
		if err != nil {
			return s, fmt.Errorf("%s: %w", check, err)
		}
		said := found.said(m, p, check)
		said.Perspective, said.Name = found.code, found.name
		if other := otherQuestion(m, p, check, x); other != "" {
			said.Outcome, said.Problem = va.Error, problem(m, "unbound", "was not asked what the probe asks: %s", other)
		}
		if check == checkDCV {
			s.DCV = &said
		} else {
			s.CAA = &said
		}
	}
	return s, nil
}

// otherQuestion tells how what was sent differs from what the probe asks, "" where it does not (MPIC-09).
func otherQuestion(m mpic.Member, p va.Probe, check string, x mpic.Exchange) string {
	if at, err := endpoint(m, check); err != nil || x.Target != at {
		return "the URL"
	}
	count := 0
	if m.Protocol == mpic.OpenMPICCoordinator {
		sent, err := readObject([]byte(x.Sent))
		if err != nil {
			return "no JSON"
		}
		given, err := sent.object("orchestration_parameters")
		if err != nil || given == nil {
			return "no perspective_count"
		}
		n, _, err := given.whole("perspective_count")
		if err != nil || n < 1 || n > mostPerspectives {
			return "the perspective_count"
		}
		count = int(n)
	}
	if want, err := body(p, check, count); err != nil || want != x.Sent {
		return "the body"
	}
	return ""
}

// coordinated finds a perspective in a coordinator's answer.
func coordinated(m mpic.Member, top object, check string) (e entry, err error) {
	if e.name, _, err = top.text("domain_or_ip_target"); err != nil {
		return e, err
	}
	e.name = lower(strings.TrimSuffix(e.name, "."))
	if kind, there, err := top.text("check_type"); err != nil || there && kind != check {
		return e, fmt.Errorf("check_type is %q", front.Cut(kind, 64))
	}
	all, err := entries(top)
	if err != nil {
		return e, err
	}
	e.code = code(m)
	if one, ok := all[e.code]; ok {
		e.check, err = result(one)
	}
	return e, err
}

// entries gives a coordinator's perspectives by their codes. MPIC-05: two of one code are an error, whatever they say.
func entries(top object) (map[string]object, error) {
	list, ok := top["perspectives"].([]any)
	if !ok {
		return nil, errors.New("perspectives is not a list")
	}
	all := map[string]object{}
	for _, v := range list {
		one, ok := v.(object)
		if !ok {
			return nil, errors.New("perspectives has something that is not an object")
		}
		name, there, err := one.text("perspective_code")
		if err != nil || !there || name == "" {
			return nil, errors.New("perspectives has one without perspective_code")
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("the perspective %q is there twice", front.Cut(name, 64))
		}
		all[name] = one
	}
	return all, nil
}

// result gives the object in which a result stands: below check_response in the specification's form, beside the code in the flat one.
// Where it stands in both nobody can say which is meant.
func result(o object) (object, error) {
	nested, err := o.object("check_response")
	if err != nil || nested == nil {
		return o, err
	}
	if _, both := o["check_passed"]; both {
		return nil, errors.New("a result stands both beside check_response and in it")
	}
	return nested, nil
}

func problem(m mpic.Member, code, format string, args ...any) *va.Problem {
	return &va.Problem{Code: "perspective." + code, Rules: []string{"MPIC-10", "MPIC-11"}, Detail: m.Name + " " + fmt.Sprintf(format, args...)}
}

// said reads one result. F6: it is a pass only where check_passed is true, no error stands beside it, it is dated, and it has what it
// must have seen.
func (e entry) said(m mpic.Member, p va.Probe, check string) (s mpic.Said) {
	s.Outcome = va.Error
	if e.check == nil {
		s.Problem = problem(m, "silent", "is not among the perspectives of the answer (%s)", check)
		return s
	}
	fault := func(err error) mpic.Said {
		s.Outcome, s.Problem = va.Error, problem(m, "contradiction", "answered (%s) with what is no result: %v", check, err)
		return s
	}
	passed, there, err := e.check.truth("check_passed")
	if err != nil || !there {
		return fault(errors.Join(err, absent(there, "check_passed")))
	}
	completed, told, err := e.check.truth("check_completed")
	if err != nil {
		return fault(err)
	}
	if kind, there, err := e.check.text("check_type"); err != nil || there && kind != check {
		return fault(fmt.Errorf("check_type is %q", front.Cut(kind, 64)))
	}
	at, dated, err := e.check.whole("timestamp_ns")
	if err == nil && dated && at > 0 {
		s.At = time.Unix(0, at).UTC()
	}
	reasons, told2 := e.reasons()
	switch {
	case !passed && told && !completed:
		s.Problem = problem(m, "check-error", "could not complete the check (%s): %s", check, reasons)
		return s
	case !passed:
		s.Outcome, s.Problem = va.Fail, problem(m, "check-failed", "did the check (%s), and it failed: %s", check, reasons)
		return s
	case told && !completed:
		return fault(errors.New("check_passed is true, and check_completed false"))
	case told2:
		return fault(fmt.Errorf("check_passed is true, and there are errors: %s", reasons))
	case s.At.IsZero():
		return fault(errors.Join(err, errors.New("a pass without timestamp_ns")))
	}
	details, err := e.check.object("details")
	if err != nil || details == nil {
		return fault(errors.Join(err, absent(details != nil, "details")))
	}
	if check == checkCAA {
		s.Seen, err = seenCAA(p.Request, details)
	} else {
		s.Seen, err = seenDCV(p.Request, details)
	}
	if err != nil {
		return fault(err)
	}
	s.Outcome = va.Pass
	return s
}

func absent(there bool, name string) error {
	if there {
		return nil
	}
	return fmt.Errorf("%s is missing", name)
}

// reasons gives the errors of a result in words, and whether there are any.
func (e entry) reasons() (string, bool) {
	v := e.check["errors"]
	if v == nil {
		return "it gives no reason", false
	}
	list, ok := v.([]any)
	if !ok {
		return "its errors are no list", true
	}
	var words []string
	for _, x := range list {
		o, ok := x.(object)
		if !ok {
			continue
		}
		kind, _, _ := o.text("error_type") // what is no text is left out
		message, _, _ := o.text("error_message")
		words = append(words, strings.TrimSpace(kind+" "+message))
	}
	if len(list) == 0 {
		return "it gives no reason", false
	}
	return front.Cut(strings.Join(words, "; "), 1000), true
}

// seenCAA reads the relevant records, in presentation format. A pass that found records and does not show them cannot be held to
// anything, and is none: Open MPIC evaluates neither accounturi nor validationmethods (C5), so that Judge does.
func seenCAA(r va.Request, details object) ([]string, error) {
	present, there, err := details.truth("caa_record_present")
	if err != nil || !there {
		return nil, errors.Join(err, absent(there, "caa_record_present"))
	}
	found, _, err := details.text("found_at")
	if err != nil {
		return nil, err
	}
	records, err := details.texts("records_seen")
	if err == nil && len(records) == 0 {
		records, err = details.texts("response") // the flat form
	}
	switch found = lower(strings.TrimSuffix(found, ".")); {
	case err != nil:
		return nil, err
	case !present && len(records) == 0:
		return nil, nil
	case !present:
		return nil, fmt.Errorf("there is no CAA record, and %d were seen", len(records))
	case len(records) == 0:
		return nil, errors.New("there are CAA records, and none is shown")
	case found == "":
		found = r.FQDN()
	case found != r.FQDN() && !strings.HasSuffix(r.FQDN(), "."+found): // C1
		return nil, fmt.Errorf("the CAA records are those of %q, which is neither %s nor above it", front.Cut(found, 100), r.FQDN())
	}
	for i, record := range records {
		if f := strings.Fields(record); len(f) < 6 || f[2] != "IN" || f[3] != "CAA" { // RDATA alone, as Open MPIC's own code gives it
			records[i] = found + ". 0 IN CAA " + record
		}
	}
	return records, nil
}

func seenDCV(r va.Request, details object) ([]string, error) {
	if method, there, err := details.text("validation_method"); err != nil || there && method != methodName(r.Method) {
		return nil, fmt.Errorf("validation_method is %q", front.Cut(method, 64))
	}
	switch r.Method {
	case va.HTTP01:
		return seenPage(r, details)
	case va.DNS01:
		return seenTXT(r, details)
	default:
		name, _, err := details.text("common_name")
		if err != nil || name == "" {
			return nil, err
		}
		return []string{name}, nil
	}
}

const maxHops = 10

// seenPage holds what is told of http-01 to its rules, as far as it is told (DCV-16, DCV-17; D8, D9): the first URL where no redirect is
// told, Authorized Ports, a status of 2xx, and the key authorization in the page, of which the first 100 octets are shown.
func seenPage(r va.Request, details object) ([]string, error) {
	at, _, err := details.text("response_url")
	if err != nil {
		return nil, err
	}
	history, _ := details["response_history"].([]any) // null for none
	if len(history) > maxHops {
		return nil, fmt.Errorf("%d redirects", len(history))
	}
	for _, v := range history {
		hop, _ := v.(object)
		to, there, err := hop.text("response_url")
		if err == nil && !there {
			to, _, err = hop.text("url") // Open MPIC's own code, where it is the Location, which may be relative
		}
		if u, parsed := url.Parse(to); err != nil || parsed != nil || to == "" || u.IsAbs() && !authorized(u) {
			return nil, fmt.Errorf("a redirect to %q", front.Cut(to, 200))
		}
	}
	u, err := url.Parse(at)
	if err != nil || !authorized(u) {
		return nil, fmt.Errorf("the page was fetched at %q", front.Cut(at, 200))
	}
	first := "http://" + r.FQDN() + "/.well-known/acme-challenge/" + r.Token
	if len(history) == 0 && at != first {
		return nil, fmt.Errorf("the page was fetched at %q, where %s was asked and no redirect is told", front.Cut(at, 300), first)
	}
	status, _, err := details.whole("response_status_code")
	if err != nil || status < 200 || status > 299 {
		return nil, fmt.Errorf("the status is %d", status)
	}
	page, _, err := details.text("response_page")
	if err != nil || !shows(page, r.KeyAuthorization) {
		return nil, fmt.Errorf("the page does not show the key authorization: %q", front.Cut(page, pageOctets))
	}
	return []string{fmt.Sprintf("%s %d %q", at, status, front.Cut(page, pageOctets))}, nil
}

// shows tells whether a page is a key authorization with white space behind it (RFC 8555 section 8.3), or, cut, the beginning of one. It
// comes as text, or in base64.
func shows(page, authorization string) bool {
	is := func(s string) bool {
		return strings.TrimRight(s, " \t\r\n") == authorization || len(s) >= pageOctets && strings.HasPrefix(authorization, s)
	}
	if authorization == "" {
		return false
	}
	decoded, err := base64.StdEncoding.DecodeString(page)
	return is(page) || err == nil && is(string(decoded))
}

// seenTXT gives the TXT values that were seen. Judge finds the expected one among them, or does not.
func seenTXT(r va.Request, details object) ([]string, error) {
	if rcode, there, err := details.whole("response_code"); err != nil || there && rcode != 0 {
		return nil, fmt.Errorf("the response code is %d", rcode)
	}
	aliases, err := details.texts("cname_chain")
	if err != nil {
		return nil, err
	}
	found, _, err := details.text("found_at")
	if err != nil {
		return nil, err
	}
	last := r.Queried()
	if len(aliases) > 0 {
		last = lower(strings.TrimSuffix(aliases[len(aliases)-1], "."))
	}
	if found = lower(strings.TrimSuffix(found, ".")); found != "" && found != last && found != r.Queried() { // D1
		return nil, fmt.Errorf("the records were found at %q, where %s was asked", front.Cut(found, 100), r.Queried())
	}
	values, err := details.texts("records_seen")
	for i, v := range values {
		// One record may be of several strings, in quotation marks each. What is expected has neither quotation marks nor blanks.
		if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
			v = v[1 : len(v)-1]
		}
		values[i] = strings.ReplaceAll(v, `" "`, "")
	}
	return values, err
}
