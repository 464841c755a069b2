package document

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplaceLeavesTheOtherPartsAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(file, []byte("# A\n<!-- begin one -->\nold\n<!-- end one -->\nb\n<!-- begin two -->\n<!-- end two -->\n"), 0o600))
	require.NoError(t, Replace(file, "one", "new\n"))
	require.NoError(t, Replace(file, "two", "2\n"))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "# A\n<!-- begin one -->\nnew\n<!-- end one -->\nb\n<!-- begin two -->\n2\n<!-- end two -->\n", string(text))
	require.ErrorContains(t, Replace(file, "three", "3\n"), `no part "three"`)
	require.ErrorIs(t, Replace(file+".absent", "one", ""), os.ErrNotExist)
}
