package db

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit/merkle"
)

// A document is one frame that tells its length: who reads it knows before how much memory it takes.
//
// Holds: REC-06
func TestADocumentIsOneFrameOfTheLengthThatItTells(t *testing.T) {
	for _, size := range []int{1, 255, 256, 70_000, 3 << 20} {
		text := bytes.Repeat([]byte("x"), size)
		got, err := Document{Bytes: pack(text, nil).bytes}.Text()
		require.NoError(t, err, size)
		require.True(t, bytes.Equal(text, got), size)
	}
	small := pack(bytes.Repeat([]byte("x"), 1000), nil).bytes
	for name, octets := range map[string][]byte{"two frames": slices.Concat(small, small), "nothing": nil, "half a frame": small[:len(small)/2],
		"something behind": append(slices.Clone(small), 0), "a small one in front of a large one": slices.Concat(small, pack(make([]byte, 1<<20), nil).bytes)} {
		_, err := Document{Bytes: octets}.Text()
		require.ErrorIs(t, err, ErrDamaged, name)
	}
}

// A record of many documents that unpack to gigabytes together is not read: the auditor's memory is not its maker's.
//
// Holds: REC-06
func TestARecordIsBoundedAsAWhole(t *testing.T) {
	sheet := func(kind merkle.Kind, leaf int64, octets int) Sheet {
		d := pack(bytes.Repeat([]byte(" "), octets), nil)
		return Sheet{Document: Document{Bytes: d.bytes, SHA256: d.sha256, Leaf: leaf}, Entry: merkle.Entry{Leaf: leaf, Kind: kind, Subject: 1, SHA256: d.sha256}}
	}
	f := Filed{Number: 1, Intent: sheet(merkle.Intent, 0, 1000), Decision: sheet(merkle.Decision, 1, 1000)}
	require.NoError(t, f.Check())
	require.False(t, f.Large())
	late := sheet(merkle.LateReply, 2, 100<<20)
	f.Late = []Sheet{late}
	require.True(t, f.Large())
	for range 2 {
		f.Late = append(f.Late, late)
	}
	require.NoError(t, f.Check())
	_, err := f.Read()
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, fmt.Sprintf("its documents unpack to more than %d octets", maxDocument))
}
