package reviewer

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

const (
	ours   = `0 issue "ca.example.net"`
	theirs = `0 issue "other-ca.example.net"`
)

// sites are the perspectives, the primary first. Each sends from a loopback address of its own.
var sites = []struct {
	name      string
	region    mpic.Region
	lat, long float64
	source    string
}{
	{"zurich", mpic.RIPE, 47.4, 8.5, "127.3.0.100"}, {"virginia", mpic.ARIN, 39.0, -77.5, "127.3.0.1"},
	{"sao-paulo", mpic.LACNIC, -23.5, -46.6, "127.3.0.2"}, {"johannesburg", mpic.AFRINIC, -26.2, 28.0, "127.3.0.3"},
	{"tokyo", mpic.APNIC, 35.7, 139.7, "127.3.0.4"}, {"stockholm", mpic.RIPE, 59.3, 18.1, "127.3.0.5"},
}

// The name servers, and where pages are.
var (
	rootAddr   = netip.MustParseAddr("127.0.53.1")
	tldAddr    = netip.MustParseAddr("127.0.53.3")
	tld2Addr   = netip.MustParseAddr("127.0.53.4")
	victimAddr = netip.MustParseAddr("127.0.53.10")
	otherAddr  = netip.MustParseAddr("127.0.53.12")
	openAddr   = netip.MustParseAddr("127.0.53.13")
	evilAddr   = netip.MustParseAddr("127.0.53.66")

	pageAddr     = netip.MustParseAddr("127.0.80.1")
	evilPageAddr = netip.MustParseAddr("127.0.80.66")
)

// internet is what all cases start from. Top-level domains: com has NSEC, org NSEC3, net NSEC3 with opt-out. In each,
// victim is signed and its CAA forbids us; shop is signed and has no CAA; open is unsigned; they are on servers apart.
func internet() []world.Zone {
	at := func(name string, addrs ...netip.Addr) []world.Server {
		var servers []world.Server
		for i, a := range addrs {
			servers = append(servers, world.Server{Host: string(rune('a'+i)) + ".ns." + name, Addr: a})
		}
		return servers
	}
	zones := []world.Zone{{Name: ".", Algorithm: dns.ECDSAP256SHA256, Servers: at("root", rootAddr)}}
	for tld, denial := range map[string]world.Denial{"com": world.NSEC, "org": world.NSEC3, "net": world.NSEC3OptOut} {
		p256 := func(name, records string, addrs ...netip.Addr) world.Zone {
			return world.Zone{Name: name, Algorithm: dns.ECDSAP256SHA256, Denial: denial, Servers: at(name, addrs...),
				Records: "@ A 127.0.80.1\nwww A 127.0.80.1\n" + records}
		}
		zones = append(zones,
			world.Zone{Name: tld, Algorithm: dns.ECDSAP256SHA256, Denial: denial, Servers: at("nic."+tld, tldAddr, tld2Addr)},
			p256("victim."+tld, "@ CAA "+theirs+"\nwww CAA "+theirs+"\n", victimAddr),
			p256("sub.victim."+tld, "@ CAA "+theirs+"\n", victimAddr),
			p256("shop."+tld, "www TXT genuine\n", victimAddr),
			world.Zone{Name: "open." + tld, Servers: at("open."+tld, openAddr),
				Records: "@ A 127.0.80.1\nwww A 127.0.80.1\n"})
	}
	return append(zones,
		world.Zone{Name: "hosting.org", Algorithm: dns.ECDSAP256SHA256, Servers: at("hosting.org", otherAddr)},
		world.Zone{Name: "glueless.com", Servers: []world.Server{{Host: "a.ns.hosting.org", Addr: otherAddr}},
			Records: "@ A 127.0.80.1\n"},
		world.Zone{Name: "evil.com", Servers: at("evil.com", evilAddr), Records: "@ A 127.0.80.66\n"})
}

