package table

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/db"
)

// Verified says in four lines what a verification of a whole database came to.
func Verified(sum db.Verified, color bool) string {
	var b strings.Builder
	cosigned := ""
	if sum.Cosigned > 0 {
		cosigned = fmt.Sprintf(", %d of them cosigned by a witness", sum.Cosigned)
	}
	fmt.Fprintf(&b, "the log has %d lines, root %s, and extends %d checkpoints%s\n", sum.Lines, sum.Root, sum.Checkpoints, cosigned)
	if sum.Removed > 0 {
		fmt.Fprintf(&b, "the documents of its first %d lines were removed, as removals on record say, and are not among what follows\n", sum.Removed)
	}
	if sum.Covered < sum.Lines {
		fmt.Fprintf(&b, "%s\n", Paint(color, Yellow, fmt.Sprintf("no checkpoint is of its last %d lines", sum.Lines-sum.Covered)))
	}
	octets := fmt.Sprintf("%d octets", sum.Octets)
	if sum.Octets >= 10<<10 {
		octets = fmt.Sprintf("%d KiB", sum.Octets>>10)
	}
	fmt.Fprintf(&b, "%d records (%d open), %d permits, %d certificates\n", sum.Records, sum.Open, sum.Permits, sum.Certificates)
	fmt.Fprintf(&b, "%d signed replies and %d DNS answers proven from %s, %d lookups without proof\n", sum.Replies, sum.Lookups, octets, sum.Unproven)
	if sum.Withheld > 0 {
		fmt.Fprintf(&b, "%s\n", Paint(color, Yellow, fmt.Sprintf("%d records were NOT judged again as a whole: their tokens are withheld", sum.Withheld)))
	}
	if sum.Findings == 0 {
		fmt.Fprintln(&b, Paint(color, Green, "all of it holds"))
	} else {
		fmt.Fprintln(&b, Paint(color, Red, fmt.Sprintf("%d findings: NOT all of it holds", sum.Findings)))
	}
	return b.String()
}
