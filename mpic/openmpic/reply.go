package openmpic

import (
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// checkError is one entry of errors.
type checkError struct {
	Type    string `json:"error_type"`
	Message string `json:"error_message"`
}

// checkResponse is the specification's CheckResponseDCV or CheckResponseCAA. Details is one of the *Details below.
type checkResponse struct {
	CheckCompleted bool         `json:"check_completed"`
	CheckPassed    bool         `json:"check_passed"`
	Errors         []checkError `json:"errors"`
	TimestampNS    int64        `json:"timestamp_ns"`
	CheckType      string       `json:"check_type"`
	Details        any          `json:"details"`
}

type redirectDetails struct {
	Status int    `json:"response_status_code"`
	URL    string `json:"response_url"`
}

type httpDetails struct {
	History    []redirectDetails `json:"response_history"`
	URL        *string           `json:"response_url"`
	Status     *int              `json:"response_status_code"`
	Page       *string           `json:"response_page"`
	ResolvedIP *string           `json:"resolved_ip"`
}

type dnsDetails struct {
	RecordsSeen []string `json:"records_seen"`
	Rcode       *int     `json:"response_code"`
	AD          *bool    `json:"ad_flag"`
	FoundAt     *string  `json:"found_at"`
	CNAMEs      []string `json:"cname_chain"`
}

type tlsDetails struct {
	CommonName string `json:"common_name"`
}

// caaDetails in the specification's form, and flatCAADetails as in EJBCA's manual.
type caaDetails struct {
	Present     bool    `json:"caa_record_present"`
	FoundAt     *string `json:"found_at"`
	RecordsSeen *string `json:"records_seen"`
}

type flatCAADetails struct {
	Present  bool    `json:"caa_record_present"`
	FoundAt  *string `json:"found_at"`
	Response *string `json:"response"`
}

// nestedPerspective and flatPerspective are an entry of perspectives in both forms.
type nestedPerspective struct {
	Code     string        `json:"perspective_code"`
	Response checkResponse `json:"check_response"`
}

type flatPerspective struct {
	Code        string       `json:"perspective_code"`
	CheckPassed bool         `json:"check_passed"`
	Errors      []checkError `json:"errors"`
	TimestampNS int64        `json:"timestamp_ns"`
	CheckType   string       `json:"check_type"`
	Details     any          `json:"details"`
}

func (c checkResponse) flat(code string) flatPerspective {
	f := flatPerspective{Code: code, CheckPassed: c.CheckPassed, Errors: c.Errors, TimestampNS: c.TimestampNS, CheckType: c.CheckType,
		Details: c.Details}
	if len(f.Errors) == 0 {
		f.Errors = nil
	}
	if d, ok := c.Details.(caaDetails); ok {
		f.Details = flatCAADetails{Present: d.Present, FoundAt: d.FoundAt, Response: d.RecordsSeen}
	}
	return f
}

// actual are the orchestration parameters as they were.
type actual struct {
	Perspectives int `json:"perspective_count"`
	Quorum       int `json:"quorum_count"`
	Attempts     int `json:"attempt_count"`
}

// nestedBase is the specification's BaseMPICResponse.
type nestedBase struct {
	Requested map[string]any      `json:"request_orchestration_parameters"`
	Actual    actual              `json:"actual_orchestration_parameters"`
	IsValid   bool                `json:"is_valid"`
	Target    string              `json:"domain_or_ip_target"`
	Completed bool                `json:"mpic_completed"`
	CheckType string              `json:"check_type"`
	Seen      []nestedPerspective `json:"perspectives"`
	Previous  []struct{}          `json:"previous_attempt_results"`
	Trace     string              `json:"trace_identifier,omitempty"`
}

type nestedDCV struct {
	nestedBase
	Parameters map[string]any `json:"dcv_check_parameters"`
}

type nestedCAA struct {
	nestedBase
	Parameters map[string]any `json:"caa_check_parameters"`
}

// flatBase is what EJBCA's manual has. trace_identifier, which it does not, is there where the caller gave one.
type flatBase struct {
	Requested map[string]any    `json:"request_orchestration_parameters"`
	Actual    actual            `json:"actual_orchestration_parameters"`
	IsValid   bool              `json:"is_valid"`
	CheckType string            `json:"check_type"`
	Seen      []flatPerspective `json:"perspectives"`
	Trace     string            `json:"trace_identifier,omitempty"`
}

type flatDCV struct {
	flatBase
	Parameters map[string]any `json:"dcv_check_parameters"`
}

type flatCAA struct {
	flatBase
	Parameters map[string]any `json:"caa_check_parameters"`
}

// seen is one perspective's part in an answer.
type seen struct {
	code     string
	response checkResponse
}

// reply puts an answer together, in the form that was asked for.
func (q *request) reply(flat, valid, completed bool, as actual, all []seen) any {
	if flat {
		base := flatBase{Requested: q.orchestration.echo(true), Actual: as, IsValid: valid, CheckType: q.check, Trace: q.trace, Seen: []flatPerspective{}}
		for _, s := range all {
			base.Seen = append(base.Seen, s.response.flat(s.code))
		}
		if q.check == checkDCV {
			return flatDCV{base, q.dcv}
		}
		return flatCAA{base, q.caaEcho(true)}
	}
	base := nestedBase{Requested: q.orchestration.echo(false), Actual: as, IsValid: valid, Target: q.target, Completed: completed,
		CheckType: q.check, Trace: q.trace, Seen: []nestedPerspective{}}
	for _, s := range all {
		base.Seen = append(base.Seen, nestedPerspective{s.code, s.response})
	}
	if q.check == checkDCV {
		return nestedDCV{base, q.dcv}
	}
	return nestedCAA{base, q.caaEcho(false)}
}

// response tells what one check came to: outcome and problem are the decision's, details come from what the perspective itself reported.
// at is when it answered, where the report does not say when it finished.
func (q *request) response(outcome va.Outcome, problem *va.Problem, r *va.Report, s *mpic.Statement, at time.Time) checkResponse {
	c := checkResponse{CheckPassed: outcome == va.Pass, CheckCompleted: outcome == va.Pass || outcome == va.Fail, CheckType: q.check,
		Errors: []checkError{}}
	if problem != nil {
		kind := "validation:caa"
		if q.check == checkDCV {
			kind = "validation:" + methodName(q.what.Method)
		}
		c.Errors = append(c.Errors, checkError{kind, problem.Code + ": " + problem.Detail})
	}
	switch {
	case q.check == checkCAA:
		c.Details = caaOf(r, s)
		if r != nil {
			at = r.CAA.Finished
		} else if s != nil && s.CAA != nil && !s.CAA.At.IsZero() {
			at = s.CAA.At
		}
	default:
		c.Details = dcvOf(q.what.Method, r, s)
		if r != nil {
			at = r.DCV.Finished
		} else if s != nil && s.DCV != nil && !s.DCV.At.IsZero() {
			at = s.DCV.At
		}
	}
	if !at.IsZero() {
		c.TimestampNS = at.UnixNano()
	}
	return c
}

func caaOf(r *va.Report, s *mpic.Statement) caaDetails {
	var d caaDetails
	switch {
	case r != nil && len(r.CAA.Records) > 0:
		d.Present, d.FoundAt, d.RecordsSeen = true, &r.CAA.Found, joined(r.CAA.Records)
	case s != nil && s.CAA != nil && len(s.CAA.Seen) > 0:
		d.Present, d.RecordsSeen = true, joined(s.CAA.Seen)
		if owner, _, ok := strings.Cut(s.CAA.Seen[0], " "); ok {
			owner = strings.TrimSuffix(owner, ".")
			d.FoundAt = &owner
		}
	}
	return d
}

func joined(records []string) *string {
	all := strings.ReplaceAll(strings.Join(records, "\n"), "\t", " ")
	return &all
}

func dcvOf(m va.Method, r *va.Report, s *mpic.Statement) any {
	if r == nil {
		return dcvSaid(m, s)
	}
	switch m {
	case va.HTTP01:
		return httpOf(r.DCV.Fetches)
	case va.DNS01:
		return dnsOf(r.DCV)
	default:
		var d tlsDetails
		for _, h := range r.DCV.Handshakes {
			if len(h.Names) > 0 {
				d.CommonName = strings.TrimPrefix(h.Names[0], "DNS:")
			}
		}
		return d
	}
}

// dcvSaid gives the details of a remote of another protocol: no more than what it said that it saw.
func dcvSaid(m va.Method, s *mpic.Statement) any {
	var said []string
	if s != nil && s.DCV != nil {
		said = s.DCV.Seen
	}
	switch m {
	case va.HTTP01:
		return httpDetails{}
	case va.DNS01:
		return dnsDetails{RecordsSeen: said}
	default:
		return tlsDetails{CommonName: strings.Join(said, " ")}
	}
}

// pageOctets is how much of a page is told: the first 100 octets, by the specification.
const pageOctets = 100

func httpOf(fetches []va.Fetch) httpDetails {
	d := httpDetails{History: []redirectDetails{}}
	if len(fetches) == 0 {
		return httpDetails{}
	}
	for _, f := range fetches[:len(fetches)-1] {
		d.History = append(d.History, redirectDetails{f.Status, f.URL})
	}
	last := fetches[len(fetches)-1]
	d.URL = &last.URL
	if last.Status != 0 {
		page := front.Cut(last.Body, pageOctets)
		d.Status, d.Page = &last.Status, &page
	}
	if at, err := netip.ParseAddrPort(last.Address); err == nil {
		address := at.Addr().String()
		d.ResolvedIP = &address
	}
	return d
}

func dnsOf(f va.DCVFinding) dnsDetails {
	d := dnsDetails{RecordsSeen: []string{}, CNAMEs: []string{}}
	if len(f.Lookups) == 0 {
		return dnsDetails{}
	}
	l := f.Lookups[len(f.Lookups)-1]
	if n, ok := dns.StringToRcode[l.Rcode]; ok {
		d.Rcode = &n
	}
	secure := l.Status == dnssec.Secure
	d.AD = &secure
	found := strings.TrimSuffix(l.Name, ".")
	for _, text := range l.Answers {
		rr, err := dns.NewRR(text)
		if err != nil || rr == nil {
			continue
		}
		switch rr := rr.(type) {
		case *dns.CNAME:
			found = strings.TrimSuffix(strings.ToLower(rr.Target), ".")
			d.CNAMEs = append(d.CNAMEs, found)
		case *dns.TXT:
			d.RecordsSeen = append(d.RecordsSeen, strings.Join(rr.Txt, ""))
		}
	}
	d.FoundAt = &found
	return d
}

// authorized tells whether a URL is one that http-01 may lead to: http or https, at an Authorized Port of the web (DCV-16; D9).
func authorized(u *url.URL) bool {
	port := u.Port()
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && (port == "" || port == "80" || port == "443")
}
