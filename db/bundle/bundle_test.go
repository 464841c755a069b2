package bundle_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/postgres"
)

// token is that of all attempts that dbtest makes.
const token = "DGyRejmCefe7v4NfDGDKfA"

var created = time.Date(2026, 12, 21, 8, 0, 0, 0, time.UTC)

// world is a store with records, and the key of its log.
type world struct {
	store     *db.Store
	key       note.Verifier
	publisher *db.Publisher
	// early is a checkpoint from before the last records.
	early []byte
}

func sqlite(t testing.TB, change func(*db.Config)) *db.Store {
	t.Helper()
	c := db.Config{Path: filepath.Join(t.TempDir(), "records.db"), Now: dbtest.Clock()}
	if change != nil {
		change(&c)
	}
	s, err := db.Open(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func onPostgres(t testing.TB) *db.Store {
	t.Helper()
	server := postgres.Shared(t)
	owner := server.CreateDatabase(t, "bundle")
	require.NoError(t, db.Migrate(t.Context(), db.Config{Postgres: owner}))
	conn, err := pgx.Connect(t.Context(), owner)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'gate') THEN
		CREATE ROLE gate LOGIN IN ROLE `+db.GateRole+`; END IF; END $$`)
	require.NoError(t, errors.Join(err, conn.Close(t.Context())))
	s, err := db.Open(t.Context(), db.Config{Postgres: server.DSN("gate", "bundle"), Now: dbtest.Clock()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// populate leaves the records of dbtest.Populate, another granted attempt (5) for another name, with permit and certificate, and a
// third (6) on which nothing rests.
func populate(t testing.TB, s *db.Store) world {
	t.Helper()
	dir := t.TempDir()
	key, err := merkle.GenerateLogKey("gate.example/log")
	require.NoError(t, err)
	memory, err := merkle.OpenMemory(filepath.Join(dir, "memory"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, memory.Close()) })
	verifier, err := note.NewVerifier(key.VerifierKey())
	require.NoError(t, err)
	signer, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: verifier, Memory: memory})
	require.NoError(t, err)
	w := world{store: s, key: verifier}
	w.publisher, err = s.NewPublisher(t.Context(), db.PublisherConfig{Signer: signer, Interval: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.publisher.Close(context.Background())) })
	dbtest.Populate(t, s)
	require.NoError(t, w.publisher.Publish(t.Context()))
	early, err := s.Checkpoint(t.Context())
	require.NoError(t, err)
	w.early = early.Note
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("FIVE", "example.org", mpic.Issuance)))
	dbtest.Issue(t, s, dbtest.Clock()().Add(20*time.Second), "example.org", "example.com")
	dbtest.Record(t, s, dbtest.Evidence(t, dbtest.Attempt("SIX", "example.net", mpic.Issuance)))
	require.NoError(t, w.publisher.Publish(t.Context()))
	return w
}

func (w world) export(t testing.TB, c bundle.Config) ([]byte, bundle.Manifest) {
	t.Helper()
	var out bytes.Buffer
	c.Software, c.Created = "quorate test", created
	m, err := bundle.Write(t.Context(), w.store, &out, c)
	require.NoError(t, err)
	return out.Bytes(), m
}

// verify gives what does not hold. The records of dbtest have no DNS answers that could be proven.
func (w world) verify(t testing.TB, file []byte, change ...func(*db.VerifyConfig)) (db.Verified, []string) {
	t.Helper()
	var found []string
	c := db.VerifyConfig{Depth: db.DepthDecisions, LogKey: w.key, Finding: func(f db.Finding) {
		found = append(found, strings.TrimSpace(fmt.Sprintf("%d %s %s %s", f.Number, f.Check, f.Perspective, f.Detail)))
	}}
	for _, f := range change {
		f(&c)
	}
	sum, _, err := bundle.Verify(t.Context(), bytes.NewReader(file), int64(len(file)), c)
	require.NoError(t, err)
	require.Equal(t, len(found), sum.Findings)
	return sum, found
}

// part is a member of a bundle.
type part struct {
	name   string
	octets []byte
}

func unpack(t testing.TB, file []byte) (all []part) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(file))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		octets, err := io.ReadAll(r)
		require.NoError(t, err)
		all = append(all, part{h.Name, octets})
	}
}

func pack(t testing.TB, all []part) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, p := range all {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: p.name, Size: int64(len(p.octets)), Mode: 0o644, ModTime: time.Unix(0, 0),
			Format: tar.FormatUSTAR}))
		_, err := w.Write(p.octets)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// consistent packs members with SHA256SUMS and a manifest that fit them, as somebody does who means to deceive.
func consistent(t testing.TB, all []part, m bundle.Manifest) []byte {
	t.Helper()
	var kept []part
	var sums strings.Builder
	for _, p := range all {
		if p.name == "SHA256SUMS" || p.name == "manifest.json" {
			continue
		}
		sum := sha256.Sum256(p.octets)
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), p.name)
		kept = append(kept, p)
	}
	sum := sha256.Sum256([]byte(sums.String()))
	m.SumsSHA256, m.Files = hex.EncodeToString(sum[:]), int64(len(kept))
	text, err := json.MarshalIndent(m, "", "  ")
	require.NoError(t, err)
	text = append(text, '\n')
	return pack(t, append(kept, part{"SHA256SUMS", []byte(sums.String())}, part{"manifest.json", text}))
}

// Holds: REC-04, REC-06
func TestREC_06_ABundleHoldsOnBothEngines(t *testing.T) {
	for name, open := range map[string]func(t testing.TB) *db.Store{
		"SQLite":   func(t testing.TB) *db.Store { return sqlite(t, nil) },
		"Postgres": onPostgres,
	} {
		t.Run(name, func(t *testing.T) {
			w := populate(t, open(t))
			file, m := w.export(t, bundle.Config{})
			require.Equal(t, bundle.Counts{Attempts: 6, Open: 1, LateReplies: 1, Permits: 2, Certificates: 2, RRsets: 2}, m.Counts)
			require.Equal(t, "1-6", m.Selected)
			require.Empty(t, m.Beside)
			sum, found := w.verify(t, file)
			require.Empty(t, found)
			require.EqualValues(t, 6, sum.Records)
			require.EqualValues(t, 1, sum.Open)
			require.EqualValues(t, 2, sum.Permits)
			require.EqualValues(t, 2, sum.Certificates)
			require.Equal(t, m.Size, sum.Lines)
			require.Equal(t, m.Root, sum.Root)
			require.Positive(t, sum.Replies)
			again, _ := w.export(t, bundle.Config{})
			require.True(t, bytes.Equal(file, again), "the same selection gives the same octets")

			// Each document is the stored one, and its digest that of its line in the log.
			for _, p := range unpack(t, file) {
				document, ok := strings.CutSuffix(p.name, ".json.zst")
				if !ok {
					continue
				}
				i := slices.IndexFunc(unpack(t, file), func(q part) bool { return q.name == document+".proof" })
				require.GreaterOrEqual(t, i, 0, p.name)
				sum := sha256.Sum256(p.octets)
				require.Contains(t, string(unpack(t, file)[i].octets), "sha256 "+hex.EncodeToString(sum[:])+"\n", p.name)
			}
		})
	}
}

func TestSelections(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	issued, err := w.store.Certificates(t.Context(), db.CertificateFilter{})
	require.NoError(t, err)
	require.Len(t, issued, 2)
	for name, c := range map[string]struct {
		selection                         bundle.Selection
		selected, beside, permits, issued string
	}{
		"one name, which two permits rest on": {bundle.Selection{Filter: db.Filter{Name: "example.com"}}, "1-4", "5", "1-2", "1-2"},
		"refused":                             {bundle.Selection{Filter: db.Filter{Outcome: db.Refused}}, "2", "", "", ""},
		"nothing rests on it":                 {bundle.Selection{Filter: db.Filter{Name: "example.net"}}, "6", "", "", ""},
		"a certificate":                       {bundle.Selection{Certificates: []string{issued[1].Certificate.SHA256}}, "1,5", "", "2", "2"},
		"a serial number, in another spelling": {bundle.Selection{Certificates: []string{"00:" + strings.ToUpper(issued[0].Certificate.Serial)}},
			"1", "", "1", "1"},
		"two certificates": {bundle.Selection{Certificates: []string{issued[1].Certificate.Serial, issued[0].Certificate.SHA256}}, "1,5", "", "1-2", "1-2"},
		"before a number":  {bundle.Selection{Filter: db.Filter{BeforeNumber: 3, Limit: 1}}, "1-2", "5", "1-2", "1-2"},
	} {
		t.Run(name, func(t *testing.T) {
			file, m := w.export(t, bundle.Config{Selection: c.selection})
			require.Equal(t, c.selected, m.Selected)
			require.Equal(t, c.beside, m.Beside)
			require.Equal(t, c.permits, m.Permits)
			require.Equal(t, c.issued, m.Issued)
			_, found := w.verify(t, file)
			require.Empty(t, found)
		})
	}
	for name, c := range map[string]bundle.Selection{
		"no such name":        {Filter: db.Filter{Name: "nobody.example"}},
		"no such certificate": {Certificates: []string{"ab12"}},
		"both":                {Certificates: []string{"ab12"}, Filter: db.Filter{Name: "example.com"}},
		"no outcome":          {Filter: db.Filter{Outcome: "perhaps"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Write(t.Context(), w.store, io.Discard, bundle.Config{Selection: c})
			require.Error(t, err)
		})
	}
}

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

// Holds: REC-04
func TestREC_04_WithoutSecretsNothingShowsATokenAndTheHashesHold(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	whole, _ := w.export(t, bundle.Config{})
	require.NotEmpty(t, traces(t, whole), "the search finds the token where it is")
	file, m := w.export(t, bundle.Config{WithoutSecrets: true})
	require.False(t, m.Secrets)
	require.Empty(t, traces(t, file))
	require.Greater(t, len(whole), len(file))

	var withheld []string
	sum, found := w.verify(t, file, func(c *db.VerifyConfig) {
		c.Record = func(r db.Record, v audit.Verdict) {
			for _, f := range v.Withheld {
				withheld = append(withheld, fmt.Sprintf("%d %s %s %s", r.Number, f.Check, f.Perspective, f.Detail))
			}
		}
	})
	require.Empty(t, found)
	require.EqualValues(t, 6, sum.Records)
	require.EqualValues(t, 5, sum.Withheld, "all but the open one have a decision")
	require.Contains(t, withheld, "1 decision  not judged again: its tokens are withheld")
	require.Contains(t, withheld, "1 signature ashburn not judged again: its tokens are withheld")

	// What does not depend on the token is still held together: a decision that says something else of CAA does not hold.
	record := func(t *testing.T, s string) {
		t.Helper()
		all := unpack(t, file)
		i := slices.IndexFunc(all, func(p part) bool { return p.name == s })
		all[i].octets = slices.Concat(all[i].octets[:len(all[i].octets)-3], []byte("xyz"))
		_, found := w.verify(t, consistent(t, all, m))
		require.NotEmpty(t, found)
	}
	// So does a permit: the digest that it names is the evidence's.
	all := unpack(t, file)
	less := slices.DeleteFunc(all, func(p part) bool { return strings.HasPrefix(p.name, "attempts/5/") })
	fewer := m
	fewer.Selected = "1-4,6"
	fewer.Counts.Attempts--
	_, found = w.verify(t, consistent(t, less, fewer))
	require.Contains(t, strings.Join(found, "\n"), "example.org rests on record 5, on which nothing may rest")
	record(t, "attempts/1/decision.json.zst")
	record(t, "attempts/1/decision.proof")
}

// traces gives the members in which the token stands in any form.
func traces(t testing.TB, file []byte) (names []string) {
	t.Helper()
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	shows := func(text string) bool {
		for shift := range 3 {
			encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + token))
			if strings.Contains(text, encoded[4:24]) {
				return true
			}
		}
		return strings.Contains(text, token) || strings.Contains(strings.ToLower(text), hex.EncodeToString([]byte(token)))
	}
	// Each run of base64 is decoded as well, from each of its first four characters on.
	var encoded func(text string, depth int) bool
	encoded = func(text string, depth int) bool {
		if shows(text) {
			return true
		}
		if depth == 0 {
			return false
		}
		for _, run := range strings.FieldsFunc(text, func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_", r)
		}) {
			run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
			for from := 0; from < 4 && from+24 < len(run); from++ {
				part := run[from : from+(len(run)-from)/4*4]
				if octets, err := base64.StdEncoding.DecodeString(part); err == nil && encoded(string(octets), depth-1) {
					return true
				}
			}
		}
		return false
	}
	if shows(string(file)) {
		names = append(names, "the file")
	}
	for _, p := range unpack(t, file) {
		text := p.octets
		if strings.HasSuffix(p.name, ".zst") {
			text, err = d.DecodeAll(p.octets, nil)
			require.NoError(t, err)
		}
		if encoded(string(text), 2) {
			names = append(names, p.name)
		}
	}
	return names
}

// Replies whose octets do not survive as JSON are kept as they were received, in base64; they leave the document as a whole.
//
// Holds: REC-04
func TestREC_04_RepliesOfAnotherFormAreWithheldAsAWhole(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	e := dbtest.Evidence(t, dbtest.Attempt("EIGHT", "example.info", mpic.Issuance))
	b64 := base64.RawURLEncoding.EncodeToString
	payload := `{ "url" : "http://example.info/` + token + `" }`
	e.Remotes[0] = mpic.Attestation{Perspective: e.Remotes[0].Perspective, State: mpic.Rejected, Problem: e.Remotes[0].Problem,
		Signed: b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(payload)) + ".AAAA", Asked: e.Remotes[0].Asked, Closed: e.Remotes[0].Closed}
	dbtest.Silent(&e, 1, mpic.Rejected)
	e.Remotes[1].Signed = b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(payload))
	e.Remotes[0].Problem = e.Remotes[1].Problem
	dbtest.Record(t, w.store, e)
	require.NoError(t, w.publisher.Publish(t.Context()))
	selection := bundle.Selection{Filter: db.Filter{Name: "example.info"}}
	whole, _ := w.export(t, bundle.Config{Selection: selection})
	_, found := w.verify(t, whole)
	require.Empty(t, found)
	file, _ := w.export(t, bundle.Config{Selection: selection, WithoutSecrets: true})
	require.Empty(t, traces(t, file))
	sum, found := w.verify(t, file)
	require.Empty(t, found)
	require.EqualValues(t, 1, sum.Withheld)
}

// Tokens that are kept as digests alone are in no bundle.
//
// Holds: REC-04
func TestREC_04_TokenDigestsAreInNoBundle(t *testing.T) {
	s := sqlite(t, func(c *db.Config) { c.TokenDigests = true })
	e := dbtest.Evidence(t, dbtest.Attempt("ONE", "example.com", mpic.Issuance))
	dbtest.Record(t, s, e)
	var out bytes.Buffer
	_, err := bundle.Write(t.Context(), s, &out, bundle.Config{Unsigned: true, Created: created})
	require.NoError(t, err)
	require.Empty(t, traces(t, out.Bytes()))

	// The database verifies as far as it goes, permits upon such evidence too.
	dbtest.Issue(t, s, dbtest.Clock()().Add(20*time.Second), "example.com")
	sum, err := s.Verify(t.Context(), db.VerifyConfig{Depth: db.DepthDecisions, Finding: func(f db.Finding) { t.Errorf("%+v", f) }})
	require.NoError(t, err)
	require.EqualValues(t, 1, sum.Withheld)
	require.EqualValues(t, 1, sum.Permits)
}

// Holds: REC-06
func TestREC_06_WhatIsDamagedIsNotExported(t *testing.T) {
	file := filepath.Join(t.TempDir(), "records.db")
	w := populate(t, sqlite(t, func(c *db.Config) { c.Path = file }))
	byHand(t, file, `UPDATE decisions SET document = x'00' WHERE attempt = 5`)
	_, err := bundle.Write(t.Context(), w.store, io.Discard, bundle.Config{})
	require.ErrorIs(t, err, db.ErrDamaged)
	require.ErrorContains(t, err, "record 5")
	err = bundle.Table(t.Context(), w.store, io.Discard, bundle.TableConfig{Format: bundle.CSV})
	require.ErrorContains(t, err, "record 5")
}

// byHand writes behind the back of the guards of decisions.
func byHand(t testing.TB, file, statement string) {
	t.Helper()
	pool, err := sql.Open("sqlite", file)
	require.NoError(t, err)
	defer func() { require.NoError(t, pool.Close()) }()
	rows, err := pool.Query(`SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'decisions'`)
	require.NoError(t, err)
	var names []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, errors.Join(rows.Err(), rows.Close()))
	for _, name := range names {
		_, err = pool.Exec(`DROP TRIGGER ` + name)
		require.NoError(t, err)
	}
	_, err = pool.Exec(statement)
	require.NoError(t, err)
}

func TestTables(t *testing.T) {
	for name, open := range map[string]func(t testing.TB) *db.Store{
		"SQLite":   func(t testing.TB) *db.Store { return sqlite(t, nil) },
		"Postgres": onPostgres,
	} {
		t.Run(name, func(t *testing.T) {
			w := populate(t, open(t))
			var lines, cells bytes.Buffer
			require.NoError(t, bundle.Table(t.Context(), w.store, &lines, bundle.TableConfig{Format: bundle.JSONL}))
			require.NoError(t, bundle.Table(t.Context(), w.store, &cells, bundle.TableConfig{Format: bundle.CSV}))
			var all []bundle.Line
			for text := range strings.Lines(lines.String()) {
				var l bundle.Line
				d := json.NewDecoder(strings.NewReader(text))
				d.DisallowUnknownFields()
				require.NoError(t, d.Decode(&l))
				all = append(all, l)
			}
			require.Len(t, all, 6)
			first := all[0]
			require.Equal(t, []int64{1, 2}, first.Permits)
			require.Len(t, first.Certificates, 2)
			require.Equal(t, "granted", first.Outcome)
			require.Equal(t, "exact", first.Scope)
			require.Equal(t, "3.2.2.4.19", first.Section)
			require.Equal(t, 1, first.LateReplies)
			require.Equal(t, bundle.LinePerspective{Name: "zurich", Role: "primary", Region: string(mpic.RIPE), State: "answered", DCV: "pass", CAA: "pass"},
				first.Perspectives[0])
			require.Equal(t, "open", all[3].Outcome)
			require.Nil(t, all[3].Decision)
			rows, err := csv.NewReader(&cells).ReadAll()
			require.NoError(t, err)
			require.Len(t, rows, 7)
			column := func(name string) int { return slices.Index(rows[0], name) }
			require.Equal(t, "1 2", rows[1][column("permits")])
			require.Equal(t, "http.mismatch", rows[2][column("zurich codes")])
			require.Equal(t, "pending", rows[4][column("tokyo state")])
			require.Equal(t, first.Decision.SHA256, rows[1][column("decision_sha256")])
		})
	}
}

// Holds: REC-02
func TestCellsAreNoFormulas(t *testing.T) {
	s := sqlite(t, nil)
	for i, account := range []string{"=1+2", "+1", "-1", "@x", "\tx", "acct:1"} {
		a := dbtest.Attempt(fmt.Sprint("A", i), "example.com", mpic.Issuance)
		a.Probe.Request.AccountURI = account
		_, err := s.Journal().Open(t.Context(), a, dbtest.Roster())
		require.NoError(t, err)
	}
	var out bytes.Buffer
	require.NoError(t, bundle.Table(t.Context(), s, &out, bundle.TableConfig{Format: bundle.CSV}))
	rows, err := csv.NewReader(&out).ReadAll()
	require.NoError(t, err)
	column := slices.Index(rows[0], "account_uri")
	var got []string
	for _, r := range rows[1:] {
		got = append(got, r[column])
	}
	require.Equal(t, []string{"'=1+2", "'+1", "'-1", "'@x", "'\tx", "acct:1"}, got)
}

// What is due is exported, proven, then removed: the log stays whole without it, and the bundle holds as before.
//
// Holds: REC-04
func TestREC_04_WhatWasRemovedIsInTheExport(t *testing.T) {
	calendar := dbtest.NewCalendar()
	s := sqlite(t, func(c *db.Config) { c.Now, c.SegmentLines = calendar.Now, 5 })
	w := populate(t, s)
	calendar.Set(created.AddDate(5, 0, 0))
	due, err := s.Due(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 5}, []int64{due.First, due.Past}, "the open attempt ends what is due")
	file, m := w.export(t, bundle.Config{Selection: bundle.Selection{Filter: db.Filter{BeforeLeaf: due.Past}}})
	require.Equal(t, "1-2", m.Selected)
	_, found := w.verify(t, file)
	require.Empty(t, found)
	removed, err := s.Remove(t.Context(), db.Removed{Due: due, Export: fmt.Sprintf("%x", sha256.Sum256(file)), Proven: calendar.Now(), By: "test"})
	require.NoError(t, err)
	require.EqualValues(t, 1, removed.Rows["attempts"], "the first attempt's certificate is beyond the segment")
	_, err = s.Attempt(t.Context(), "REFUSED")
	require.ErrorIs(t, err, db.ErrNotFound)
	var all []db.Finding
	_, err = s.Verify(t.Context(), db.VerifyConfig{Depth: db.DepthDecisions, LogKey: w.key, Held: [][]byte{w.early},
		Finding: func(f db.Finding) { all = append(all, f) }})
	require.NoError(t, err)
	require.Empty(t, all)
	_, found = w.verify(t, file)
	require.Empty(t, found)
}
