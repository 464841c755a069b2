package merkle_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

func hexOf(digest [32]byte) string {
	return hex.EncodeToString(digest[:])
}

// leafHash is the hash of a leaf in the logs of these tests.
func leafHash(n int64) tlog.Hash {
	return tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// rows is a log as a database keeps it: what Append returned for each leaf. flat is the same as tlog itself makes it.
type rows struct {
	completed [][]tlog.Hash
	flat      []tlog.Hash
}

// grow makes a log of a size and holds each step against tlog's own.
func grow(t *testing.T, size int64) (*rows, []merkle.Tree) {
	t.Helper()
	log := &rows{}
	var tree merkle.Tree
	heads := []merkle.Tree{tree.Clone()}
	for n := range size {
		completed := tree.Append(leafHash(n))
		want, err := tlog.StoredHashesForRecordHash(n, leafHash(n), log.plain())
		require.NoError(t, err)
		require.Equal(t, want, completed, "leaf %d", n)
		log.completed = append(log.completed, slices.Clone(completed))
		log.flat = append(log.flat, want...)
		heads = append(heads, tree.Clone())
	}
	return log, heads
}

// plain is tlog's own reader over tlog's own order.
func (r *rows) plain() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			if index >= int64(len(r.flat)) {
				return nil, fmt.Errorf("beyond the log: %d", index)
			}
			hashes[i] = r.flat[index]
		}
		return hashes, nil
	})
}

func (r *rows) row(leaf int64) ([]tlog.Hash, error) {
	if leaf >= int64(len(r.completed)) {
		return nil, fmt.Errorf("no row %d", leaf)
	}
	return r.completed[leaf], nil
}

func (r *rows) some(leaves []int64) (map[int64][]tlog.Hash, error) {
	found := make(map[int64][]tlog.Hash)
	for i, leaf := range leaves {
		if i > 0 && leaves[i-1] >= leaf {
			return nil, errors.New("leaves out of order")
		}
		row, err := r.row(leaf)
		if err != nil {
			return nil, err
		}
		found[leaf] = row
	}
	return found, nil
}

// Holds: REC-06
func TestRFC6962_2_1_TreeAgreesWithTlogAtEverySize(t *testing.T) {
	log, heads := grow(t, 300)
	for size := range int64(301) {
		head := heads[size]
		require.Equal(t, size, head.Size())
		want, err := tlog.TreeHash(size, log.plain())
		require.NoError(t, err)
		require.Equal(t, want, head.Root(), "size %d", size)

		loaded, err := merkle.Load(size, log.row)
		require.NoError(t, err)
		requireSameTree(t, head, loaded)
		root, err := tlog.TreeHash(size, merkle.Reader(log.some))
		require.NoError(t, err)
		require.Equal(t, want, root)
	}
}

// requireSameTree holds that two heads are alike and stay so when they grow.
func requireSameTree(t *testing.T, want, have merkle.Tree) {
	t.Helper()
	require.Equal(t, want.Size(), have.Size())
	want, have = want.Clone(), have.Clone()
	for range 3 {
		require.Equal(t, want.Root(), have.Root())
		leaf := leafHash(want.Size())
		require.Equal(t, want.Append(leaf), have.Append(leaf))
	}
}

// Holds: REC-06
func TestRFC6962_2_1_ProofsOverRowsAreThoseOfTlog(t *testing.T) {
	const size = 70
	log, heads := grow(t, size)
	reader := merkle.Reader(log.some)
	for next := int64(1); next <= size; next++ {
		root := heads[next].Root()
		for n := range next {
			proof, err := tlog.ProveRecord(next, n, reader)
			require.NoError(t, err)
			require.NoError(t, tlog.CheckRecord(proof, next, root, n, leafHash(n)))
			require.Error(t, tlog.CheckRecord(proof, next, root, n, leafHash(n+1)))
		}
		for old := range next + 1 {
			proof, err := merkle.ProveTree(next, old, reader)
			require.NoError(t, err)
			require.NoError(t, merkle.CheckTree(proof, next, root, old, heads[old].Root()))
			wrong := leafHash(old)
			require.Error(t, merkle.CheckTree(proof, next, root, old, wrong), "%d to %d", old, next)
			require.Error(t, merkle.CheckTree(append(proof, wrong), next, root, old, heads[old].Root()))
		}
	}
}

