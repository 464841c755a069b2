package table

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
)

func TestVerified(t *testing.T) {
	sum := db.Verified{Lines: 9, Root: "ROOT=", Checkpoints: 2, Covered: 9, Records: 3, Open: 1, Permits: 2, Certificates: 1, Replies: 10, Lookups: 40, Octets: 900}
	require.Equal(t, "the log has 9 lines, root ROOT=, and extends 2 checkpoints\n"+
		"3 records (1 open), 2 permits, 1 certificates\n10 signed replies and 40 DNS answers proven from 900 octets, 0 lookups without proof\n"+
		"all of it holds\n", Verified(sum, false))
	sum.Findings, sum.Cosigned, sum.Octets = 2, 1, 20<<10
	require.Contains(t, Verified(sum, true), "\x1b[31m2 findings: NOT all of it holds")
	require.Contains(t, Verified(sum, false), "checkpoints, 1 of them cosigned by a witness\n")
	require.Contains(t, Verified(sum, false), "from 20 KiB,")
	require.NotContains(t, Verified(sum, false), "withheld")
	sum.Withheld, sum.Covered, sum.Removed = 3, 7, 4
	require.Contains(t, Verified(sum, false), "\n3 records were NOT judged again as a whole: their tokens are withheld\n", "whoever takes the tokens out has no signature verified")
	require.Contains(t, Verified(sum, false), "\nthe documents of its first 4 lines were removed, as removals on record say")
	require.Contains(t, Verified(sum, false), "\nno checkpoint is of its last 2 lines\n")
}
