package resolver_test

import (
	"cmp"
	"flag"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/second"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

var (
	proofs = flag.String("proofs", "", "append each lookup of the tests with its proof to this file, for test/second/verify.py; or name it in "+
		"QUORATE_TEST_PROOFS")
	// keeping lets one test at a time write to the file.
	keeping sync.Mutex
)

// keep writes a lookup down for the second implementation, with what our own prover says of it.
func keep(t testing.TB, prover resolver.Prover, l resolver.Lookup, sets dnssec.Sets) {
	t.Helper()
	file := cmp.Or(*proofs, os.Getenv("QUORATE_TEST_PROOFS")) // read in a test, so that go test knows that its result depends on it
	if file == "" {
		return
	}
	line, err := second.NewLine(prover, l, sets)
	require.NoError(t, err)
	keeping.Lock()
	defer keeping.Unlock()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.Write(append(line, '\n'))
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
