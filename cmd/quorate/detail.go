package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// writeDetail shows, below the table, what each perspective asked and what came back.
func writeDetail(w io.Writer, a table.Attempt, late []mpic.Attestation, color bool) error {
	var b strings.Builder
	req := a.Evidence.Attempt.Probe.Request
	fmt.Fprintf(&b, "\n%s\n  identifier  %s\n  validated   %s, by %s (BR %s), at %s\n  account     %s\n  issuers     %s\n  token made  %s\n  software    %s\n",
		table.Paint(color, table.Bold, "asked"), table.Clean(req.Identifier), table.Clean(req.FQDN()), req.Method, req.Method.Section(),
		table.Clean(req.Queried()), table.Clean(req.AccountURI), table.Clean(strings.Join(req.Issuers, ", ")), table.Time(req.TokenCreated),
		table.Clean(a.Evidence.Attempt.Software))
	if req.CertificateType != va.TLSServer {
		fmt.Fprintf(&b, "  certificate %s (CAA-10)\n", req.CertificateType)
	}
	if rule := a.Evidence.Attempt.Probe.CAALookupFailure; rule != va.DenyFailure {
		fmt.Fprintf(&b, "  CAA lookups that fail: %s (CAA-06)\n", rule)
	}
	writeExcused(&b, a.Decision, color)
	if a.Evidence.Primary != nil {
		r := a.Evidence.Primary.Report()
		writeReport(&b, mpic.Primary, a.Evidence.Roster.Primary.Name, mpic.Answered.String(), &r, color)
	}
	for _, x := range a.Evidence.Remotes {
		writeReport(&b, mpic.RemoteRole, x.Perspective, x.State.String(), x.Report, color)
		writeStatement(&b, x.Statement)
		writeProblem(&b, x.Problem)
	}
	for _, x := range late {
		writeReport(&b, mpic.RemoteRole, x.Perspective, x.State.String()+", late: it changed nothing", x.Report, color)
		writeStatement(&b, x.Statement)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeNotices shows, below all that, the reports of the refusal (CAA-09).
func writeNotices(w io.Writer, notices []mpic.Notice, color bool) error {
	if len(notices) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", table.Paint(color, table.Bold, "reported to those whom the CAA records name"))
	for _, n := range notices {
		to := n.Property
		if n.Count > 0 {
			to = fmt.Sprintf("%d properties", n.Count)
		}
		fmt.Fprintf(&b, "  %s  %s  %s: %s (%s)%s\n", table.Time(n.At), table.Clean(to), n.Outcome, table.Clean(n.Detail), table.Clean(n.Code),
			behind(" at ", n.Address))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeExcused shows where the decision took a failed lookup for permission.
func writeExcused(b *strings.Builder, d *mpic.RecordedDecision, color bool) {
	if d == nil {
		return
	}
	for _, v := range d.Views {
		if len(v.CAAExcused) > 0 {
			fmt.Fprintf(b, "  %s at %s, for %s: the CAA lookup failed, and that counted as permission\n",
				table.Paint(color, table.Yellow, "excused"), table.Clean(v.Perspective), table.Clean(strings.Join(v.CAAExcused, ", ")))
		}
	}
}

func writeReport(b *strings.Builder, role mpic.Role, name, state string, r *va.Report, color bool) {
	fmt.Fprintf(b, "\n%s (%s, %s)\n", table.Paint(color, table.Bold, table.Clean(name)), role, state)
	if r == nil {
		return
	}
	fmt.Fprintf(b, "  DCV %s at %s, %s to %s\n", r.DCV.Outcome, table.Clean(r.DCV.Queried), table.Time(r.DCV.Started), table.Time(r.DCV.Finished))
	writeProblem(b, r.DCV.Problem)
	if r.DCV.Observed != "" {
		fmt.Fprintf(b, "    saw %s\n", table.Clean(r.DCV.Observed))
	}
	for _, f := range r.DCV.Fetches {
		fmt.Fprintf(b, "    GET %s at %s: status %d, %d bytes%s%s\n", table.Clean(f.URL), dash(f.Address), f.Status, f.Bytes,
			behind(" to ", f.Location), behind(", ", f.Error))
	}
	for _, h := range r.DCV.Handshakes {
		fmt.Fprintf(b, "    TLS at %s for %s: %s %s, names %s%s\n", dash(h.Address), table.Clean(h.ServerName), dash(h.Version), table.Clean(h.Protocol),
			table.Clean(strings.Join(h.Names, " ")), behind(", ", h.Error))
	}
	writeLookups(b, r.DCV.Lookups)
	fmt.Fprintf(b, "  CAA %s for %s, %s to %s\n", r.CAA.Outcome, table.Clean(r.CAA.Name), table.Time(r.CAA.Started), table.Time(r.CAA.Finished))
	writeProblem(b, r.CAA.Problem)
	if r.CAA.Permits != "" {
		fmt.Fprintf(b, "    permitted by %s\n", table.Clean(strings.ReplaceAll(r.CAA.Permits, "\t", " ")))
	}
	writeLookups(b, r.CAA.Lookups)
	for _, f := range r.CAA.Failures {
		writeFailure(b, f)
	}
}

// writeFailure shows what was asked after the CAA lookup of a name had failed.
func writeFailure(b *strings.Builder, f va.LookupFailure) {
	fmt.Fprintf(b, "    after the failure at %s:\n", table.Clean(f.Name))
	for _, x := range []struct {
		what   string
		lookup resolver.Lookup
	}{{"retried", f.Retry}, {"insecure", f.DS}, {"elsewhere", f.Control}} {
		l := x.lookup
		fmt.Fprintf(b, "      %-9s  %s %s: %s%s%s, %s to %s\n", x.what, table.Clean(l.Name), table.Clean(l.Type), l.Status, behind(" ", l.Rcode),
			behind(", ", l.Code), table.Time(l.Started), table.Time(l.Finished))
	}
}

func writeProblem(b *strings.Builder, p *va.Problem) {
	if p != nil {
		fmt.Fprintf(b, "    %s: %s\n", table.Clean(p.Code), table.Clean(p.Detail))
	}
}

func writeLookups(b *strings.Builder, lookups []resolver.Lookup) {
	for _, l := range lookups {
		fmt.Fprintf(b, "    %s %s: %s %s, %d queries%s\n", table.Clean(l.Name), table.Clean(l.Type), l.Status, table.Clean(l.Rcode), len(l.Queries), behind(", ", l.Code))
		for _, record := range l.Answers {
			fmt.Fprintf(b, "      %s\n", table.Clean(strings.ReplaceAll(record, "\t", " ")))
		}
	}
}

// behind gives a text with something in front, and nothing where there is no text.
func behind(front, text string) string {
	if text == "" {
		return ""
	}
	return front + table.Clean(text)
}
