package merkle_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

const python = "/usr/bin/python3"

// document is docs/log.md, and a text of it as it stands there: indented by four blanks.
func document(t *testing.T) (text string, indented func(string) string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "log.md"))
	require.NoError(t, err)
	return string(raw), func(text string) string {
		return "\n    " + strings.Join(strings.Split(strings.TrimSuffix(text, "\n"), "\n"), "\n    ") + "\n"
	}
}

func TestTheDocumentsExamplesAreTrue(t *testing.T) {
	text, indented := document(t)
	require.Contains(t, text, indented(entryText))
	hash := exampleEntry().Hash()
	require.Contains(t, text, fmt.Sprintf("`%x`", hash[:]))
	require.Contains(t, text, fmt.Sprintf("these %d octets", len(entryText)))
	for _, kind := range merkle.Kinds() {
		require.Contains(t, text, fmt.Sprintf("| `%s` |", kind))
	}

	verifier, err := note.NewVerifier(documentKey(t, text))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(text, "## A checkpoint\n")
	lines := strings.Split(rest, "\n")[1:7]
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "    ")
	}
	checkpoint, _, err := merkle.OpenCheckpoint([]byte(strings.Join(lines, "\n")+"\n"), verifier)
	require.NoError(t, err)
	require.Equal(t, int64(50), checkpoint.Size)
}

// documentKey is the verifier key that the document shows.
func documentKey(t *testing.T, text string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if key, found := strings.CutPrefix(strings.TrimSpace(line), origin+"+"); found {
			return origin + "+" + key
		}
	}
	t.Fatal("docs/log.md shows no verifier key")
	return ""
}

// The lines of Python in the document agree with tlog: every leaf of small logs, and nothing changed.
//
// Holds: REC-06
func TestTheDocumentsPythonChecksProofs(t *testing.T) {
	if _, err := os.Stat(python); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "no %s", python)
		t.Skip("no " + python + " here")
	}
	text, _ := document(t)
	_, rest, _ := strings.Cut(text, "```python\n")
	script, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	check := file("check.py", script)
	run := func(leaf string, proof tlog.RecordProof, checkpoint merkle.Checkpoint) (string, error) {
		var hashes strings.Builder
		for _, hash := range proof {
			fmt.Fprintln(&hashes, hash)
		}
		out, err := exec.Command(python, check, file("leaf", leaf), file("proof", hashes.String()), file("checkpoint", checkpoint.Text())).CombinedOutput()
		return string(out), err
	}
	for _, size := range []int64{1, 2, 3, 6, 7, 8} {
		var tree merkle.Tree
		log := &rows{}
		entry := func(leaf int64) merkle.Entry {
			e := exampleEntry()
			e.Leaf, e.Subject = leaf, leaf*3
			return e
		}
		for leaf := range size {
			log.completed = append(log.completed, tree.Append(entry(leaf).Hash()))
		}
		checkpoint := exampleCheckpoint()
		checkpoint.Size, checkpoint.Root = size, tree.Root()
		for leaf := range size {
			proof, err := tlog.ProveRecord(size, leaf, merkle.Reader(log.some))
			require.NoError(t, err)
			out, err := run(string(entry(leaf).Data()), proof, checkpoint)
			require.NoError(t, err, out)
			require.Contains(t, out, fmt.Sprintf("is in the log of %s with %d leaves", origin, size))
		}
		last, err := tlog.ProveRecord(size, size-1, merkle.Reader(log.some))
		require.NoError(t, err)
		changed := strings.Replace(string(entry(size-1).Data()), "decision", "permit", 1)
		out, err := run(changed, last, checkpoint)
		require.Error(t, err)
		require.Contains(t, out, "another root")
		out, err = run(string(entry(size).Data()), last, checkpoint)
		require.Error(t, err)
		require.Contains(t, out, "beyond the log")
		out, err = run(string(entry(size-1).Data()), append(last, leafHash(1)), checkpoint)
		require.Error(t, err)
		require.Contains(t, out, "no: the proof")
	}
}