// doors are what a case makes a gate with.
type doors struct {
	now        func() time.Time
	algorithms dnssec.Algorithms
	// closed keeps hosts at reserved addresses out; production does so with name servers, and asks port 53.
	closed, production bool
}

// stage is one case's world, its records, and the request that is put to gates in it.
type stage struct {
	t       testing.TB
	world   *world.World
	doors   doors
	journal *journal
	request va.Request

	mu      sync.Mutex
	seen    []world.Query
	removes []func()
	strikes []*struck
	// kept is what an attack has kept of an earlier time.
	kept []dns.RR
}

// struck counts how often an attack has changed an answer.
type struck struct {
	what string
	n    atomic.Int64
}

// newStage makes a case's world. The journal may be that of other cases too; one is made where none is given.
func newStage(t testing.TB, c testCase, a attack, j *journal) *stage {
	t.Helper()
	if j == nil || a.doors.now != nil {
		j = openJournal(t, a.doors.now)
	}
	s := &stage{t: t, journal: j, doors: a.doors}
	cfg := world.Config{Zones: internet(), Now: a.signedAt, OnQuery: s.note}
	if a.world != nil {
		a.world(&cfg)
	}
	var err error
	s.world, err = world.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.world.Close()) })

	raw := make([]byte, 56)
	rand.Read(raw)
	token := base64.RawURLEncoding.EncodeToString(raw[:24])
	s.request = va.Request{Identifier: c.identifier, Method: c.method, Token: token,
		KeyAuthorization: token + "." + base64.RawURLEncoding.EncodeToString(raw[24:]), TokenCreated: s.clock().UTC(),
		AccountURI: "https://ca.example.net/acct/1"}
	page, other := pageAddr, evilPageAddr
	switch {
	case !c.owner:
		page, other = other, page
	case c.method == va.DNS01:
		require.NoError(t, s.world.Set("_acme-challenge."+s.request.FQDN(), dns.TypeTXT, s.request.Expected()))
	}
	host, err := s.world.Host(page)
	require.NoError(t, err)
	host.AddToken(token, s.request.KeyAuthorization)
	_, err = s.world.Host(other)
	require.NoError(t, err)
	return s
}

func (s *stage) clock() time.Time {
	if s.doors.now != nil {
		return s.doors.now()
	}
	return time.Now()
}

func (s *stage) note(q world.Query) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, q)
}

// asked tells how many packets an address has had.
func (s *stage) asked(addr netip.Addr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(s.seen), func(q world.Query) bool { return q.Server != addr }))
}

// inject puts a fault in place until calm.
func (s *stage) inject(f world.Fault) {
	s.t.Helper()
	hit := &struck{what: strings.TrimSpace(f.Zone + " " + f.Name + " " + dns.Type(f.Type).String())}
	switch rewrite, flood := f.Rewrite, f.Flood; f.Kind {
	case world.Rewrite:
		f.Rewrite = func(m *dns.Msg) {
			before := m.String()
			m.Answer, m.Ns, m.Extra = copies(m.Answer), copies(m.Ns), copies(m.Extra)
			if rewrite(m); m.String() != before {
				hit.n.Add(1)
			}
		}
	case world.Flood:
		f.Flood = func(m *dns.Msg) []*dns.Msg {
			hit.n.Add(1)
			return flood(m)
		}
	default:
		counter := f
		counter.Kind, counter.Rewrite = world.Rewrite, func(*dns.Msg) { hit.n.Add(1) }
		s.install(counter)
	}
	s.strikes = append(s.strikes, hit)
	s.install(f)
}

func (s *stage) install(f world.Fault) {
	s.t.Helper()
	remove, err := s.world.Inject(f)
	require.NoError(s.t, err)
	s.removes = append(s.removes, remove)
}

// rewrite has the answers to one question, or to all that f does not exclude, changed.
func (s *stage) rewrite(f world.Fault, how func(*dns.Msg)) {
	s.t.Helper()
	f.Kind, f.Rewrite = world.Rewrite, how
	s.inject(f)
}

