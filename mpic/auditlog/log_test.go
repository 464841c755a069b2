package auditlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 21, 12, 0, 0, 5e8, time.UTC)

const token = "DGyRejmCefe7v4NfDGDKfA"

func member(name string, region mpic.Region) mpic.Member {
	return mpic.Member{Name: name, Place: mpic.Place{Region: region}}
}

// result is an attempt that was refused, since it has no primary's report: package mpic alone can grant one.
func result(number int64, change ...func(*mpic.Evidence)) mpic.Result {
	e := mpic.Evidence{Attempt: mpic.Attempt{Kind: mpic.Issuance, Started: noon, Caller: "rest:ra-1", Software: "quorate test",
		Rules: strings.Repeat("ab", 32), Probe: va.Probe{Attempt: fmt.Sprintf("ATTEMPT%d", number), Nonce: "00", Deadline: noon.Add(time.Second),
			Request: va.Request{Identifier: "www.example.com", Method: va.HTTP01, Token: token, KeyAuthorization: token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
				TokenCreated: noon, AccountURI: "https://ca.example/acct/1", Issuers: []string{"ca.example"}}}},
		Roster:  mpic.Roster{Primary: member("zurich", mpic.RIPE), Remotes: []mpic.Member{member("ashburn", mpic.ARIN)}},
		Remotes: []mpic.Attestation{{Perspective: "ashburn", State: mpic.NotAsked}}}
	for _, f := range change {
		f(&e)
	}
	return mpic.Result{Number: number, Evidence: e, Decision: mpic.Judge(e)}
}

// read takes a log apart, and holds it to what is true of every one: one JSON object a line, in ASCII, numbered.
func read(t *testing.T, text []byte) (all []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(text) {
		require.True(t, bytes.HasSuffix(line, []byte("\n")), "%q", line)
		require.LessOrEqual(t, len(line), maxLine)
		for _, c := range bytes.TrimSuffix(line, []byte("\n")) {
			require.True(t, c >= ' ' && c < 0x7f, "%q", line)
		}
		if string(line) == "\n" {
			continue
		}
		var one map[string]any
		if json.Unmarshal(line, &one) != nil {
			all = append(all, map[string]any{"torn": string(line)})
			continue
		}
		require.EqualValues(t, 1, one["v"])
		all = append(all, one)
	}
	return all
}

func pick(all []map[string]any, field string) (out []any) {
	for _, l := range all {
		out = append(out, l[field])
	}
	return out
}

type fixture struct {
	t    *testing.T
	file string
	log  *Log
	said *bytes.Buffer
}

func newFixture(t *testing.T, required bool) *fixture {
	f := &fixture{t: t, file: filepath.Join(t.TempDir(), "audit.jsonl"), said: &bytes.Buffer{}}
	f.start(required)
	return f
}

func (f *fixture) start(required bool) {
	f.t.Helper()
	var err error
	f.log, err = New(Config{Destination: f.file, Required: required, Gate: "gate-1", Software: "quorate test", Now: func() time.Time { return noon },
		Logger: slog.New(slog.NewTextHandler(f.said, nil))})
	require.NoError(f.t, err)
}

func (f *fixture) lines(file string) []map[string]any {
	f.t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(f.t, err)
	return read(f.t, text)
}

// TestOneLineForEachEvent is also where the examples of docs/audit-log.md are from: TestTheDocumentHasTheseLines.
func TestOneLineForEachEvent(t *testing.T) {
	f := newFixture(t, false)
	require.NoError(t, f.log.Attempt(result(17)))
	f.log.Unrecorded(result(18, func(e *mpic.Evidence) { e.Attempt.Probe.Request.CertificateType = va.SMIME }).Evidence.Attempt, 18)
	require.NoError(t, f.log.Permit(aPermit()))
	require.NoError(t, f.log.Certificate(aCertificate(), 4, false))
	require.NoError(t, f.log.Certificate(aCertificate(), 4, true))
	require.NoError(t, f.log.Close(t.Context()))
	all := f.lines(f.file)
	require.Equal(t, []any{"start", "attempt", "unrecorded", "permit", "certificate", "certificate", "stop"}, pick(all, "event"))
	require.Equal(t, []any{1., 2., 3., 4., 5., 6., 7.}, pick(all, "seq"))
	require.Equal(t, []any{nil, 17., 18., 9., 4., 4., nil}, pick(all, "record"))
	require.Equal(t, []any{nil, nil, nil, nil, nil, true, nil}, pick(all, "again"))
	for _, l := range all {
		require.Equal(t, "gate-1", l["gate"])
		require.Equal(t, all[0]["run"], l["run"])
		require.Equal(t, "2026-11-21T12:00:00.5Z", l["time"])
	}
	require.NotContains(t, all[1], "certificate_type")
	require.Equal(t, "s-mime", all[2]["certificate_type"])
	require.Equal(t, "refused", all[1]["outcome"])
	require.NotEmpty(t, all[1]["reasons"])
	require.Equal(t, "not-asked", all[1]["perspectives"].([]any)[1].(map[string]any)["state"])
	require.EqualValues(t, 0, all[6]["lost"])
	info, err := os.Stat(f.file)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o007)
	require.ErrorIs(t, f.log.enqueueErr(), ErrLost, "after the end nothing is taken")
}

