// Command scale measures the records at size: it makes one attempt in a signed world, with a primary and five remotes and all of
// their DNS messages, and records it n times over, each time as an attempt of its own, signed anew by each remote; then it verifies
// them as an auditor does, at each depth.
//
//	go run ./test/scale -n 10000 [-dir D] [-postgres URL] [-fill] [-depths log,decisions]
//
// -dir keeps the SQLite database; to one that is there already, only what is missing up to n is added, and what another run made can be verified
// but for its DNSSEC, whose keys are gone. With -fill nothing is verified.
package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

const issuer = "ca.example.net"

// sites are the perspectives, the primary first.
var sites = []struct {
	name      string
	region    mpic.Region
	lat, long float64
}{{"zurich", mpic.RIPE, 47.4, 8.5}, {"virginia", mpic.ARIN, 39.0, -77.5}, {"sao-paulo", mpic.LACNIC, -23.5, -46.6},
	{"johannesburg", mpic.AFRINIC, -26.2, 28.0}, {"tokyo", mpic.APNIC, 35.7, 139.7}, {"stockholm", mpic.RIPE, 59.3, 18.1}}

func main() {
	n := flag.Int64("n", 10000, "how many records")
	dir := flag.String("dir", "", "where the SQLite database is kept; default: a temporary directory")
	dsn := flag.String("postgres", "", "a migrated Postgres database, as a gate's user, instead of SQLite")
	inFlight := flag.Int("inflight", 64, "how many attempts are recorded at a time")
	only := flag.Bool("fill", false, "make records, and verify nothing")
	depths := flag.String("depths", "log,decisions,dnssec", "how deep it is verified")
	profiles := flag.String("profiles", "", "a directory for CPU profiles of filling and of each depth of verification")
	flag.Parse()
	if err := run(context.Background(), *n, *dir, *dsn, *inFlight, *only, *depths, *profiles); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, n int64, dir, dsn string, inFlight int, only bool, depths, profiles string) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "quorate-scale-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	t, err := newTemplate(ctx)
	if err != nil {
		return err
	}
	// The clock stands almost still, so that a million records are of the moment at which the DNS was asked.
	var looks atomic.Int64
	config := db.Config{Path: filepath.Join(dir, "records.db"), Software: "quorate scale",
		Now: func() time.Time {
			return t.attempt.Started.Add(time.Second + time.Duration(looks.Add(1))*time.Microsecond/4)
		}}
	if dsn != "" {
		config.Path, config.Postgres = "", dsn
	}
	stop, err := profile(profiles, "fill")
	if err != nil {
		return err
	}
	if err := errors.Join(fill(ctx, t, config, n, inFlight), stop()); err != nil || only {
		return err
	}
	if dsn == "" {
		if info, err := os.Stat(config.Path); err == nil {
			fmt.Printf("database: %.2f GB, %d bytes a record\n", float64(info.Size())/1e9, info.Size()/n)
		}
	}
	config.ReadOnly = true
	s, err := db.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	debug.SetGCPercent(400) // as quorate audit verify does
	for _, depth := range []struct {
		name  string
		depth db.Depth
	}{{"log", db.DepthLog}, {"decisions", db.DepthDecisions}, {"dnssec", db.DepthProofs}} {
		if !slices.Contains(strings.Split(depths, ","), depth.name) {
			continue
		}
		stop, err := profile(profiles, depth.name)
		if err != nil {
			return err
		}
		began, cpu := time.Now(), used()
		sum, err := s.Verify(ctx, db.VerifyConfig{Depth: depth.depth, Auditor: audit.Auditor{Anchors: t.anchors},
			Finding: func(f db.Finding) { fmt.Println("FINDING", f.Number, f.Check, f.Detail) }})
		if err != nil {
			return err
		}
		took := time.Since(began)
		if err := stop(); err != nil {
			return err
		}
		fmt.Printf("verify --depth %-9s %9d records in %8.1f s, %7.0f/s, %6.0f us CPU a record, %d findings, %d signatures, %d DNS answers; peak memory so far %d MB\n",
			depth.name, sum.Records, took.Seconds(), float64(sum.Records)/took.Seconds(), float64((used()-cpu).Microseconds())/float64(max(sum.Records, 1)),
			sum.Findings, sum.Replies, sum.Lookups, peak())
	}
	return nil
}

