package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// Holds: REC-06
func TestREC_06_EachChangeOfABundleIsNamed(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	file, _ := w.export(t, bundle.Config{})
	all := unpack(t, file)
	mentions := func(t *testing.T, found []string, name string) {
		t.Helper()
		require.True(t, slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, name) }), "%s in %q", name, found)
	}
	for i, p := range all {
		t.Run(p.name+" changed", func(t *testing.T) {
			changed := slices.Clone(all)
			changed[i].octets = slices.Clone(p.octets)
			changed[i].octets[len(p.octets)/2] ^= 1
			_, found := w.verify(t, pack(t, changed))
			mentions(t, found, p.name)
		})
		t.Run(p.name+" removed", func(t *testing.T) {
			_, found := w.verify(t, pack(t, slices.Delete(slices.Clone(all), i, i+1)))
			mentions(t, found, p.name)
		})
		t.Run(p.name+" swapped with the next", func(t *testing.T) {
			if i+1 == len(all) {
				return
			}
			swapped := slices.Clone(all)
			swapped[i].octets, swapped[i+1].octets = all[i+1].octets, all[i].octets
			_, found := w.verify(t, pack(t, swapped))
			if p.name == "SHA256SUMS" { // then the manifest is none
				mentions(t, found, "manifest.json")
				return
			}
			mentions(t, found, p.name)
		})
		t.Run(p.name+" in another place", func(t *testing.T) {
			if i+1 == len(all) {
				return
			}
			moved := slices.Clone(all)
			moved[i], moved[i+1] = all[i+1], all[i]
			_, found := w.verify(t, pack(t, moved))
			require.NotEmpty(t, found)
		})
		t.Run(p.name+" twice", func(t *testing.T) {
			_, found := w.verify(t, pack(t, slices.Insert(slices.Clone(all), i, p)))
			mentions(t, found, p.name)
		})
		t.Run("one added before "+p.name, func(t *testing.T) {
			_, found := w.verify(t, pack(t, slices.Insert(slices.Clone(all), i, part{"attempts/17/intent.json.zst", []byte("x")})))
			mentions(t, found, "attempts/17/intent.json.zst")
		})
	}
	for _, name := range []string{"notes.txt", "../etc/passwd", "attempts/1/permit.proof", "permits/1/permit.secrets.json", "attempts/01/intent.proof"} {
		t.Run("with "+name, func(t *testing.T) {
			_, found := w.verify(t, pack(t, slices.Insert(slices.Clone(all), 3, part{name, []byte("x")})))
			mentions(t, found, name)
		})
	}
	t.Run("cut off", func(t *testing.T) {
		for n := 0; n < len(file); n += 1 + len(file)/41 {
			_, found := w.verify(t, file[:n])
			require.NotEmpty(t, found, n)
		}
		_, found := w.verify(t, file[:len(file)-512])
		require.NotEmpty(t, found)
	})
	t.Run("with something behind", func(t *testing.T) {
		_, found := w.verify(t, append(slices.Clone(file), make([]byte, 512)...))
		require.NotEmpty(t, found)
	})
	t.Run("another header", func(t *testing.T) {
		other := slices.Clone(file)
		copy(other[265:], "root\x00") // the owner's name, and with it the header's checksum
		var sum int64
		copy(other[148:156], "        ")
		for _, b := range other[:512] {
			sum += int64(b)
		}
		copy(other[148:156], fmt.Sprintf("%06o\x00 ", sum))
		_, found := w.verify(t, other)
		mentions(t, found, "has another header")
	})
}