// trap is rewrite for answers that a good resolver need never ask for.
func (s *stage) trap(f world.Fault, how func(*dns.Msg)) {
	s.t.Helper()
	f.Kind, f.Rewrite = world.Rewrite, how
	s.install(f)
}

// calm ends the attack.
func (s *stage) calm() {
	for _, remove := range s.removes {
		remove()
	}
	s.removes = nil
}

// tell writes what each attacker did for a test that failed.
func (s *stage) tell() string {
	var b strings.Builder
	for _, h := range s.strikes {
		b.WriteString(h.what + "\n")
	}
	return b.String()
}

// neighbour is a remote in this process: a checker with a resolver of its own, without the network between. Where the
// network is part of the matter, TestOverTheNetwork has it.
type neighbour struct {
	member  mpic.Member
	checker *va.Checker
	clock   func() time.Time
}

func (n neighbour) Member() mpic.Member { return n.member }

func (n neighbour) Attest(ctx context.Context, p va.Probe) mpic.Attestation {
	asked := n.clock().UTC().Round(0)
	report := n.checker.Check(ctx, p)
	return mpic.Attestation{Perspective: n.member.Name, State: mpic.Answered, Report: &report, Asked: asked,
		Closed: n.clock().UTC().Round(0)}
}

// anchors are the world's.
func (s *stage) anchors() []dnssec.Anchor {
	s.t.Helper()
	anchors, err := dnssec.ParseAnchors(strings.NewReader(s.world.AnchorText()))
	require.NoError(s.t, err)
	return anchors
}

// checker makes one perspective: a resolver with an empty memory, and the checks.
func (s *stage) checker(i int) *va.Checker {
	s.t.Helper()
	rc := resolver.Config{Anchors: s.anchors(), Algorithms: s.doors.algorithms, Now: s.doors.now}
	if !s.doors.production {
		rc.Port, rc.AllowReserved, rc.SourceAddr = s.world.Port(), true, netip.MustParseAddr(sites[i].source)
	}
	for _, h := range s.world.Hints() {
		rc.Hints = append(rc.Hints, resolver.Hint{Name: h.Host, Addrs: []netip.Addr{h.Addr}})
	}
	r, err := resolver.New(rc)
	require.NoError(s.t, err)
	c, err := va.New(va.Config{Name: sites[i].name, Software: "quorate/test", Resolver: r, SourceAddr: rc.SourceAddr,
		Now: s.doors.now, World: va.World{HTTPPort: s.world.HTTPPort(), TLSPort: s.world.TLSPort(),
			AllowReserved: !s.doors.closed && !s.doors.production}})
	require.NoError(s.t, err)
	return c
}

// journal is the records on SQLite: as the gate writes them, and as an auditor reads them, through connections that
// can only read.
type journal struct {
	path   string
	writes *db.Store
	reads  *db.Store
	rows   *sql.DB
}

func openJournal(t testing.TB, now func() time.Time) *journal {
	t.Helper()
	j := &journal{path: filepath.Join(t.TempDir(), "records.db")}
	var err error
	j.writes, err = db.Open(t.Context(), db.Config{Path: j.path, Now: now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.writes.Close()) })
	j.reads, err = db.Open(t.Context(), db.Config{Path: j.path, ReadOnly: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.reads.Close()) })
	j.rows, err = sql.Open("sqlite", "file:"+j.path+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.rows.Close()) })
	return j
}

