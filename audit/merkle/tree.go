package merkle

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the log's head: its size and the hashes of its full subtrees, the widest first. The zero Tree is the empty
// log. It is small (one hash for each bit that is set in its size), and Append needs nothing else, so a writer keeps
// it in memory and reads nothing back. A Tree is not safe for concurrent use; Clone before a transaction that may fail.
type Tree struct {
	size     int64
	frontier []tlog.Hash
}

// Append adds one leaf (REC-06: records can be appended, and nothing else) and returns the hashes of the subtrees that
// it completed, the leaf's own first: level 0, 1 and so on. These are what tlog calls the stored hashes of the leaf;
// Load and Reader want them back.
func (t *Tree) Append(leaf tlog.Hash) (completed []tlog.Hash) {
	completed = make([]tlog.Hash, 1, completedBy(t.size))
	completed[0] = leaf
	// Each one bit at the low end of the size is a full subtree as wide as the one just completed.
	for level := 0; t.size>>level&1 == 1; level++ {
		last := len(t.frontier) - 1
		completed = append(completed, tlog.NodeHash(t.frontier[last], completed[level]))
		t.frontier = t.frontier[:last]
	}
	t.frontier = append(t.frontier, completed[len(completed)-1])
	t.size++
	return completed
}

// Size returns the number of leaves.
func (t *Tree) Size() int64 {
	return t.size
}

// Root returns the RFC 6962 root; that of the empty log is the SHA-256 of nothing.
func (t *Tree) Root() tlog.Hash {
	if t.size == 0 {
		return emptyRoot()
	}
	root := t.frontier[len(t.frontier)-1]
	for _, left := range slices.Backward(t.frontier[:len(t.frontier)-1]) {
		root = tlog.NodeHash(left, root)
	}
	return root
}

// Clone returns a tree of its own: appending to one of the two leaves the other as it was.
func (t *Tree) Clone() Tree {
	return Tree{size: t.size, frontier: slices.Clone(t.frontier)}
}

// Load rebuilds the head of a log of a size from stored rows: completed gives what Append returned for that leaf. It
// asks once for each full subtree, so at most 63 times. It cannot tell a wrong hash from a right one; whoever knows
// the root compares Root.
func Load(size int64, completed func(leaf int64) ([]tlog.Hash, error)) (Tree, error) {
	if size < 0 {
		return Tree{}, fmt.Errorf("log of size %d: a size is not negative", size)
	}
	tree := Tree{size: size}
	end := int64(0)
	for level := bits.Len64(uint64(size)) - 1; level >= 0; level-- {
		if size>>level&1 == 0 {
			continue
		}
		end += 1 << level
		hashes, err := completed(end - 1)
		if err != nil {
			return Tree{}, fmt.Errorf("log of size %d: hashes of leaf %d: %w", size, end-1, err)
		}
		if err := checkCompleted(end-1, hashes); err != nil {
			return Tree{}, fmt.Errorf("log of size %d: %w", size, err)
		}
		tree.frontier = append(tree.frontier, hashes[level])
	}
	return tree, nil
}

// Reader makes a tlog.HashReader over rows of what Append returned, for tlog's proofs. completed is called once for
// each read, with the leaves in increasing order and each once; a leaf that its answer leaves out, or with another
// number of hashes than that leaf completed, is an error.
func Reader(completed func(leaves []int64) (map[int64][]tlog.Hash, error)) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		if len(indexes) == 0 {
			return nil, nil
		}
		nodes := make([]node, len(indexes))
		leaves := make([]int64, len(indexes))
		for i, index := range indexes {
			if index < 0 || index > maxStoredIndex {
				return nil, fmt.Errorf("log: no stored hash has the index %d", index)
			}
			nodes[i] = nodeAt(index)
			leaves[i] = nodes[i].leaf
		}
		slices.Sort(leaves)
		rows, err := completed(slices.Compact(leaves))
		if err != nil {
			return nil, fmt.Errorf("log: read stored hashes: %w", err)
		}
		hashes := make([]tlog.Hash, len(nodes))
		for i, node := range nodes {
			row, found := rows[node.leaf]
			if !found {
				return nil, fmt.Errorf("log: the stored hashes of leaf %d are missing", node.leaf)
			}
			if err := checkCompleted(node.leaf, row); err != nil {
				return nil, fmt.Errorf("log: %w", err)
			}
			hashes[i] = row[node.level]
		}
		return hashes, nil
	})
}

// maxStoredIndex keeps tlog's index arithmetic inside of an int64: a log has less than two stored hashes a leaf.
const maxStoredIndex = math.MaxInt64 / 2

// node is the place of a stored hash: the leaf that completed its subtree, and the subtree's level.
type node struct {
	leaf  int64
	level int
}

func nodeAt(index int64) node {
	level, n := tlog.SplitStoredHashIndex(index)
	return node{leaf: (n+1)<<level - 1, level: level}
}

// completedBy returns how many subtrees a leaf completes, its own included: one more for each one bit at its low end.
func completedBy(leaf int64) int {
	return 1 + bits.TrailingZeros64(uint64(leaf)+1)
}

func checkCompleted(leaf int64, hashes []tlog.Hash) error {
	if len(hashes) != completedBy(leaf) {
		return fmt.Errorf("leaf %d has %d stored hashes, not %d", leaf, len(hashes), completedBy(leaf))
	}
	return nil
}
