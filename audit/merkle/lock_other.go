//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd

package merkle

import (
	"errors"
	"fmt"
	"os"
)

// lockFile refuses: without a lock two processes could sign from one memory and fork the log.
func lockFile(path string) (*os.File, error) {
	return nil, fmt.Errorf("%s: locks on this system: %w", path, errors.ErrUnsupported)
}
