package iodef_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/iodef"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// forbidden is what the coordinator tells of an attempt that the CAA records of its name refused; it is on record.
func forbidden(t *testing.T, s *db.Store, id string, change func(*mpic.Evidence)) mpic.Result {
	t.Helper()
	e := dbtest.Evidence(t, dbtest.Attempt(id, "example.com", mpic.Issuance))
	dbtest.PrimaryForbids(t, &e)
	if change != nil {
		change(&e)
	}
	n, d := dbtest.Record(t, s, e)
	return mpic.Result{Number: n, Evidence: e, Decision: d}
}

func openRecords(t *testing.T, path string) *db.Store {
	t.Helper()
	s, err := db.Open(t.Context(), db.Config{Path: path, Now: dbtest.Clock()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// silent is a mail server that takes connections and says nothing.
func silent(t *testing.T) (*iodef.Mail, *atomic.Int32) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var calls atomic.Int32
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			defer c.Close()
		}
	}()
	t.Cleanup(func() { require.NoError(t, l.Close()); <-over })
	return &iodef.Mail{Host: "127.0.0.1", Port: netip.MustParseAddrPort(l.Addr().String()).Port(), From: "caa@ca.example.net"}, &calls
}

func reporter(t *testing.T, c iodef.Config) *iodef.Reporter {
	t.Helper()
	c.Organization, c.Contact, c.Timeout = "Example CA", "caa@ca.example.net", 300*time.Millisecond
	r, err := iodef.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close(context.Background())) })
	return r
}

func steps(t *testing.T, s *db.Store, id string) (out []string) {
	t.Helper()
	r, err := s.Attempt(t.Context(), id)
	require.NoError(t, err)
	for _, n := range r.Notices {
		out = append(out, string(n.Outcome)+" "+n.Code)
	}
	require.Empty(t, r.CheckNotices())
	return out
}

// A report is begun at most once, also where a gate is told of an attempt again, after it died in the middle of the report.
//
// Holds: CAA-09, REC-05
func TestCAA_09_AtMostOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openRecords(t, path)
	mail, calls := silent(t)
	told := forbidden(t, s, "ONE", nil)

	// The first gate dies after the beginning is on record: the end never comes.
	dying := &dies{Journal: s.Journal()}
	r := reporter(t, iodef.Config{Records: dying, Mail: mail, Now: dbtest.Clock()})
	r.Refused(told)
	require.NoError(t, r.Close(t.Context()))
	require.EqualValues(t, 1, calls.Load())
	require.Equal(t, []string{"begun notice.begun"}, steps(t, s, "ONE"))

	// The next one sends nothing by itself, and nothing a second time.
	again := reporter(t, iodef.Config{Records: s.Journal(), Mail: mail, Now: dbtest.Clock()})
	again.Refused(told)
	require.NoError(t, again.Close(t.Context()))
	require.EqualValues(t, 1, calls.Load())
	require.Equal(t, []string{"begun notice.begun", "unusable notice.no-web", "unusable notice.scheme"}, steps(t, s, "ONE"))
	sum, err := s.Verify(t.Context(), db.VerifyConfig{Depth: db.DepthDecisions})
	require.NoError(t, err)
	require.Zero(t, sum.Findings)
}

// dies keeps the first notice, and then nothing any more.
type dies struct {
	*db.Journal
	dead atomic.Bool
}

func (d *dies) Notice(ctx context.Context, n mpic.Notice) error {
	if d.dead.Swap(true) {
		return errors.New("the gate is dead")
	}
	return d.Journal.Notice(ctx, n)
}

