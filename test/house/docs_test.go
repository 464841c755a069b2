package house

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	quoted   = regexp.MustCompile("`([^`\n]+)`")
	filePath = regexp.MustCompile(`^(va|mpic|acme|audit|db|cmd|test|docs|\.ci)(/[A-Za-z0-9._-]+)*/?$`)
	target   = regexp.MustCompile("(?m)(?:^    |`)make ([a-z]+)")
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// generated is written from the results of a test run, this test's too: it may be missing while that run goes on.
const generated = "docs/compliance.md"

func exists(name string) bool {
	file := filepath.Join(root, filepath.FromSlash(name))
	info, err := os.Stat(file)
	if err != nil {
		return name == generated
	}
	if info.IsDir() { // git has no empty directories
		entries, err := os.ReadDir(file)
		return err == nil && len(entries) > 0
	}
	return true
}

// anchors are the fragments that lead to a document's headings, as GitHub makes them.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		kept := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		out[kept] = true
	}
	return out
}

// deadReferences lists what a document names and what is not there: link targets, files of the repository in backquotes,
// targets of the Makefile. name is the document's path from the root, targets are the Makefile's.
func deadReferences(name, text string, targets []string) []string {
	var dead []string
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		to, fragment, _ := strings.Cut(m[1], "#")
		if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
			continue
		}
		if to == "" {
			if !anchors(text)[fragment] {
				dead = append(dead, "the heading #"+fragment)
			}
		} else if file := path.Join(path.Dir(name), to); !exists(file) {
			dead = append(dead, "the link to "+file)
		}
	}
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		if filePath.MatchString(m[1]) && !exists(m[1]) {
			dead = append(dead, "the file "+m[1])
		}
	}
	for _, m := range target.FindAllStringSubmatch(text, -1) {
		if !strings.Contains("\n"+strings.Join(targets, "\n")+"\n", "\n"+m[1]+"\n") {
			dead = append(dead, "make "+m[1])
		}
	}
	return dead
}

func makeTargets(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):`).FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	require.Contains(t, out, "demo")
	return out
}

// TestDocumentsNameTestsThatAreThere: a document that says which test holds a rule names one that exists.
func TestDocumentsNameTestsThatAreThere(t *testing.T) {
	there := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			there[m[1]] = true
		}
		return err
	}))
	text, err := os.ReadFile(filepath.Join(root, "docs", "design.md"))
	require.NoError(t, err)
	named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(named), 20)
	for _, m := range named {
		require.True(t, there[m[1]], "docs/design.md names %s, which is no test", m[1])
	}
}

// TestDocumentsNameWhatIsThere reads README.md and docs/*.md.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	require.Greater(t, len(names), 5)
	for _, name := range append(names, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		rel, err := filepath.Rel(root, name)
		require.NoError(t, err)
		require.Empty(t, deadReferences(filepath.ToSlash(rel), string(text), makeTargets(t)), "%s names what is not there", rel)
	}
}

func TestADeadReferenceIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"all there":      {"# A b\n[x](../README.md#for-whom) [y](#a-b) [z](https://example.com/) `va/http01.go` `mpic/` `make test`", nil},
		"a link":         {"[x](absent.md)", []string{"the link to docs/absent.md"}},
		"a heading":      {"# A b\n[x](#a-c)", []string{"the heading #a-c"}},
		"a file":         {"`va/http02.go`", []string{"the file va/http02.go"}},
		"a target":       {"    make absent", []string{"make absent"}},
		"other words":    {"`va < mpic`, `example.com/a`, make sense", nil},
		"in a directory": {"`mpic/openapi/`", []string{"the file mpic/openapi/"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, deadReferences("docs/x.md", c.text, []string{"demo", "test"}))
		})
	}
}

// layoutEntries gives the paths of the layout of docs/design.md: a directory at two blanks' indent per level, or the files of
// the directory above them. Lines that say "not built yet" are left out.
func layoutEntries(text string) ([]string, error) {
	_, block, found := strings.Cut(text, "\n    cmd/quorate/ ")
	if !found {
		return nil, fmt.Errorf("no layout")
	}
	block, _, _ = strings.Cut("    cmd/quorate/ "+block, "\n\n")
	var out, above []string
	for line := range strings.Lines(block) {
		if strings.Contains(line, "not built yet") {
			continue
		}
		depth := (len(line) - len(strings.TrimLeft(line, " ")) - 4) / 2
		for i, word := range strings.Fields(line) {
			isDir, isFile := strings.HasSuffix(word, "/"), strings.HasSuffix(word, ".go")
			if !isDir && !isFile {
				break // the description begins
			}
			if depth > len(above) {
				return nil, fmt.Errorf("%q stands below nothing", word)
			}
			entry := path.Join(append(append([]string{}, above[:depth]...), word)...)
			if isDir && i == 0 {
				above = append(above[:depth:depth], word)
			}
			out = append(out, entry)
		}
	}
	return out, nil
}

func TestTheLayoutIsThere(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "design.md"))
	require.NoError(t, err)
	entries, err := layoutEntries(string(text))
	require.NoError(t, err)
	require.Greater(t, len(entries), 20)
	for _, e := range entries {
		require.True(t, exists(e), "docs/design.md's layout has %s, which is not there; say \"not built yet\" on its line", e)
	}
}
