package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

type resolveCmd struct {
	Name     string `arg:"" optional:"" help:"Domain name, in A-labels."`
	Type     string `arg:"" optional:"" help:"Record type, for example A, TXT, CAA or TYPE257."`
	Evidence bool   `help:"With --json or --batch: print the octets of all messages, the proof and the records that it rests on too."`
	Batch    string `type:"existingfile" placeholder:"FILE" help:"Ask the questions of a file instead, one \"NAME TYPE\" a line (# begins a comment), and print one JSON object a line."`
	diagnosis
}

// Help is shown below the flags' list.
func (resolveCmd) Help() string {
	return "Exit status: 0 secure or insecure, 1 wrong usage, 2 bogus, 3 failure; with --batch that of the worst answer, bogus before failure. Nothing that this prints can authorize anything."
}

func (c resolveCmd) Run(ctx context.Context, out console) error {
	if c.Batch != "" {
		return c.batch(ctx, out)
	}
	if c.Evidence && !c.JSON {
		return errors.New("--evidence is for --json or --batch: it is octets")
	}
	if c.Name == "" || c.Type == "" {
		return errors.New("resolve needs NAME and TYPE, or --batch FILE")
	}
	name, err := parseName(c.Name)
	if err != nil {
		return err
	}
	qtype, err := parseType(c.Type)
	if err != nil {
		return err
	}
	r, err := c.resolver()
	if err != nil {
		return err
	}
	a := r.Lookup(ctx, name, qtype)
	l := a.Lookup
	if c.JSON {
		err = writeJSON(out.stdout, printed(a, r, c.Evidence))
	} else {
		err = writeLookup(out.stdout, l, out.color)
	}
	if err != nil {
		return status{exitFailure, err}
	}
	return lookupStatus(l.Status)
}

func (c resolveCmd) batch(ctx context.Context, out console) error {
	if c.Name != "" {
		return errors.New("--batch: the questions stand in the file, not on the command line")
	}
	questions, err := readBatch(c.Batch)
	if err != nil {
		return err
	}
	r, err := c.resolver()
	if err != nil {
		return err
	}
	return runBatch(ctx, r, questions, c.Evidence, out.stdout)
}

// lookupStatus is the exit status of `quorate resolve`.
func lookupStatus(s dnssec.Status) error {
	switch s {
	case dnssec.Secure, dnssec.Insecure:
		return nil
	case dnssec.Bogus:
		return status{code: exitRefused}
	default:
		return status{code: exitFailure}
	}
}

// evidenced is an answer with all that it rests on: what `quorate audit verify` needs to prove it again.
type evidenced struct {
	resolver.Lookup
	// Sets are DNS records by the SHA-256 of their octets.
	Sets     dnssec.Sets       `json:"sets"`
	Resolver resolver.Settings `json:"resolver"`
	// Found is what each stage of the proof amounts to.
	Found []dnssec.Found `json:"found"`
}

// printed is what --json prints of an answer.
func printed(a *resolver.Answer, r *resolver.Resolver, evidence bool) any {
	l := complete(a.Lookup)
	if evidence {
		found, _ := r.Prover().Explain(a.Lookup, a.Sets) // an answer that is not proven says why by its own status
		return evidenced{l, a.Sets, r.Settings(), append([]dnssec.Found{}, found...)}
	}
	return l.WithoutOctets()
}

// complete gives empty lists instead of null.
func complete(l resolver.Lookup) resolver.Lookup {
	l.Answers = append([]string{}, l.Answers...)
	l.Queries = append([]resolver.Query{}, l.Queries...)
	l.Chain = append([]resolver.Link{}, l.Chain...)
	return l
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func statusColor(s dnssec.Status) string {
	switch s {
	case dnssec.Secure:
		return table.Green
	case dnssec.Insecure:
		return table.Yellow
	default:
		return table.Red
	}
}

func writeLookup(w io.Writer, l resolver.Lookup, color bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", table.Clean(l.Name), l.Type, table.Paint(color, table.Bold+";"+statusColor(l.Status), l.Status.String()))
	if l.Rcode != "" {
		fmt.Fprintf(&b, ", %s", l.Rcode)
	}
	if l.Code != "" {
		fmt.Fprintf(&b, " (%s)", l.Code)
	}
	b.WriteString("\n")
	for _, line := range table.Wrap(table.Clean(l.Why), 100) {
		b.WriteString("  " + line + "\n")
	}
	if len(l.Answers) > 0 {
		b.WriteString("\n")
	}
	for _, a := range l.Answers {
		b.WriteString("  " + table.Clean(strings.ReplaceAll(a, "\t", " ")) + "\n")
	}
	if len(l.Chain) > 0 {
		b.WriteString("\n" + table.Paint(color, table.Dim, "chain of trust") + "\n")
		writeChain(&b, l.Chain, color)
	}
	writeQueries(&b, l, color)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeChain shows each zone below the one that vouches for it. A new anchor, as behind an alias, starts at the left again.
func writeChain(b *strings.Builder, chain []resolver.Link, color bool) {
	depth := 0
	for i, link := range chain {
		if i > 0 && len(link.Zone) > len(chain[i-1].Zone) && (chain[i-1].Zone == "." || strings.HasSuffix(link.Zone, "."+chain[i-1].Zone)) {
			depth++
		} else {
			depth = 0
		}
		branch := ""
		if depth > 0 {
			branch = strings.Repeat("   ", depth-1) + "└─ "
		}
		fmt.Fprintf(b, "  %s%s  %s", branch, table.Clean(link.Zone), table.Paint(color, statusColor(link.Result), link.Result.String()))
		if len(link.DS) > 0 {
			fmt.Fprintf(b, "  DS %s", tags(link.DS))
		}
		if len(link.DNSKEY) > 0 {
			fmt.Fprintf(b, "  DNSKEY %s", tags(link.DNSKEY))
		}
		if link.Algorithm != "" {
			b.WriteString("  " + link.Algorithm)
		}
		if !link.Until.IsZero() {
			b.WriteString("  until " + table.Time(link.Until))
		}
		if link.Why != "" {
			b.WriteString("  " + table.Clean(link.Why))
		}
		b.WriteString("\n")
	}
}

func tags(list []uint16) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

func writeQueries(b *strings.Builder, l resolver.Lookup, color bool) {
	if len(l.Queries) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", table.Paint(color, table.Dim, fmt.Sprintf("%d queries, %d ms in all", len(l.Queries), l.Finished.Sub(l.Started).Milliseconds())))
	for _, q := range l.Queries {
		fmt.Fprintf(b, "  %-6s %-4s %-24s %6.1f ms  %s", q.Rcode, q.Transport, q.Server, q.Milliseconds, table.Clean(q.Question))
		if q.Error != "" {
			b.WriteString("  " + table.Paint(color, table.Yellow, table.Clean(q.Error)))
		}
		b.WriteString("\n")
	}
}
