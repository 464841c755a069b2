package main

import (
	"bytes"
	"encoding/csv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// An account, and the name at which an alias ends, are written by those who are validated.
func TestCellsOfReportsAreNoFormulas(t *testing.T) {
	var out bytes.Buffer
	r := &reporting{reportCmd: reportCmd{CSV: "prevented"}, csv: csv.NewWriter(&out)}
	require.NoError(t, r.prevented(audit.Prevented{Record: 1, Identifier: "example.com", Method: va.HTTP01, Account: "=1+2", Quorum: "5/5",
		Views: []audit.CAAView{{Perspective: "zurich", Role: mpic.Primary, Region: "RIPE NCC", Outcome: va.Fail, Found: "=cmd.example",
			Records: []string{"-x.example.\t300\tIN\tCAA\t0 issue \";\""}}}}))
	r.csv.Flush()
	row, err := csv.NewReader(&out).Read()
	require.NoError(t, err)
	require.Len(t, row, len(preventedColumns))
	require.Equal(t, "'=1+2", row[4])
	require.Equal(t, "'=cmd.example", row[11])
	require.Equal(t, "'-x.example.", row[13][:len("'-x.example.")])
	require.Equal(t, "example.com", row[2])
}