// gate makes a gate with a primary and five remotes, none of which has resolved anything yet: over these remotes, or
// over neighbours where none are given. done ends it.
func (s *stage) gate(remotes ...mpic.Remote) (g *mpic.Coordinator, done func()) {
	s.t.Helper()
	c := mpic.Config{Primary: s.checker(0), Remotes: remotes, Issuers: []string{"ca.example.net"}, Software: "quorate/test",
		Now: s.doors.now, Deadline: time.Minute, GrantGrace: time.Minute, RefusalGrace: time.Minute}
	for i, site := range sites {
		place := mpic.Place{Region: site.region, Latitude: site.lat, Longitude: site.long}
		member := mpic.Member{Name: site.name, Title: site.name, Place: place, Resolver: place}
		switch {
		case i == 0:
			c.Roster.Primary = member
		case len(remotes) > 0:
			c.Roster.Remotes = append(c.Roster.Remotes, remotes[i-1].Member())
		default:
			member.URL, member.TLSKey, member.SigningKey = "https://"+site.name+".test", "tls-"+site.name, "sig-"+site.name
			c.Roster.Remotes = append(c.Roster.Remotes, member)
			c.Remotes = append(c.Remotes, neighbour{member, s.checker(i), s.clock})
		}
	}
	c.Journal = s.journal.writes.Journal()
	g, err := mpic.New(c)
	require.NoError(s.t, err)
	return g, func() { require.NoError(s.t, g.Close(context.Background())) }
}

// record is one attempt as an auditor reads it.
type record struct {
	db.Record
	decision mpic.RecordedDecision
	primary  va.Report
	remotes  []va.Report
}

func (s *stage) read(id string) record {
	s.t.Helper()
	stored, err := s.journal.reads.Attempt(s.t.Context(), id)
	require.NoError(s.t, err)
	r := record{Record: stored}
	require.NoError(s.t, json.Unmarshal(stored.Decision, &r.decision))
	require.NotNil(s.t, stored.Evidence.Primary)
	r.primary = stored.Evidence.Primary.Report()
	for _, a := range stored.Evidence.Remotes {
		require.Equal(s.t, mpic.Answered, a.State, "%s: %v", a.Perspective, a.Problem)
		r.remotes = append(r.remotes, *a.Report)
	}
	require.Len(s.t, r.remotes, len(sites)-1)
	return r
}

// authorizations counts the rows that let something be issued upon an attempt.
func (s *stage) authorizations(number int64) int {
	s.t.Helper()
	var n int
	require.NoError(s.t, s.journal.rows.QueryRow("SELECT count(*) FROM authorizations WHERE attempt = ?", number).Scan(&n))
	return n
}

// lookups gives what a perspective looked up of a name and type, for DCV or for CAA.
func lookups(r va.Report, name, rrtype string) []resolver.Lookup {
	var found []resolver.Lookup
	for _, l := range slices.Concat(r.DCV.Lookups, r.CAA.Lookups) {
		if l.Name == name && l.Type == rrtype {
			found = append(found, l)
		}
	}
	return found
}

// told is a lookup's account for a person.
func told(l resolver.Lookup) string {
	var b strings.Builder
	b.WriteString(l.Name + " " + l.Type + " " + l.Status.String() + " " + l.Code + ": " + l.Why + "\n")
	for _, q := range l.Queries {
		b.WriteString("  " + q.Server + " " + q.Transport + " " + q.Question + " " + q.Rcode + " " + q.Error + "\n")
	}
	return b.String()
}

// edit changes the statement of a zone before the world starts.
func edit(c *world.Config, zone string, how func(*world.Zone)) {
	i := slices.IndexFunc(c.Zones, func(z world.Zone) bool { return z.Name == zone })
	if i < 0 {
		panic("no zone " + zone)
	}
	how(&c.Zones[i])
}

// edit changes a zone that is served.
func (s *stage) edit(zone string, how func(*world.Zone)) {
	s.t.Helper()
	require.NoError(s.t, s.world.Edit(zone, func(z *world.Zone) error { how(z); return nil }))
}

// publish puts the challenge's TXT record at a name, as its owner would.
func (s *stage) publish(name string) {
	s.t.Helper()
	require.NoError(s.t, s.world.Set(name, dns.TypeTXT, s.request.Expected()))
}
