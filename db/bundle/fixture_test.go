package bundle_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

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