// Only what the primary saw counts, and only where records forbade.
//
// Holds: CAA-09, MPIC-12
func TestCAA_09_OnlyThePrimarysOwnRefusalIsReported(t *testing.T) {
	s := openRecords(t, filepath.Join(t.TempDir(), "records.db"))
	mail, calls := silent(t)
	r := reporter(t, iodef.Config{Records: s.Journal(), Mail: mail, Now: dbtest.Clock()})
	plain := func(id string, kind mpic.Kind, change func(*mpic.Evidence)) {
		e := dbtest.Evidence(t, dbtest.Attempt(id, "example.com", kind))
		change(&e)
		n, d := dbtest.Record(t, s, e)
		r.Refused(mpic.Result{Number: n, Evidence: e, Decision: d})
	}
	plain("GRANTED", mpic.Issuance, func(*mpic.Evidence) {})
	plain("DCV", mpic.Issuance, func(e *mpic.Evidence) { dbtest.PrimaryFails(t, e) })
	plain("DRY", mpic.DryRun, func(e *mpic.Evidence) { dbtest.PrimaryForbids(t, e) })
	plain("REMOTES", mpic.Issuance, func(e *mpic.Evidence) { // all remotes see records that forbid, and the primary does not
		other := mpic.Evidence{Attempt: e.Attempt, Roster: e.Roster}
		dbtest.PrimaryForbids(t, &other)
		for i, m := range e.Roster.Remotes {
			report := other.Primary.Report()
			report.Perspective = m.Name
			report.Sets = dbtest.Sets()
			e.Remotes[i] = dbtest.Attestation(t, m.Name, report, e.Remotes[i].Asked, e.Remotes[i].Closed)
		}
	})
	plain("LOOKUP", mpic.Issuance, func(e *mpic.Evidence) {
		report := dbtest.Report(t, e.Attempt.Probe, e.Roster.Primary.Name)
		report.CAA.Outcome, report.CAA.Problem = va.Error, &va.Problem{Code: "caa.lookup", Detail: "no answer"}
		dbtest.SetPrimary(t, e, report)
	})
	require.NoError(t, r.Close(t.Context()))
	require.Zero(t, calls.Load())
	for _, id := range []string{"GRANTED", "DCV", "DRY", "REMOTES", "LOOKUP"} {
		require.Empty(t, steps(t, s, id), id)
	}
}

// Over a real resolver and a real web server.
//
// Holds: CAA-09
func TestCAA_09_PostedOverHTTPS(t *testing.T) {
	w, err := world.New(world.Default())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	var status atomic.Int32
	var posted, wrong atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var b strings.Builder
		if err := r.Write(&b); err != nil || !strings.Contains(b.String(), "<RID ") || !strings.Contains(b.String(), "<IODEF-Document ") || r.URL.Path != "/iodef" {
			wrong.Add(1)
		}
		posted.Add(1)
		if status.Load() >= 300 && status.Load() < 400 {
			rw.Header().Set("Location", "http://169.254.169.254/")
		}
		rw.WriteHeader(int(status.Load()))
	}))
	server.StartTLS() // its certificate is for example.com
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	require.NoError(t, w.Set("example.com", dns.TypeA, "127.0.0.1"))
	require.NoError(t, w.Remove("example.com", dns.TypeAAAA))
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	require.NoError(t, err)
	rc := resolver.Config{Anchors: anchors, Port: w.Port(), AllowReserved: true, SourceAddr: netip.MustParseAddr("127.0.9.1")}
	for _, h := range w.Hints() {
		rc.Hints = append(rc.Hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	res, err := resolver.New(rc)
	require.NoError(t, err)
	web := func(allow bool) *va.Checker {
		c, err := va.New(va.Config{Name: "zurich", Software: "quorate/test", Resolver: res,
			World: va.World{TLSPort: netip.MustParseAddrPort(server.Listener.Addr().String()).Port(), AllowReserved: allow}})
		require.NoError(t, err)
		return c
	}
	s := openRecords(t, filepath.Join(t.TempDir(), "records.db"))
	for _, c := range []struct {
		id     string
		status int32
		web    *va.Checker
		want   string
	}{
		{"TAKEN", 202, web(true), "delivered notice.delivered"},
		{"REFUSED", 500, web(true), "refused notice.http-status"},
		{"ELSEWHERE", 307, web(true), "refused notice.http-redirect"},
		{"INWARDS", 200, web(false), "failed address.reserved"},
	} {
		t.Run(c.id, func(t *testing.T) {
			status.Store(c.status)
			before := posted.Load()
			told := forbidden(t, s, c.id, nil)
			cfg := iodef.Config{Records: s.Journal(), Web: c.web, Roots: roots, Now: dbtest.Clock(), Organization: "Example CA", Contact: "caa@ca.example.net"}
			r, err := iodef.New(cfg)
			require.NoError(t, err)
			r.Refused(told)
			require.NoError(t, r.Close(t.Context()))
			require.Equal(t, []string{"unusable notice.no-mail", "begun notice.begun", c.want, "unusable notice.scheme"}, steps(t, s, c.id))
			require.EqualValues(t, map[bool]int32{true: 1}[c.id != "INWARDS"], posted.Load()-before, "one try, and none to a reserved address")
		})
	}
	require.Zero(t, wrong.Load())
}