// What somebody can do who makes SHA256SUMS and manifest anew: only what the log signs stays.
//
// Holds: REC-06, F4
func TestREC_06_ABundleMadeAnewIsHeldAgainstTheLog(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	file, m := w.export(t, bundle.Config{})
	at := func(all []part, name string) *part {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
		require.GreaterOrEqual(t, i, 0, name)
		return &all[i]
	}
	without := func(all []part, prefix string) []part {
		return slices.DeleteFunc(all, func(p part) bool { return strings.HasPrefix(p.name, prefix) })
	}
	repack := func(t *testing.T, packed []byte, change func(string) string) []byte {
		t.Helper()
		d, err := zstd.NewReader(nil)
		require.NoError(t, err)
		defer d.Close()
		text, err := d.DecodeAll(packed, nil)
		require.NoError(t, err)
		e, err := zstd.NewWriter(nil)
		require.NoError(t, err)
		return e.EncodeAll([]byte(change(string(text))), nil)
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, all []part, m *bundle.Manifest) []part
		want   string
	}{
		"nothing": {func(_ *testing.T, all []part, _ *bundle.Manifest) []part { return all }, ""},
		"a document, and its line": {func(t *testing.T, all []part, _ *bundle.Manifest) []part {
			d, p := at(all, "attempts/2/decision.json.zst"), at(all, "attempts/2/decision.proof")
			old := sha256.Sum256(d.octets)
			d.octets = repack(t, d.octets, func(s string) string { return strings.ReplaceAll(s, "refused", "granted") })
			fresh := sha256.Sum256(d.octets)
			p.octets = bytes.ReplaceAll(p.octets, []byte(hex.EncodeToString(old[:])), []byte(hex.EncodeToString(fresh[:])))
			return all
		}, "2 log  decision: line"},
		"a document alone": {func(t *testing.T, all []part, _ *bundle.Manifest) []part {
			d := at(all, "attempts/2/decision.json.zst")
			d.octets = repack(t, d.octets, func(s string) string { return strings.ReplaceAll(s, "refused", "granted") })
			return all
		}, "2 log  db: the record does not match its digest"},
		"an attempt left out": {func(_ *testing.T, all []part, _ *bundle.Manifest) []part { return without(all, "attempts/2/") },
			"records 2 to 2 are named in the manifest, and are not there"},
		"an attempt left out, and its name": {func(_ *testing.T, all []part, m *bundle.Manifest) []part {
			m.Selected = "1-4,6"
			m.Counts.Attempts--
			return without(all, "attempts/5/")
		}, "example.org rests on record 5, on which nothing may rest: it is not in the bundle"},
		"a decision left out": {func(_ *testing.T, all []part, m *bundle.Manifest) []part {
			m.Counts.Open++
			return without(all, "attempts/5/decision")
		}, "rests on record 5, on which nothing may rest"},
		"a permit left out": {func(_ *testing.T, all []part, m *bundle.Manifest) []part {
			m.Permits = "1"
			m.Counts.Permits--
			return without(all, "permits/2/")
		}, "0 reliance  certificate 2: its permit"},
		"an attempt under another number": {func(_ *testing.T, all []part, m *bundle.Manifest) []part {
			for i := range all {
				all[i].name = strings.Replace(all[i].name, "attempts/6/", "attempts/7/", 1)
			}
			m.Selected = "1-5,7"
			return all
		}, "7 log  db: the record does not match its digest: the line"},
		"a decision in another's place": {func(_ *testing.T, all []part, _ *bundle.Manifest) []part {
			for _, kind := range []string{".json.zst", ".proof", ".secrets.json"} {
				at(all, "attempts/6/decision"+kind).octets = at(all, "attempts/5/decision"+kind).octets
			}
			return all
		}, "6 log"},
		"DNS records that nothing needs": {func(_ *testing.T, all []part, m *bundle.Manifest) []part {
			m.Counts.RRsets++
			return slices.Insert(all, 1, part{"rrsets/" + strings.Repeat("ab", 32), []byte("x")})
		}, "belongs to no document"},
		"DNS records that are others": {func(_ *testing.T, all []part, _ *bundle.Manifest) []part {
			i := slices.IndexFunc(all, func(p part) bool { return strings.HasPrefix(p.name, "rrsets/") })
			all[i].octets = []byte("the keys of somebody else")
			return all
		}, "1 record"},
		"the tokens of another": {func(_ *testing.T, all []part, _ *bundle.Manifest) []part {
			at(all, "attempts/6/intent.secrets.json").octets = at(all, "attempts/5/intent.secrets.json").octets
			return all
		}, "6 record"},
		"another root": {func(_ *testing.T, all []part, m *bundle.Manifest) []part {
			m.Root = strings.Repeat("A", 43) + "="
			return all
		}, "manifest.json and the checkpoint name different logs"},
		"no checkpoint": {func(_ *testing.T, all []part, m *bundle.Manifest) []part {
			m.Signed, m.Origin = false, ""
			return without(all, "checkpoint")
		}, "no checkpoint that the log's key signed stands behind this bundle"},
		"another form": {func(_ *testing.T, all []part, m *bundle.Manifest) []part {
			m.Format = "quorate-bundle/v2"
			return all
		}, `its format is "quorate-bundle/v2"`},
	} {
		t.Run(name, func(t *testing.T) {
			made := m
			file := consistent(t, c.change(t, unpack(t, file), &made), made)
			_, found := w.verify(t, file)
			if c.want == "" {
				require.Empty(t, found)
				return
			}
			require.True(t, slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, c.want) }), "%q", found)
		})
	}
}