// profile writes where the processor's time goes to dir/name.pprof until the function that it gives is called; without dir it does nothing.
func profile(dir, name string) (stop func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(dir, name+".pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// used is the processor time of this process; peak its most memory, in MB.
func used() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func peak() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Maxrss / 1024
}

// template is one attempt with what each perspective really saw.
type template struct {
	attempt mpic.Attempt
	roster  mpic.Roster
	reports []va.Report
	// texts are those of the reports, of the attempt, the nonce and the digest in keys.
	texts   [][]byte
	keys    [3]string
	signers []jose.Signer
	anchors []dnssec.Anchor
}

func newTemplate(ctx context.Context) (t *template, err error) {
	server := func(name, addr string) []world.Server {
		return []world.Server{{Host: "ns." + name, Addr: netip.MustParseAddr(addr)}}
	}
	w, err := world.New(world.Config{Zones: []world.Zone{
		{Name: ".", Algorithm: dns.ECDSAP256SHA256, Servers: server("root", "127.0.53.1")},
		{Name: "com", Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC3, Servers: server("nic.com", "127.0.53.3")},
		{Name: "example.com", Algorithm: dns.ECDSAP256SHA256, Denial: world.NSEC, Servers: server("example.com", "127.0.53.10"),
			Records: "@ A 127.0.80.1\n@ CAA 0 issue \"" + issuer + "\"\n"}}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(w.AnchorText()))
	if err != nil {
		return nil, err
	}
	var hints []resolver.Hint
	for _, h := range w.Hints() {
		hints = append(hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	const token = "DGyRejmCefe7v4NfDGDKfADGyRejmCefe7"
	req := va.Request{Identifier: "example.com", Method: va.DNS01, Token: token, KeyAuthorization: token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
		AccountURI: "https://ca.example/acct/1", Issuers: []string{issuer}, TokenCreated: time.Now().UTC().Add(-time.Minute)}
	if err := w.Set("_acme-challenge.example.com", dns.TypeTXT, req.Expected()); err != nil {
		return nil, err
	}
	now := time.Now().UTC().Round(0)
	t = &template{anchors: anchors, attempt: mpic.Attempt{Kind: mpic.Issuance, Started: now, Caller: "scale", Software: "quorate scale", Rules: mpic.RulesDigest(),
		Probe: va.Probe{Attempt: rand.Text(), Nonce: hex.EncodeToString(nonce()), Deadline: now.Add(20 * time.Second), Request: req}}}
	for i, s := range sites {
		r, err := resolver.New(resolver.Config{Hints: hints, Anchors: anchors, Port: w.Port(), AllowReserved: true})
		if err != nil {
			return nil, err
		}
		checker, err := va.New(va.Config{Name: s.name, Software: "quorate scale", Resolver: r})
		if err != nil {
			return nil, err
		}
		report := checker.Check(ctx, t.attempt.Probe)
		if report.DCV.Outcome != va.Pass || report.CAA.Outcome != va.Pass {
			return nil, fmt.Errorf("%s: %+v %+v", s.name, report.DCV.Problem, report.CAA.Problem)
		}
		text, err := json.Marshal(report)
		if err != nil {
			return nil, err
		}
		t.reports, t.texts, t.keys = append(t.reports, report), append(t.texts, text), [3]string{report.Attempt, report.Nonce, report.Digest}
		place := mpic.Place{Region: s.region, Latitude: s.lat, Longitude: s.long}
		m := mpic.Member{Name: s.name, Title: s.name, Place: place, Resolver: place}
		if i == 0 {
			t.roster.Primary = m
			continue
		}
		if err := t.addRemote(m); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *template) addRemote(m mpic.Member) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	m.URL, m.TLSKey, m.SigningKey = "https://"+m.Name+".example", hex.EncodeToString(public), base64.RawURLEncoding.EncodeToString(sum)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("quorate-report+jws").WithHeader("kid", m.SigningKey))
	t.signers, t.roster.Remotes = append(t.signers, signer), append(t.roster.Remotes, m)
	return err
}

// evidence is the template as another attempt: another identifier and nonce, and so another digest and other signatures.
func (t *template) evidence() (mpic.Evidence, error) {
	a := t.attempt
	a.Probe.Attempt, a.Probe.Nonce = rand.Text(), hex.EncodeToString(nonce())
	e := mpic.Evidence{Attempt: a, Roster: t.roster}
	another := strings.NewReplacer(t.keys[0], a.Probe.Attempt, t.keys[1], a.Probe.Nonce, t.keys[2], a.Probe.Digest())
	for i, r := range t.reports {
		payload := []byte(another.Replace(string(t.texts[i])))
		if i == 0 {
			e.Primary = new(mpic.PrimaryReport)
			if err := json.Unmarshal(payload, e.Primary); err != nil {
				return e, err
			}
			continue
		}
		signed, err := t.signers[i-1].Sign(payload)
		if err != nil {
			return e, err
		}
		compact, err := signed.CompactSerialize()
		if err != nil {
			return e, err
		}
		reply, err := mpic.ReadReply(compact)
		if err != nil {
			return e, err
		}
		report := reply.Report()
		e.Remotes = append(e.Remotes, mpic.Attestation{Perspective: r.Perspective, State: mpic.Answered, Reply: reply, Report: &report, Signed: compact,
			Asked: a.Started, Closed: r.Finished})
	}
	return e, e.Supply(t.sets())
}

func nonce() []byte {
	n := make([]byte, 16)
	rand.Read(n)
	return n
}

func (t *template) sets() dnssec.Sets {
	all := dnssec.Sets{}
	for _, r := range t.reports {
		for sum, octets := range r.Sets {
			all[sum] = octets
		}
	}
	return all
}

// fill records attempts until there are n.
func fill(ctx context.Context, t *template, config db.Config, n int64, inFlight int) (err error) {
	s, err := db.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	newest, err := s.List(ctx, db.Filter{Limit: 1})
	if err != nil {
		return err
	}
	if len(newest) > 0 { // numbers have no gaps
		n -= newest[0].Number
	}
	began := time.Now()
	var next atomic.Int64
	errs := make([]error, inFlight)
	var group sync.WaitGroup
	for w := range inFlight {
		group.Go(func() {
			for next.Add(1) <= n && errs[w] == nil {
				errs[w] = t.record(ctx, s)
			}
		})
	}
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	for {
		select {
		case <-ticker.C:
			fmt.Fprintf(os.Stderr, "%d of %d records, %.0f/s\n", next.Load(), n, float64(next.Load())/time.Since(began).Seconds())
			continue
		case <-done:
		}
		break
	}
	took := time.Since(began)
	n = max(n, 0)
	fmt.Printf("%d records made and recorded in %.1f s, %.0f/s at %d in flight, on %d processors\n", n, took.Seconds(), float64(n)/took.Seconds(), inFlight,
		runtime.NumCPU())
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *template) record(ctx context.Context, s *db.Store) error {
	e, err := t.evidence()
	if err != nil {
		return err
	}
	if _, err := s.Journal().Open(ctx, e.Attempt, e.Roster); err != nil {
		return err
	}
	d := mpic.Judge(e)
	if !d.Granted() {
		return fmt.Errorf("not granted: %v", d.Reasons())
	}
	return s.Journal().Close(ctx, e, d)
}