// Holds: REC-06
func TestRandomLargerLogsAgreeWithTlog(t *testing.T) {
	const size = 20_000
	log, heads := grow(t, size)
	reader := merkle.Reader(log.some)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		next := 1 + random.Int64N(size)
		old, n := random.Int64N(next+1), random.Int64N(next)
		loaded, err := merkle.Load(next, log.row)
		require.NoError(t, err)
		requireSameTree(t, heads[next], loaded)
		record, err := tlog.ProveRecord(next, n, reader)
		require.NoError(t, err)
		require.NoError(t, tlog.CheckRecord(record, next, loaded.Root(), n, leafHash(n)))
		proof, err := merkle.ProveTree(next, old, reader)
		require.NoError(t, err)
		require.NoError(t, merkle.CheckTree(proof, next, loaded.Root(), old, heads[old].Root()))
	}
}

func TestCloneIsAlone(t *testing.T) {
	_, heads := grow(t, 7)
	head := heads[7]
	clone := head.Clone()
	before := head.Root()
	clone.Append(leafHash(99))
	require.Equal(t, before, head.Root())
	require.Equal(t, int64(7), head.Size())
	head.Append(leafHash(7))
	other := clone.Root()
	require.NotEqual(t, other, head.Root())
}

func TestLoadRefusesWhatAppendNeverReturned(t *testing.T) {
	log, _ := grow(t, 12)
	_, err := merkle.Load(-1, log.row)
	require.ErrorContains(t, err, "not negative")
	_, err = merkle.Load(13, log.row)
	require.ErrorContains(t, err, "no row 12")

	log.completed[7] = log.completed[7][:3]
	_, err = merkle.Load(12, log.row)
	require.ErrorContains(t, err, "leaf 7 has 3 stored hashes, not 4")
	_, err = tlog.TreeHash(12, merkle.Reader(log.some))
	require.ErrorContains(t, err, "leaf 7 has 3 stored hashes, not 4")
}

func TestReaderRefusesWhatIsMissing(t *testing.T) {
	log, _ := grow(t, 12)
	_, err := merkle.Reader(log.some).ReadHashes([]int64{-1})
	require.ErrorContains(t, err, "no stored hash has the index -1")
	_, err = merkle.Reader(log.some).ReadHashes([]int64{1 << 62})
	require.ErrorContains(t, err, "no stored hash has the index")
	_, err = tlog.TreeHash(13, merkle.Reader(log.some))
	require.ErrorContains(t, err, "no row 12")
	empty := merkle.Reader(func([]int64) (map[int64][]tlog.Hash, error) { return nil, nil })
	_, err = tlog.TreeHash(12, empty)
	require.ErrorContains(t, err, "the stored hashes of leaf 7 are missing")
	hashes, err := empty.ReadHashes(nil)
	require.NoError(t, err)
	require.Empty(t, hashes)
}

func TestCheckTreeRefusesWhatIsNoPair(t *testing.T) {
	_, heads := grow(t, 4)
	root := heads[4].Root()
	empty := heads[0].Root()
	require.NoError(t, merkle.CheckTree(nil, 0, empty, 0, empty))
	require.NoError(t, merkle.CheckTree(nil, 4, root, 0, empty))
	require.Error(t, merkle.CheckTree(nil, 3, root, 4, root), "it shrank")
	require.Error(t, merkle.CheckTree(nil, 4, root, -1, empty))
	require.Error(t, merkle.CheckTree(nil, 4, root, 0, root), "an empty log with another root")
	require.Error(t, merkle.CheckTree(nil, 0, root, 0, empty))
	require.Error(t, merkle.CheckTree(tlog.TreeProof{root}, 4, root, 0, empty))
	_, err := merkle.ProveTree(3, 4, nil)
	require.ErrorContains(t, err, "log of 3 leaves starts with that of 4")
	_, err = merkle.ProveTree(-1, 0, nil)
	require.Error(t, err)
}
