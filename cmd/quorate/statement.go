package main

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
)

// writeStatement shows what a remote of another protocol said, and what was exchanged with it.
func writeStatement(b *strings.Builder, s *mpic.Statement) {
	if s == nil {
		return
	}
	for _, x := range []struct {
		what string
		said *mpic.Said
	}{{"DCV", s.DCV}, {"CAA", s.CAA}} {
		if x.said == nil {
			continue
		}
		fmt.Fprintf(b, "  %s %s%s%s, by its own word\n", x.what, x.said.Outcome, behind(" for ", x.said.Name), behind(", as ", x.said.Perspective))
		writeProblem(b, x.said.Problem)
		for _, seen := range x.said.Seen {
			fmt.Fprintf(b, "    saw %s\n", table.Clean(seen))
		}
	}
	for _, x := range s.Exchanges {
		fmt.Fprintf(b, "    %s: status %d, %s to %s\n      > %s\n      < %s\n", table.Clean(x.Target), x.Status, table.Time(x.Started), table.Time(x.Finished),
			table.Clean(x.Sent), table.Clean(x.Received))
	}
}