// Holds: REC-06
func TestREC_06_ABundleOfAnotherLog(t *testing.T) {
	w, other := populate(t, sqlite(t, nil)), populate(t, sqlite(t, nil))
	file, _ := other.export(t, bundle.Config{})
	_, found := w.verify(t, file)
	require.Contains(t, strings.Join(found, "\n"), "no checkpoint that the log's key signed stands behind this bundle")
	_, found = other.verify(t, file)
	require.Empty(t, found)
	_, found = other.verify(t, file, func(c *db.VerifyConfig) { c.Held = [][]byte{w.early} })
	require.Contains(t, strings.Join(found, "\n"), "the auditor's checkpoint 1 is none of this log")
	_, _, err := bundle.Verify(t.Context(), bytes.NewReader(file), int64(len(file)), db.VerifyConfig{})
	require.ErrorContains(t, err, "the key of the log's signer is needed")
}

// Holds: REC-06
func TestREC_06_ABundleExtendsTheAuditorsCheckpoints(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	hold := func(signed ...[]byte) func(*db.VerifyConfig) { return func(c *db.VerifyConfig) { c.Held = signed } }
	plain, _ := w.export(t, bundle.Config{})
	_, found := w.verify(t, plain, hold(w.early))
	require.Contains(t, strings.Join(found, "\n"), "there is no proof that one log extends the other: export with --checkpoint")
	proven, m := w.export(t, bundle.Config{Held: [][]byte{w.early}})
	require.Len(t, m.Consistency, 1)
	sum, found := w.verify(t, proven, hold(w.early))
	require.Empty(t, found)
	require.Equal(t, 2, sum.Checkpoints)
	newest, err := w.store.Checkpoint(t.Context())
	require.NoError(t, err)
	_, found = w.verify(t, plain, hold(newest.Note))
	require.Empty(t, found, "the very same")

	// Records that no checkpoint covers yet.
	dbtest.Record(t, w.store, dbtest.Evidence(t, dbtest.Attempt("SEVEN", "example.info", mpic.Issuance)))
	seven := bundle.Selection{Filter: db.Filter{Name: "example.info"}}
	_, err = bundle.Write(t.Context(), w.store, io.Discard, bundle.Config{Selection: seven})
	require.ErrorIs(t, err, bundle.ErrAhead)
	unsigned, m := w.export(t, bundle.Config{Selection: seven, Unsigned: true})
	require.False(t, m.Signed)
	_, found = w.verify(t, unsigned)
	require.Len(t, found, 1)
	require.Contains(t, found[0], "no checkpoint that the log's key signed stands behind this bundle")
	require.NoError(t, w.publisher.Publish(t.Context()))
	newest, err = w.store.Checkpoint(t.Context())
	require.NoError(t, err)
	_, found = w.verify(t, unsigned, hold(newest.Note))
	require.Empty(t, found, "a checkpoint that the auditor has from elsewhere is of the very log")
	_, found = w.verify(t, plain, hold(newest.Note))
	require.Len(t, found, 1, "a later one needs its proof as well")
	_, found = w.verify(t, consistentWith(t, w, plain, newest.Note), hold(newest.Note))
	require.Len(t, found, 1, "and a proof for another pair is none")

	none := sqlite(t, nil)
	dbtest.Populate(t, none)
	_, err = bundle.Write(t.Context(), none, io.Discard, bundle.Config{})
	require.ErrorIs(t, err, bundle.ErrAhead)
}

// consistentWith puts a proof of consistency for another pair of logs into a bundle.
func consistentWith(t testing.TB, w world, file []byte, signed []byte) []byte {
	t.Helper()
	made, m := w.export(t, bundle.Config{Held: [][]byte{w.early}})
	proofs := slices.DeleteFunc(unpack(t, made), func(p part) bool { return !strings.HasPrefix(p.name, "consistency/") })
	require.Len(t, proofs, 1)
	size := strings.Split(string(signed), "\n")[1]
	all := unpack(t, file)
	require.NoError(t, json.Unmarshal(all[len(all)-1].octets, &m))
	return consistent(t, slices.Insert(all, 1, part{"consistency/" + size + ".proof", proofs[0].octets}), m)
}