func (l *Log) enqueueErr() error {
	_, err := l.enqueue(&marker{Event: "late"})
	return err
}

func aPermit() mpic.PermitRecord {
	return mpic.PermitRecord{ID: "PERMIT1", Number: 9, Outcome: mpic.OutcomeGranted, Caller: "rest:ra-1", Account: "https://ca.example/acct/1",
		Requested: noon, Issued: noon.Truncate(time.Second), Expires: noon.Add(time.Hour).Truncate(time.Second), Software: "quorate test",
		Requirements: mpic.Requirements, Names: []mpic.PermitName{{Name: "www.example.com", DCV: &mpic.PermitDCV{Number: 17}, CAA: &mpic.PermitCAA{Number: 17}}}}
}

func aCertificate() mpic.CertificateRecord {
	return mpic.CertificateRecord{Permit: "PERMIT1", Outcome: mpic.OutcomeLinked, Caller: "rest:ra-1", Linked: noon, SHA256: strings.Repeat("c4", 32),
		Serial: "4f3a", Issuer: "CN=Test CA", Names: []string{"www.example.com"}, NotBefore: noon.Truncate(time.Hour), NotAfter: noon.Add(48 * time.Hour).Truncate(time.Hour)}
}

// Holds: F4
func TestF4_LinesAreWholeUnderConcurrency(t *testing.T) {
	f := newFixture(t, false)
	const tellers, each = 32, 50
	var all sync.WaitGroup
	for i := range tellers {
		all.Go(func() {
			for k := range each {
				if err := f.log.Attempt(result(int64(1 + i*each + k))); err != nil {
					t.Error(err)
				}
				if i == 0 && k%10 == 0 {
					if err := f.log.Reopen(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, f.log.Close(t.Context()))
	seen := map[float64]bool{}
	for i, l := range f.lines(f.file) {
		require.EqualValues(t, i+1, l["seq"], "in order and without gap")
		if l["event"] == "attempt" {
			require.False(t, seen[l["record"].(float64)], "each number once")
			seen[l["record"].(float64)] = true
		}
	}
	require.Len(t, seen, tellers*each)
	require.Zero(t, f.log.Lost())
}

// Holds: F4
func TestF4_RotationLosesNoLine(t *testing.T) {
	f := newFixture(t, true)
	require.NoError(t, f.log.Attempt(result(1)))
	require.NoError(t, os.Rename(f.file, f.file+".1"))
	require.NoError(t, f.log.Attempt(result(2)), "before the signal the old file is written")
	require.NoError(t, f.log.Reopen(t.Context()))
	require.NoError(t, f.log.Attempt(result(3)))
	require.NoError(t, os.Rename(f.file, f.file+".2"))
	require.NoError(t, os.Mkdir(f.file, 0o700))
	require.ErrorContains(t, f.log.Reopen(t.Context()), "the old file stays in use")
	require.NoError(t, f.log.Attempt(result(4)))
	require.NoError(t, os.Remove(f.file))
	require.NoError(t, f.log.Reopen(t.Context()))
	require.NoError(t, f.log.Close(t.Context()))
	require.ErrorContains(t, f.log.Reopen(t.Context()), "closed")
	require.Equal(t, []any{1., 2., 3.}, pick(f.lines(f.file+".1"), "seq"))
	require.Equal(t, []any{4., 5.}, pick(f.lines(f.file+".2"), "seq"))
	require.Equal(t, []any{6.}, pick(f.lines(f.file), "seq"))
}

// Holds: F4
func TestF4_ATornLineIsLeftAlone(t *testing.T) {
	f := newFixture(t, false)
	require.NoError(t, f.log.Close(t.Context()))
	old, err := os.OpenFile(f.file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = old.WriteString(`{"v":1,"seq":3,"ru`)
	require.NoError(t, errors.Join(err, old.Close()))
	f.start(false)
	require.NoError(t, f.log.Attempt(result(1)))
	require.NoError(t, f.log.Close(t.Context()))
	all := f.lines(f.file)
	require.Equal(t, []any{"start", "stop", nil, "start", "attempt", "stop"}, pick(all, "event"))
	require.NotNil(t, all[2]["torn"])
	require.Equal(t, []any{1., 2., nil, 1., 2., 3.}, pick(all, "seq"))
	require.NotEqual(t, all[0]["run"], all[3]["run"], "each run counts by itself")
}

// disk is a file on a disk with so much room.
type disk struct {
	mu    sync.Mutex
	text  bytes.Buffer
	room  int
	syncs error
	// synced counts the calls of Sync.
	synced int
	wait   chan struct{}
}

func (d *disk) Write(p []byte) (int, error) {
	if d.wait != nil {
		<-d.wait
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(p), d.room)
	d.text.Write(p[:n])
	d.room -= n
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *disk) Sync() error {
	d.synced++
	return d.syncs
}

func (d *disk) Close() error { return nil }
func (d *disk) Torn() bool {
	text := d.text.Bytes()
	return len(text) > 0 && text[len(text)-1] != '\n'
}

func (d *disk) give(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

func onDisk(t *testing.T, d *disk, required bool) (*Log, *prometheus.Registry, *strings.Builder) {
	r := prometheus.NewRegistry()
	m, err := NewMetrics(r)
	require.NoError(t, err)
	said := &strings.Builder{}
	l, err := newLog(Config{Destination: "disk", Required: required, Gate: "gate-1", Metrics: m, Logger: slog.New(slog.NewTextHandler(said, nil))},
		func() (sink, error) { return d, nil })
	require.NoError(t, err)
	return l, r, said
}

// Holds: F4
func TestF4_AFullDiskIsCountedAndSeen(t *testing.T) {
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprint(required), func(t *testing.T) {
			d := &disk{room: 1 << 20}
			l, m, said := onDisk(t, d, required)
			require.NoError(t, l.Attempt(result(1)))
			for _, room := range []int{100, 0, 0} { // the first breaks off
				d.give(room)
				err := l.Attempt(result(2))
				require.Equal(t, required, err != nil, "%v", err)
				if required {
					require.ErrorIs(t, err, ErrLost)
					require.ErrorIs(t, err, syscall.ENOSPC)
				}
			}
			d.give(1 << 20)
			require.NoError(t, l.Attempt(result(5)))
			require.EqualValues(t, 3, l.Lost())
			require.NoError(t, l.Close(t.Context()))
			all := read(t, d.text.Bytes())
			require.Equal(t, []any{1., 2., nil, 6., 7.}, pick(all, "seq"), "the gap is seen")
			require.EqualValues(t, 3, all[4]["lost"])
			scrape.Require(t, m, map[string]float64{"quorate_audit_lines_total{result=lost}": 3, "quorate_audit_lines_total{result=written}": 4})
			require.Equal(t, 1, strings.Count(said.String(), "is lost"), "operators are told once")
			require.Contains(t, said.String(), "written again")
			require.Contains(t, said.String(), "lost=3")
		})
	}
}

// Holds: F4
func TestF4_RequiredLinesAreSynced(t *testing.T) {
	d := &disk{room: 1 << 20}
	l, _, _ := onDisk(t, d, true)
	d.syncs = syscall.EIO
	require.ErrorIs(t, l.Attempt(result(1)), syscall.EIO)
	d.syncs = nil
	require.NoError(t, l.Attempt(result(2)))
	require.NoError(t, l.Close(t.Context()))

	_, err := newLog(Config{Destination: "disk", Required: true, Logger: slog.New(slog.DiscardHandler)},
		func() (sink, error) { return &disk{}, nil })
	require.ErrorIs(t, err, syscall.ENOSPC, "a gate that must write lines does not start where it cannot")
}

// Holds: F4
func TestF4_AStuckDestinationHoldsNoAnswerForLong(t *testing.T) {
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprint(required), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &disk{room: 1 << 30}
				l, m, said := onDisk(t, d, required)
				d.wait = make(chan struct{})
				began := time.Now()
				err := l.Attempt(result(1))
				require.Equal(t, required, errors.Is(err, ErrLost))
				require.Equal(t, patience, time.Since(began))
				began = time.Now()
				for i := range int64(10) {
					require.Equal(t, required, l.Attempt(result(2+i)) != nil)
				}
				require.Zero(t, time.Since(began), "the others do not wait at all")
				require.Contains(t, said.String(), "not taken in time")
				another := result(99)
				for range waiting {
					_ = l.Attempt(another) // what comes of them is counted below
				}
				lost := l.Lost()
				require.EqualValues(t, 10, lost, "those that have no room are lost")
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.ErrorContains(t, l.Reopen(short), "does not take lines")
				close(d.wait)
				synctest.Wait()
				require.NoError(t, l.Attempt(result(100)))
				require.NoError(t, l.Close(t.Context()))
				if required {
					require.Less(t, d.synced, 20, "lines that wait share a sync")
				}
				all := read(t, d.text.Bytes())
				require.Len(t, all, 1+1+10+waiting-10+1+1, "what waited is written")
				scrape.Require(t, m, map[string]float64{"quorate_audit_lines_total{result=lost}": float64(lost)})
				seqs := pick(all, "seq")
				require.True(t, slices.IsSortedFunc(seqs, func(a, b any) int { return int(a.(float64) - b.(float64)) }))
				require.EqualValues(t, len(all)+int(lost), seqs[len(seqs)-1], "the numbers tell how many are missing")
			})
		})
	}
}

func TestCloseGivesUpOnAStuckDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: 1 << 30}
		l, _, _ := onDisk(t, d, false)
		d.wait = make(chan struct{})
		require.NoError(t, l.Attempt(result(1)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorContains(t, l.Close(ctx), "still wait")
		close(d.wait)
		synctest.Wait()
		require.NoError(t, l.Close(t.Context()), "a second time changes nothing")
		require.Len(t, read(t, d.text.Bytes()), 3)
	})
}

func TestNewRefuses(t *testing.T) {
	dir, logger := t.TempDir(), slog.New(slog.DiscardHandler)
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for name, c := range map[string]struct {
		config Config
		says   string
	}{
		"no destination": {Config{Logger: logger}, "no destination"},
		"no logger":      {Config{Destination: Stdout}, "no logger"},
		"no directory":   {Config{Destination: filepath.Join(dir, "absent", "a"), Logger: logger}, "no such file"},
		"a directory":    {Config{Destination: dir, Logger: logger}, "is a directory"},
		"a pipe":         {Config{Destination: fifo, Logger: logger}, "no regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c.config)
			require.ErrorContains(t, err, c.says)
		})
	}
	r := prometheus.NewRegistry()
	_, err := NewMetrics(r)
	require.NoError(t, err)
	_, err = NewMetrics(r)
	require.ErrorContains(t, err, "auditlog: metrics")
}

