// Package document writes one part of a document whose parts have different writers.
package document

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Replace puts text in the place of a file's part of a name: what stands between the lines "<!-- begin NAME -->" and
// "<!-- end NAME -->". Errors: those of the file, and a part that is not there.
func Replace(file, name, text string) error {
	old, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return err
	}
	begin, end := fmt.Sprintf("<!-- begin %s -->\n", name), fmt.Sprintf("<!-- end %s -->\n", name)
	before, rest, opened := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if !opened || !closed {
		return fmt.Errorf("%s has no part %q", file, name)
	}
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
}
