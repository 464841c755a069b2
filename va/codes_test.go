package va

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryCodeIsDocumented: what the program says and what the table explains are the same.
func TestEveryCodeIsDocumented(t *testing.T) {
	known, used := map[string]bool{}, map[string]bool{}
	for _, c := range Codes() {
		require.False(t, known[c.Code], "%s is there twice", c.Code)
		known[c.Code] = true
		require.NotEmpty(t, c.Means, c.Code)
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	literal := regexp.MustCompile(`(?:refuse\(|code[a-z, ]* :?= |failure\()"([a-z]+\.[a-z-]+)"`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range literal.FindAllStringSubmatch(string(source), -1) {
			used[m[1]] = true
		}
	}
	delete(used, "dns.failure") // a Lookup's, not a Problem's
	require.Equal(t, known, used)
}

// TestTheRulesOfCodesExist: each is a row of docs/requirements.tsv.
func TestTheRulesOfCodesExist(t *testing.T) {
	rows, err := os.ReadFile("../docs/requirements.tsv")
	require.NoError(t, err)
	for _, c := range Codes() {
		for _, rule := range c.Rules {
			require.Contains(t, string(rows), "\n"+rule+"\t", c.Code)
		}
	}
}

// Other programs' reports name codes too. All of ours have the form.
func TestCodesHaveTheirForm(t *testing.T) {
	for _, c := range Codes() {
		require.True(t, IsCode(c.Code), c.Code)
	}
	for _, s := range []string{"", "x", "a.b c", "a.B", "a.", ".a", "a.b\n", "a." + strings.Repeat("b", 47)} {
		require.False(t, IsCode(s), "%q", s)
	}
}
