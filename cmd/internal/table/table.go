// Package table shows an attempt to a person: a line for each perspective, the quorum, and the reason.
package table

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// seenWidth is how much of what a perspective saw is shown, in characters. The record has all of it.
const seenWidth = 100

// row is one perspective's line.
type row struct {
	place, region, dcv, caa, time, seen string
}

// Write prints the attempt, with ANSI colours if colour is set. Errors of w are the writer's own affair: this is output
// for a person, and the record is elsewhere.
func Write(w io.Writer, r mpic.Result, colour bool) {
	p := painter(colour)
	probe := r.Evidence.Attempt.Probe
	fmt.Fprintf(w, "   record %d  %s  %s  %s  %s\n", r.Number, p.bold(probe.Request.Identifier), probe.Request.Method,
		r.Evidence.Attempt.Started.Format("2006-01-02T15:04:05.000Z"), probe.Attempt)
	rows := []row{{"perspective", "region", "DCV", "CAA", "time", "what it saw"}}
	views := r.Decision.Views()
	for i, v := range views {
		rows = append(rows, describe(r.Evidence, v, i))
	}
	if len(views) > 0 {
		writeRows(w, rows, p)
	}
	writeVerdict(w, r.Decision, p)
}

// describe gives the line of the view at place i: the primary first, then the remotes in the roster's order.
func describe(e mpic.Evidence, v mpic.View, i int) row {
	member, spent := e.Roster.Primary, time.Duration(0)
	var report *va.Report
	if v.Role == mpic.Primary {
		own := e.Primary.Report()
		report, spent = &own, own.Finished.Sub(own.Started)
	} else {
		member = e.Roster.Remotes[i-1]
		for _, a := range e.Remotes {
			if a.Perspective == member.Name {
				report, spent = a.Report, a.Closed.Sub(a.Asked)
			}
		}
	}
	place := member.Title
	if place == "" {
		place = member.Name
	}
	if v.Role == mpic.Primary {
		place += " (primary)"
	}
	return row{place, string(member.Place.Region), v.DCV.String(), v.CAA.String(), fmt.Sprintf("%d ms", spent.Milliseconds()), shorten(seen(report, v))}
}

// seen says in a few words what a perspective saw.
func seen(r *va.Report, v mpic.View) string {
	if v.DCVProblem != nil && v.CAAProblem != nil && *v.DCVProblem == *v.CAAProblem {
		return brief(v.DCVProblem)
	}
	dcv, caa := "", ""
	switch {
	case v.DCVProblem != nil:
		dcv = brief(v.DCVProblem)
	case r != nil:
		dcv = control(r.DCV)
	}
	switch {
	case v.CAAProblem != nil:
		caa = brief(v.CAAProblem)
	case r != nil:
		caa = permission(r.CAA)
	}
	if v.CAAProblem != nil && v.DCVProblem == nil { // the reason first
		return caa + "; " + dcv
	}
	return dcv + "; " + caa
}

func brief(p *va.Problem) string { return p.Code + ": " + p.Detail }

func control(f va.DCVFinding) string {
	switch {
	case len(f.Fetches) > 0:
		last := f.Fetches[len(f.Fetches)-1]
		if len(f.Fetches) > 1 {
			return fmt.Sprintf("token at %s after %d redirects", last.Address, len(f.Fetches)-1)
		}
		return "token at " + last.Address
	case len(f.Handshakes) > 0:
		last := f.Handshakes[len(f.Handshakes)-1]
		return fmt.Sprintf("%s at %s", last.Protocol, last.Address)
	default:
		return "TXT at " + f.Queried + security(f.Lookups, f.Queried)
	}
}

func permission(f va.CAAFinding) string {
	if f.Found == "" {
		return "no CAA" + security(f.Lookups, f.Name)
	}
	return "CAA at " + f.Found + " permits" + security(f.Lookups, f.Found)
}

// security gives the DNSSEC status of the lookup for a name, in brackets.
func security(all []resolver.Lookup, name string) string {
	for _, l := range all {
		if strings.EqualFold(l.Name, name+".") {
			return " (" + l.Status.String() + ")"
		}
	}
	return ""
}

func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= seenWidth {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:seenWidth-1]), " ") + "…"
}

func writeRows(w io.Writer, rows []row, p painter) {
	var width [5]int
	for _, r := range rows {
		for i, cell := range []string{r.place, r.region, r.dcv, r.caa, r.time} {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for i, r := range rows {
		line := "   " + pad(r.place, width[0]) + "  " + pad(r.region, width[1]) + "  "
		if i == 0 {
			line += pad(r.dcv, width[2]) + "  " + pad(r.caa, width[3]) + "  " + pad(r.time, width[4]) + "  " + r.seen
			fmt.Fprintln(w, p.dim(line))
			continue
		}
		left := strings.Repeat(" ", width[4]-utf8.RuneCountInString(r.time)) + r.time
		fmt.Fprintln(w, line+p.outcome(pad(r.dcv, width[2]))+"  "+p.outcome(pad(r.caa, width[3]))+"  "+left+"  "+r.seen)
	}
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func writeVerdict(w io.Writer, d mpic.Decision, p painter) {
	verdict := p.red("REFUSED")
	if d.Granted() {
		verdict = p.green("GRANTED")
	}
	quorum := ""
	if len(d.Views()) > 0 {
		quorum = fmt.Sprintf("  quorum: DCV %s, CAA %s", d.DCV(), d.CAA())
	} else {
		quorum = "  before the first packet"
	}
	fmt.Fprintf(w, "   %s%s\n", verdict, quorum)
	for _, r := range d.Reasons() {
		rules := ""
		if len(r.Rules) > 0 {
			rules = " [" + strings.Join(r.Rules, ", ") + "]"
		}
		fmt.Fprintf(w, "   because %s: %s%s\n", p.bold(r.Code), r.Detail, rules)
	}
}

// painter colours text, or leaves it as it is.
type painter bool

func (p painter) paint(code, s string) string {
	if !p {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p painter) bold(s string) string  { return p.paint("1", s) }
func (p painter) dim(s string) string   { return p.paint("2", s) }
func (p painter) red(s string) string   { return p.paint("31", s) }
func (p painter) green(s string) string { return p.paint("32", s) }

func (p painter) outcome(s string) string {
	switch strings.TrimSpace(s) {
	case va.Pass.String():
		return p.green(s)
	case va.Fail.String():
		return p.red(s)
	default:
		return p.paint("33", s)
	}
}