// TestTextsOfStrangers: what others write cannot break a line, forge one, speak to a terminal, or carry the token out.
//
// Holds: F4
func TestTextsOfStrangers(t *testing.T) {
	long := strings.Repeat("\x00", 5000)
	for name, c := range map[string]struct {
		change func(*mpic.Evidence)
		field  string
		want   any
		cut    []any
	}{
		"a forged line":      {func(e *mpic.Evidence) { e.Attempt.Trace = "x\"}\n{\"v\":1,\"event\":\"attempt\"" }, "trace", "x\"}\n{\"v\":1,\"event\":\"attempt\"", nil},
		"a terminal's":       {func(e *mpic.Evidence) { e.Attempt.Trace = "\x1b[31m\u009b31m\u202e\x7f" }, "trace", "\x1b[31m\u009b31m\u202e\x7f", nil},
		"beyond the BMP":     {func(e *mpic.Evidence) { e.Attempt.Trace = "\U0001F512\u2028é" }, "trace", "\U0001F512\u2028é", nil},
		"no UTF-8":           {func(e *mpic.Evidence) { e.Attempt.Caller = "rest:\xff\xfe" }, "caller", "rest:\uFFFD", nil},
		"a long name":        {func(e *mpic.Evidence) { e.Attempt.Probe.Request.Identifier = long }, "identifier", long[:maxName], []any{"identifier", "adn"}},
		"a long account":     {func(e *mpic.Evidence) { e.Attempt.Probe.Request.AccountURI = long }, "account_uri", long[:maxAccount], []any{"account_uri"}},
		"the token":          {func(e *mpic.Evidence) { e.Attempt.Trace = "order " + token }, "trace", withheld, nil},
		"the token in small": {func(e *mpic.Evidence) { e.Attempt.Probe.Request.Identifier = strings.ToLower(token) + ".example.com" }, "identifier", withheld, nil},
		"the thumbprint": {func(e *mpic.Evidence) {
			e.Attempt.Probe.Request.AccountURI = "https://ca.example/9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
		}, "account_uri", withheld, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, true)
			r := result(1, c.change)
			require.NoError(t, f.log.Attempt(r))
			require.NoError(t, f.log.Close(t.Context()))
			all := f.lines(f.file)
			require.Equal(t, []any{"start", "attempt", "stop"}, pick(all, "event"))
			require.Equal(t, c.want, all[1][c.field])
			if c.cut != nil {
				require.Equal(t, c.cut, all[1]["truncated"])
			}
			text, err := os.ReadFile(f.file)
			require.NoError(t, err)
			require.NotContains(t, strings.ToLower(string(text)), strings.ToLower(token))
			require.NotContains(t, string(text), "9jg46WB3rR")
		})
	}
}

