package merkle

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// emptyRoot is the root of the empty log: the SHA-256 of nothing (RFC 6962 section 2.1).
func emptyRoot() tlog.Hash {
	return sha256.Sum256(nil)
}

// ProveTree proves that the log of size next starts with the log of size old. It is tlog.ProveTree and covers the
// empty log too, which every log starts with: that proof has no hash.
func ProveTree(next, old int64, reader tlog.HashReader) (tlog.TreeProof, error) {
	if old == 0 && next >= 0 {
		return tlog.TreeProof{}, nil
	}
	proof, err := tlog.ProveTree(next, old, reader)
	if err != nil {
		return nil, fmt.Errorf("prove that the log of %d leaves starts with that of %d: %w", next, old, err)
	}
	return proof, nil
}

// CheckTree checks a proof of ProveTree. It is tlog.CheckTree and covers the empty log too: its root must be the
// SHA-256 of nothing, and the proof must be empty.
func CheckTree(proof tlog.TreeProof, next int64, nextRoot tlog.Hash, old int64, oldRoot tlog.Hash) error {
	if next < 0 || old < 0 || old > next {
		return fmt.Errorf("a log of %d leaves cannot start with one of %d", next, old)
	}
	if next == 0 && nextRoot != emptyRoot() || old == 0 && oldRoot != emptyRoot() {
		return fmt.Errorf("the root of an empty log is not the SHA-256 of nothing")
	}
	if old == 0 {
		if len(proof) != 0 {
			return fmt.Errorf("a proof of %d hashes from the empty log, which has none", len(proof))
		}
		return nil
	}
	if err := tlog.CheckTree(proof, next, nextRoot, old, oldRoot); err != nil {
		return fmt.Errorf("the log of %d leaves is not shown to start with that of %d: %w", next, old, err)
	}
	return nil
}
