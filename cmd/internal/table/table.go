// Package table shows an attempt to people: one row per perspective with what it found and saw, the quorum as "4/5", the
// record's number and the reasons. It is pure text over what the record holds.
package table

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Attempt is what is shown.
type Attempt struct {
	// Number is the record's.
	Number   int64
	Evidence mpic.Evidence
	// Decision is nil while none is recorded.
	Decision *mpic.RecordedDecision
}

// Of gives the result of an attempt in the form that is shown.
func Of(r mpic.Result) Attempt {
	d := r.Decision.Recorded()
	return Attempt{Number: r.Number, Evidence: r.Evidence, Decision: &d}
}

// Colours of cells and words, as SGR parameters.
const (
	Green  = "32"
	Red    = "31"
	Yellow = "33"
	Bold   = "1"
	Dim    = "2"
)

// Paint puts text in a colour, or leaves it alone.
func Paint(color bool, sgr, text string) string {
	if !color || sgr == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// rowWidth is where a row's last column is cut off, and textWidth where sentences are broken, in characters.
const (
	rowWidth  = 120
	textWidth = 112
)

// cell is a text with a colour.
type cell struct{ text, sgr string }

// Write shows an attempt. With color it uses ANSI colours; without, the text alone carries everything.
func Write(w io.Writer, a Attempt, color bool) error {
	var b strings.Builder
	head(&b, a, color)
	rows := [][]cell{{{"", ""}, {"perspective", Dim}, {"region", Dim}, {"DCV", Dim}, {"CAA", Dim}, {"time", Dim}, {"what it saw", Dim}}}
	rows = append(rows, a.row(mpic.Primary, a.Evidence.Roster.Primary))
	for _, m := range a.Evidence.Roster.Remotes {
		rows = append(rows, a.row(mpic.RemoteRole, m))
	}
	if a.Decision != nil && len(a.Decision.Views) > 0 {
		rows = append(rows, quorumRow(*a.Decision))
	}
	writeRows(&b, rows, color)
	if a.Decision != nil {
		for _, p := range a.Decision.Reasons {
			reason(&b, p, color)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// head: what was asked, what came of it, and (REC-03) when, who and by which rules.
func head(b *strings.Builder, a Attempt, color bool) {
	e := a.Evidence.Attempt
	verdict, sgr := "OPEN", Yellow
	if a.Decision != nil {
		verdict, sgr = "REFUSED", Red
		if a.Decision.Outcome == "granted" {
			verdict, sgr = "GRANTED", Green
		}
	}
	fmt.Fprintf(b, "%s  %s by %s, record %d", Paint(color, Bold+";"+sgr, verdict), Paint(color, Bold, Clean(e.Probe.Request.Identifier)),
		e.Probe.Request.Method, a.Number)
	if e.Kind == mpic.DryRun {
		b.WriteString(" (dry run: nothing can be issued upon it)")
	}
	if e.Shadow {
		b.WriteString(" (shadow: another system answered, and nothing can be issued upon it)")
	}
	fmt.Fprintf(b, "\n%s\n%s\n", Paint(color, Dim, fmt.Sprintf("  %s, attempt %s%s", Time(e.Started), Clean(e.ID()), policyText(a.Decision))),
		Paint(color, Dim, "  asked by "+Clean(e.Caller)))
}

func policyText(d *mpic.RecordedDecision) string {
	if d == nil || d.Policy == "" {
		return ""
	}
	return ", rules of " + Clean(d.Policy)
}

// Time gives a time as REC-03 asks: UTC, RFC 3339, with milliseconds.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// row is one perspective's. Role and name, not the place in a list, say whose report is read (F2).
func (a Attempt) row(role mpic.Role, m mpic.Member) []cell {
	title := m.Title
	if title == "" {
		title = m.Name
	}
	out := []cell{{role.String(), Dim}, {Clean(title), ""}, {Clean(string(m.Place.Region)), ""}}
	report, state, took := a.answer(role, m.Name)
	if a.Decision == nil {
		return append(out, cell{"pending", Yellow}, cell{"pending", Yellow}, cell{}, cell{})
	}
	at := slices.IndexFunc(a.Decision.Views, func(v mpic.View) bool { return v.Role == role && v.Perspective == m.Name })
	if at < 0 {
		return append(out, cell{"–", Dim}, cell{"–", Dim}, cell{"–", Dim}, cell{"nothing was sent to it", Dim})
	}
	v := a.Decision.Views[at]
	if state != 0 && state != mpic.Answered {
		c := cell{"! " + state.String(), Yellow}
		if state == mpic.Rejected {
			c.sgr = Red
		}
		return append(out, c, c, cell{took, ""}, cell{problemText(v.DCVProblem), ""})
	}
	return append(out, outcome(v.DCV), outcome(v.CAA), cell{took, ""}, cell{saw(v, report, a.Evidence.Attempt.Probe.Request), ""})
}

// answer gives a perspective's report, nil where there is none, what became of the question, and how long it took.
func (a Attempt) answer(role mpic.Role, name string) (report *va.Report, state mpic.State, took string) {
	if role == mpic.Primary {
		if a.Evidence.Primary == nil {
			return nil, 0, "–"
		}
		r := a.Evidence.Primary.Report()
		return &r, 0, milliseconds(r.Finished.Sub(r.Started))
	}
	i := slices.IndexFunc(a.Evidence.Remotes, func(x mpic.Attestation) bool { return x.Perspective == name })
	if i < 0 {
		return nil, 0, "–"
	}
	x := a.Evidence.Remotes[i]
	took = "–"
	if !x.Asked.IsZero() && x.State != mpic.Outstanding {
		took = milliseconds(x.Closed.Sub(x.Asked))
	}
	return x.Report, x.State, took
}

func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

func outcome(o va.Outcome) cell {
	switch o {
	case va.Pass:
		return cell{"✓ pass", Green}
	case va.Fail:
		return cell{"✗ fail", Red}
	case va.Error:
		return cell{"! error", Yellow}
	default:
		return cell{o.String(), Yellow}
	}
}

// saw says in a few words what a perspective saw, the trouble first.
func saw(v mpic.View, r *va.Report, req va.Request) string {
	switch {
	case v.DCVProblem != nil && v.CAAProblem != nil && v.DCVProblem.Code != v.CAAProblem.Code:
		return Clean(v.DCVProblem.Code) + ", " + problemText(v.CAAProblem)
	case v.DCVProblem != nil:
		return problemText(v.DCVProblem)
	case v.CAAProblem != nil:
		return problemText(v.CAAProblem)
	case r == nil:
		return ""
	}
	parts := []string{control(r.DCV, req)}
	if len(v.CAAExcused) > 0 {
		parts = append(parts, "CAA lookup failed, excused")
	}
	if r.CAA.Found != "" {
		parts = append(parts, "CAA at "+Clean(r.CAA.Found))
	} else if len(v.CAAExcused) == 0 {
		parts = append(parts, "no CAA")
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

func control(f va.DCVFinding, req va.Request) string {
	switch {
	case req.Method == va.HTTP01 && len(f.Fetches) > 0:
		last := f.Fetches[len(f.Fetches)-1]
		text := fmt.Sprintf("token at %s, status %d", Clean(last.Address), last.Status)
		if n := len(f.Fetches) - 1; n > 0 {
			text += fmt.Sprintf(" after %d redirect(s)", n)
		}
		return text
	case req.Method == va.DNS01:
		return fmt.Sprintf("TXT %.12s… (%s)", Clean(f.Observed), lookupStatus(f))
	case req.Method == va.TLSALPN01 && len(f.Handshakes) > 0:
		last := f.Handshakes[len(f.Handshakes)-1]
		return fmt.Sprintf("%s at %s", Clean(last.Protocol), Clean(last.Address))
	}
	return fmt.Sprintf("%.12s…", Clean(f.Observed))
}

func lookupStatus(f va.DCVFinding) string {
	if len(f.Lookups) == 0 {
		return "no lookup"
	}
	return f.Lookups[len(f.Lookups)-1].Status.String()
}

func problemText(p *va.Problem) string {
	if p == nil {
		return ""
	}
	return Clean(p.Code + ": " + p.Detail)
}

// quorumRow: REC-02, the counts as corroborated/attempted.
func quorumRow(d mpic.RecordedDecision) []cell {
	paint := func(q mpic.Quorum) cell {
		if q.Attempted > 0 && q.Attempted-q.Corroborated <= q.Allowed {
			return cell{q.String(), Bold + ";" + Green}
		}
		return cell{q.String(), Bold + ";" + Red}
	}
	return []cell{{"", ""}, {"quorum", Bold}, {"", ""}, paint(d.DCV), paint(d.CAA), {"", ""},
		{fmt.Sprintf("at most %d may fail; regions: DCV %d, CAA %d", d.DCV.Allowed,
			len(d.DCV.Regions), len(d.CAA.Regions)), Dim}}
}

func reason(b *strings.Builder, p *va.Problem, color bool) {
	rules := ""
	if len(p.Rules) > 0 {
		rules = " (" + strings.Join(p.Rules, ", ") + ")"
	}
	for i, line := range Wrap(Clean(p.Detail+rules), textWidth) {
		if i == 0 {
			fmt.Fprintf(b, "  %s %s\n    %s\n", Paint(color, Red, "because"), Paint(color, Bold, Clean(p.Code)), line)
			continue
		}
		fmt.Fprintf(b, "    %s\n", line)
	}
}

func writeRows(b *strings.Builder, rows [][]cell, color bool) {
	var width []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		line, at := " ", 1
		for i, c := range row {
			if i == len(row)-1 {
				line += " " + Paint(color, c.sgr, short(c.text, rowWidth-at-1))
				continue
			}
			line += " " + Paint(color, c.sgr, c.text) + strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.text)+1)
			at += width[i] + 2
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// short cuts a text off at width characters, and leaves at least 20 of it.
func short(s string, width int) string {
	r := []rune(s)
	if width = max(width, 20); len(r) <= width {
		return s
	}
	return string(r[:width-1]) + "…"
}

// Wrap breaks a text at spaces into lines of at most width characters, where its words allow it.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// Clean makes what came from outside harmless on a terminal: control characters, among them escape sequences and those
// that turn the direction of writing, become U+FFFD.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) || r == 0x200e || r == 0x200f {
			return utf8.RuneError
		}
		return r
	}, s)
}