func TestCodesOfStrangers(t *testing.T) {
	c := cleaner{secrets: []string{"abcdefgh"}}
	for code, want := range map[string]string{"caa.forbidden": "caa.forbidden", "dnssec.nsec3-iterations": "dnssec.nsec3-iterations", "": noCode,
		"Token.ABC": noCode, "no-dot": noCode, "a.b c": noCode, "x.abcdefgh": noCode, "a." + strings.Repeat("b", 47): noCode, "a.b\n": noCode} {
		require.Equal(t, want, c.code(&va.Problem{Code: code}), code)
	}
	require.Empty(t, c.code(nil))
	for _, known := range va.Codes() {
		require.Equal(t, known.Code, c.code(&va.Problem{Code: known.Code}))
	}
	var many []*va.Problem
	for i := range 2 * maxReasons {
		many = append(many, &va.Problem{Code: fmt.Sprintf("a.b%d", i/2)}, &va.Problem{Code: "quorum.missed"})
	}
	require.Len(t, c.codes(many), maxReasons)
	require.Equal(t, []string{"reasons"}, c.truncated)
}

func TestLinesAreBounded(t *testing.T) {
	f := newFixture(t, true)
	p := aPermit()
	for i := range 100 {
		p.Names = append(p.Names, mpic.PermitName{Name: fmt.Sprintf("%03d", i) + strings.Repeat("\x01", 300)})
	}
	require.NoError(t, f.log.Permit(p))
	cert := aCertificate()
	for range 4000 {
		cert.Names = append(cert.Names, strings.Repeat("é", 200))
	}
	require.NoError(t, f.log.Certificate(cert, 1, false))
	require.NoError(t, f.log.Attempt(result(3, func(e *mpic.Evidence) {
		e.Attempt.Probe.Request.Identifier = "" // so that nobody measures their distances
		for i := range 2000 {
			e.Roster.Remotes = append(e.Roster.Remotes, member(fmt.Sprintf("remote-%d", i), mpic.ARIN))
		}
	})))
	require.Error(t, f.log.tell(&marker{Event: strings.Repeat("x", maxLine)}), "what cannot be made shorter is lost")
	require.NoError(t, f.log.Close(t.Context()))
	all := f.lines(f.file)
	require.Equal(t, []any{1., 2., 3., 4., 6.}, pick(all, "seq"))
	require.Equal(t, []any{"names"}, all[1]["truncated"])
	require.EqualValues(t, 101, all[1]["names_count"])
	require.Equal(t, []any{"names"}, all[2]["truncated"])
	require.EqualValues(t, 4001, all[2]["names_count"])
	require.Equal(t, []any{"perspectives"}, all[3]["truncated"])
}

// TestAnotherProgramsFileIsNoAuditLog: a destination that is the database by mistake, or a key, is left as it is.
//
// Holds: REC-06
func TestAnotherProgramsFileIsNoAuditLog(t *testing.T) {
	for name, content := range map[string]string{"a database": "SQLite format 3\x00", "a key": "-----BEGIN PRIVATE KEY-----\n", "a log of text": "time=2026\n"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "records.db")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			_, err := New(Config{Destination: file, Logger: slog.New(slog.DiscardHandler)})
			require.ErrorContains(t, err, "is no audit log")
			got, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, content, string(got))
		})
	}
}
