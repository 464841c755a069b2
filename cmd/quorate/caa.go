package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

type caaCmd struct {
	Name       string   `arg:"" help:"Domain name, in A-labels; with *. in front for a wildcard."`
	Issuer     []string `required:"" placeholder:"DOMAIN" help:"The CA's issuer domain name. May be repeated."`
	Wildcard   bool     `help:"Ask for the wildcard *.NAME."`
	AccountURI string   `name:"account-uri" placeholder:"URI" help:"The account, for accounturi (RFC 8657). Without it a property that names one does not permit."`
	Method     string   `placeholder:"METHOD" help:"http-01, dns-01 or tls-alpn-01, for validationmethods (RFC 8657). Without it a property that lists methods does not permit."`
	// CertificateType picks the properties that decide.
	CertificateType string `name:"certificate-type" enum:"tls-server,s-mime" default:"tls-server" placeholder:"TYPE" help:"What the certificate is for: ${enum} (RFC 9495). For s-mime the name is the domain of the e-mail address, and issuemail alone decides."`
	// LookupFailure is the gate's caa_lookup_failure: what a gate that is configured so would find.
	LookupFailure string `enum:"deny,permit-when-proven" default:"deny" placeholder:"RULE" help:"What a lookup that failed counts for: ${enum} (BR 3.2.2.8)."`
	diagnosis
}

// Help is shown below the flags' list.
func (caaCmd) Help() string {
	return "Exit status: 0 permitted, 1 wrong usage, 2 forbidden or bogus, 3 a lookup failed. Nothing that this prints can authorize anything."
}

// caaAnswer is what `quorate caa --json` prints.
type caaAnswer struct {
	Name     string `json:"name"`
	Wildcard bool   `json:"wildcard"`
	// CertificateType is "tls-server" or "s-mime".
	CertificateType va.CertificateType `json:"certificate_type"`
	// Outcome is "permitted", "forbidden", or "error" when a lookup was bogus or failed.
	Outcome string      `json:"outcome"`
	Problem *va.Problem `json:"problem,omitempty"`
	// Found is where the relevant RRset stands; empty when there is none.
	Found   string            `json:"found"`
	Records []string          `json:"records"`
	Permits string            `json:"permits"`
	TTL     uint32            `json:"ttl"`
	Lookups []resolver.Lookup `json:"lookups"`
	// Failures is there only under permit-when-proven, where lookups failed.
	Failures []va.LookupFailure `json:"failures,omitempty"`
}

func (c caaCmd) Run(ctx context.Context, out console) error {
	req, err := c.request()
	if err != nil {
		return err
	}
	r, err := c.resolver()
	if err != nil {
		return err
	}
	checker, err := va.New(va.Config{Name: "diagnosis", Software: software(), Resolver: r})
	if err != nil {
		return err
	}
	rule, err := va.ParseFailureRule(c.LookupFailure)
	if err != nil {
		return fmt.Errorf("--lookup-failure: %w", err)
	}
	f := checker.CAA(ctx, req, rule)
	if f.Problem != nil && f.Problem.Code == "request.issuers" {
		return fmt.Errorf("--issuer: %s", f.Problem.Detail)
	}
	if f.Problem != nil && f.Problem.Code == "request.certificate-type" {
		return fmt.Errorf("--certificate-type: %s", f.Problem.Detail)
	}
	a := caaAnswer{Name: req.FQDN(), Wildcard: req.Wildcard(), CertificateType: req.CertificateType, Outcome: map[va.Outcome]string{va.Pass: "permitted", va.Fail: "forbidden"}[f.Outcome],
		Problem: f.Problem, Found: f.Found, Records: append([]string{}, f.Records...), Permits: f.Permits, TTL: f.TTL, Lookups: []resolver.Lookup{}}
	if a.Outcome == "" {
		a.Outcome = "error"
	}
	for _, l := range f.Lookups {
		a.Lookups = append(a.Lookups, complete(l).WithoutOctets())
	}
	for _, l := range f.Failures {
		l.Retry, l.DS, l.Control = complete(l.Retry), complete(l.DS), complete(l.Control)
		a.Failures = append(a.Failures, l)
	}
	if c.JSON {
		err = writeJSON(out.stdout, a)
	} else {
		err = a.write(out.stdout, req, out.color)
	}
	switch {
	case err != nil:
		return status{exitFailure, err}
	case f.Outcome == va.Pass:
		return nil
	case f.Outcome == va.Fail, f.Problem != nil && f.Problem.Code == "caa.bogus":
		return status{code: exitRefused}
	default:
		return status{code: exitFailure}
	}
}

func (c caaCmd) request() (va.Request, error) {
	base, star := strings.CutPrefix(c.Name, "*.")
	name, err := parseName(base)
	if err != nil {
		return va.Request{}, err
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "" {
		return va.Request{}, errors.New("the root has no CAA to climb to")
	}
	req := va.Request{Identifier: name, AccountURI: c.AccountURI}
	if star || c.Wildcard {
		req.Identifier = "*." + name
	}
	for _, issuer := range c.Issuer {
		req.Issuers = append(req.Issuers, strings.ToLower(strings.TrimSuffix(issuer, ".")))
	}
	if c.Method != "" {
		if req.Method, err = va.ParseMethod(c.Method); err != nil {
			return va.Request{}, fmt.Errorf("--method: %w", err)
		}
	}
	if req.CertificateType, err = va.ParseCertificateType(c.CertificateType); err != nil {
		return va.Request{}, fmt.Errorf("--certificate-type: %w", err)
	}
	return req, nil
}

func (a caaAnswer) write(w io.Writer, req va.Request, color bool) error {
	var b strings.Builder
	verdict := map[string]string{"permitted": table.Green, "forbidden": table.Red}[a.Outcome]
	if verdict == "" {
		verdict = table.Yellow
	}
	fmt.Fprintf(&b, "%s: %s for %s\n", table.Clean(req.Identifier), table.Paint(color, table.Bold+";"+verdict, a.Outcome),
		strings.Join(req.Issuers, ", "))
	sentence := "no name of the climb has CAA records, so that any CA may issue"
	switch {
	case a.Problem != nil:
		sentence = a.Problem.Detail + " (" + a.Problem.Code + ")"
	case a.Permits != "":
		sentence = "permitted by " + a.Permits
	case a.Found == "" && len(a.Failures) > 0:
		sentence = "no lookup of the climb gave CAA records, and those that failed twice are excused (CAA-06)"
	case a.Found != "":
		sentence = "the relevant records at " + a.Found + " restrict no issuance of this kind"
	}
	for _, line := range table.Wrap(table.Clean(sentence), 100) {
		b.WriteString("  " + line + "\n")
	}
	b.WriteString("\n" + table.Paint(color, table.Dim, "climb") + "\n")
	for _, l := range a.Lookups {
		fmt.Fprintf(&b, "  %s  %s %s  %s\n", table.Clean(l.Name), table.Paint(color, statusColor(l.Status), l.Status.String()), l.Rcode,
			table.Clean(l.Why))
		for _, record := range l.Answers {
			b.WriteString("    " + table.Clean(strings.ReplaceAll(record, "\t", " ")) + "\n")
		}
		for _, failure := range a.Failures {
			if failure.Name+"." == l.Name {
				writeFailure(&b, failure)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
