package perspective

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/scrape"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// shared is a perspective with two gates, of two CAs.
type shared struct {
	*world
	other *Identity
}

func serveTwo(t *testing.T, check func(context.Context, va.Probe) va.Report, change func(*Config)) shared {
	t.Helper()
	other, err := GenerateGateIdentity("gate-2", born)
	require.NoError(t, err)
	return shared{other: other, world: serve(t, check, func(c *Config, w *world) {
		c.Gates = append(c.Gates, Gate{Name: "gate-2", TLSKey: other.TLSKey()})
		if change != nil {
			change(c)
		}
	})}
}

// clock is a perspective's, and stands still until it is told.
type clock struct{ nanoseconds atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanoseconds.Store(born.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanoseconds.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.nanoseconds.Add(int64(d)) }

// numbered is the nth of the probes of a test.
func numbered(now time.Time, n int) va.Probe {
	p := probeAt(now)
	p.Attempt = fmt.Sprintf("attempt-%d", n)
	return p
}

// TestAFloodTakesTheFloodersPlacesAlone: one gate sends a hundred times what it may, and what it may is never done. Each probe of the
// other is answered meanwhile: nothing of the first has ended before the last of the second has.
//
// Holds: MPIC-07
func TestAFloodTakesTheFloodersPlacesAlone(t *testing.T) {
	const flood, places, quiet = 200, 3, 40
	held, release := make(chan struct{}, flood), make(chan struct{})
	registry := prometheus.NewPedanticRegistry()
	s := serveTwo(t, func(_ context.Context, p va.Probe) va.Report {
		if strings.HasPrefix(p.Attempt, "flood") {
			held <- struct{}{}
			<-release
		}
		return passing(p)
	}, func(c *Config) {
		c.Places = 2 * places
		var err error
		c.Metrics, err = NewMetrics(registry)
		require.NoError(t, err)
	})
	flooder := s.bare(t, s.gate)
	warm, err := flooder.Get(s.url + "/livez") // from here on there is a connection, which carries them all
	require.NoError(t, err)
	require.NoError(t, warm.Body.Close())
	statuses := make(chan int, flood)
	var all sync.WaitGroup
	for i := range flood {
		probe := newProbe()
		probe.Attempt = fmt.Sprintf("flood-%d", i)
		body := marshal(t, probe)
		all.Go(func() {
			response, err := flooder.Post(s.url+probePath, "application/json", strings.NewReader(string(body)))
			if err != nil {
				statuses <- 0
				return
			}
			_ = response.Body.Close()
			statuses <- response.StatusCode
		})
	}
	for range places {
		<-held
	}
	for range flood - places { // refused at once, and not kept waiting
		require.Equal(t, http.StatusServiceUnavailable, <-statuses)
	}
	remote := s.remote(t, s.other)
	for i := range quiet {
		a := remote.Attest(t.Context(), numbered(time.Now().UTC(), i))
		require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
	}
	var together sync.WaitGroup
	answered := make(chan mpic.State, places)
	for i := range places { // as many at a time as are its own
		together.Go(func() { answered <- remote.Attest(t.Context(), numbered(time.Now().UTC(), quiet+i)).State })
		require.Equal(t, mpic.Answered, <-answered)
	}
	together.Wait()
	require.Empty(t, statuses, "the flooder's probes are still held")
	require.Empty(t, held)
	series := scrape.Series(t, registry)
	require.EqualValues(t, places, series["quorate_probes_in_flight{gate=gate-1}"])
	require.EqualValues(t, flood-places, series["quorate_probes_refused_total{code=perspective.overload,gate=gate-1}"])
	require.EqualValues(t, quiet+places, series["quorate_probes_total{caa=pass,dcv=pass,gate=gate-2}"])
	require.Zero(t, series["quorate_probes_refused_total{code=perspective.overload,gate=gate-2}"])
	close(release)
	all.Wait()
	for range places {
		require.Equal(t, http.StatusOK, <-statuses)
	}
}

// A gate that is quicker than it may be is refused by its own count.
func TestARateIsOfOneGate(t *testing.T) {
	at := newClock()
	s := serveTwo(t, pass, func(c *Config) {
		c.Now = at.now
		c.Gates[0].Rate, c.Gates[0].Burst = 2, 3
	})
	one, two := s.bare(t, s.gate), s.bare(t, s.other)
	n := 0
	send := func(client *http.Client) (*http.Response, problem) {
		n++
		return s.post(t, client, marshal(t, numbered(at.now(), n)))
	}
	for range 3 {
		response, _ := send(one)
		require.Equal(t, 200, response.StatusCode)
	}
	response, p := send(one)
	require.Equal(t, 429, response.StatusCode)
	require.Equal(t, "request.rate", p.Code)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	for range 20 {
		response, _ = send(two)
		require.Equal(t, 200, response.StatusCode)
	}
	at.advance(500 * time.Millisecond)
	response, _ = send(one)
	require.Equal(t, 200, response.StatusCode)
	response, _ = send(one)
	require.Equal(t, 429, response.StatusCode)
	require.Contains(t, s.log.String(), "gate=gate-1")
	require.NotContains(t, s.log.String(), `code=request.rate detail="" `)
	a := s.remote(t, s.gate).Attest(t.Context(), newProbe())
	require.Equal(t, mpic.Rejected, a.State, "a refusal of this kind is a non-corroboration")
}

func TestABucketHoldsToRateAndBurst(t *testing.T) {
	b := newBucket(10, 0)
	require.EqualValues(t, 10, b.burst)
	for range 10 {
		require.True(t, b.take(born))
	}
	require.False(t, b.take(born))
	require.False(t, b.take(born.Add(99*time.Millisecond)))
	require.True(t, b.take(born.Add(100*time.Millisecond)))
	require.False(t, b.take(born.Add(-time.Hour)), "a clock that was put back gives nothing")
	require.False(t, b.take(born.Add(-time.Hour)))
	require.True(t, b.take(born.Add(-time.Hour+100*time.Millisecond)), "and goes on from there")
	for range 10 {
		require.True(t, b.take(born.Add(time.Hour)), "no more than the burst is saved up")
	}
	require.False(t, b.take(born.Add(time.Hour)))
	slow := newBucket(0.25, 0)
	require.True(t, slow.take(born))
	require.False(t, slow.take(born.Add(3*time.Second)))
	require.True(t, slow.take(born.Add(4*time.Second)))
	free := newBucket(0, 0)
	for range 1000 {
		require.True(t, free.take(born))
	}
}

func TestPlacesAreDividedAndNeverBorrowed(t *testing.T) {
	for name, c := range map[string]struct {
		inFlight []int
		places   int
		want     []int
		err      string
	}{
		"alone":                     {[]int{0}, 0, []int{512}, ""},
		"an equal share":            {[]int{0, 0, 0}, 32, []int{10, 10, 10}, ""},
		"what is left":              {[]int{20, 0, 0}, 32, []int{20, 6, 6}, ""},
		"no more than 512":          {[]int{0, 0}, 4096, []int{512, 512}, ""},
		"all of them":               {[]int{16, 16}, 32, []int{16, 16}, ""},
		"more than all":             {[]int{16, 17}, 32, nil, "more than the 32 places"},
		"none left for the last":    {[]int{16, 16, 0}, 32, nil, "more than the 32 places"},
		"one is negative":           {[]int{-1}, 32, nil, "-1 probes in flight"},
		"one is too large":          {[]int{4097}, 65536, nil, "4097 probes in flight"},
		"places that are too many":  {[]int{1}, 65537, nil, "65537 places"},
		"places that are below one": {[]int{1}, -1, nil, "-1 places"},
	} {
		t.Run(name, func(t *testing.T) {
			var gates []Gate
			for i, n := range c.inFlight {
				gates = append(gates, Gate{Name: fmt.Sprint(i), TLSKey: fmt.Sprintf("%064x", i), InFlight: n})
			}
			got, err := newAdmissions(gates, c.places, pass)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			for i, want := range c.want {
				require.Equal(t, want, cap(got[fmt.Sprintf("%064x", i)].slots))
			}
		})
	}
	crowd := make([]Gate, mostGates+1)
	_, err := newAdmissions(crowd, 0, pass)
	require.ErrorContains(t, err, "257 gates")
	for name, g := range map[string]Gate{"a negative rate": {Rate: -1}, "no number": {Rate: math.NaN()}, "an endless rate": {Rate: math.Inf(1)},
		"a rate too high": {Rate: 100_001}, "a negative burst": {Rate: 1, Burst: -1}, "a burst too large": {Rate: 1, Burst: 1_000_001},
		"a burst without rate": {Burst: 5}} {
		g.Name, g.TLSKey = "g", strings.Repeat("0a", 32)
		_, err := newAdmissions([]Gate{g}, 0, pass)
		require.ErrorContains(t, err, `gate "g": a `, name)
	}
}

// TestTwoGatesMayUseTheSameAttemptAndNonce: what one gate has asked is no replay of another's, and tells nobody that it was asked.
//
// Holds: MPIC-09
func TestTwoGatesMayUseTheSameAttemptAndNonce(t *testing.T) {
	s := serveTwo(t, pass, nil)
	probe := marshal(t, newProbe())
	for _, id := range []*Identity{s.gate, s.other} {
		client := s.bare(t, id)
		response, p := s.post(t, client, probe)
		require.Equal(t, 200, response.StatusCode, "%+v", p)
		response, p = s.post(t, client, probe)
		require.Equal(t, 409, response.StatusCode)
		require.Equal(t, "request.replay", p.Code)
	}
}

// TestAGateIsKnownByItsKeyAlone: not by a name in its certificate, nor by another certificate beside it, nor by one whose key it does
// not have.
//
// Holds: MPIC-08, F9
func TestAGateIsKnownByItsKeyAlone(t *testing.T) {
	var asked atomic.Int32
	s := serveTwo(t, func(_ context.Context, p va.Probe) va.Report {
		asked.Add(1)
		return passing(p)
	}, nil)
	namedAlike, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	refused := map[string]tls.Certificate{
		"another's certificate":                    {Certificate: s.other.certificate.Certificate, PrivateKey: s.gate.certificate.PrivateKey},
		"the same, the other way round":            {Certificate: s.gate.certificate.Certificate, PrivateKey: s.other.certificate.PrivateKey},
		"a gate's name":                            namedAlike.certificate,
		"a gate's certificate behind a stranger's": {Certificate: [][]byte{namedAlike.certificate.Certificate[0], s.gate.certificate.Certificate[0]}, PrivateKey: namedAlike.certificate.PrivateKey},
	}
	for name, certificate := range refused {
		client := s.bare(t, &Identity{certificate: certificate})
		response, err := client.Post(s.url+probePath, "application/json", strings.NewReader(string(marshal(t, newProbe()))))
		if err == nil {
			_ = response.Body.Close()
		}
		require.Error(t, err, name)
	}
	require.Zero(t, asked.Load())

	both := s.other.certificate
	both.Certificate = [][]byte{s.other.certificate.Certificate[0], s.gate.certificate.Certificate[0]}
	response, _ := s.post(t, s.bare(t, &Identity{certificate: both}), marshal(t, newProbe()))
	require.Equal(t, 200, response.StatusCode)
	require.Contains(t, s.log.String(), `msg="probe answered" gate=gate-2`)
	require.NotContains(t, s.log.String(), `msg="probe answered" gate=gate-1`)
}

// TestARemovedGateIsAStranger: a certificate is revoked by leaving its key out of the configuration; the others do not notice.
//
// Holds: MPIC-08
func TestARemovedGateIsAStranger(t *testing.T) {
	gates := []string{"gate-1", "gate-2"}
	identities := map[string]*Identity{}
	for _, name := range gates {
		id, err := GenerateGateIdentity(name, born)
		require.NoError(t, err)
		identities[name] = id
	}
	for _, removed := range []string{"", "gate-1", "gate-2"} {
		s := serve(t, pass, func(c *Config, _ *world) {
			c.Gates = nil
			for _, name := range gates {
				if name != removed {
					c.Gates = append(c.Gates, Gate{Name: name, TLSKey: identities[name].TLSKey()})
				}
			}
		})
		for _, name := range gates {
			a := s.remote(t, identities[name]).Attest(t.Context(), newProbe())
			if name == removed {
				require.Equal(t, mpic.Unreachable, a.State)
			} else {
				require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
			}
		}
	}
}

// TestConnectionsAreBoundedForEachGate: one gate that opens as many as it can keeps none from another.
func TestConnectionsAreBoundedForEachGate(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	s := serveTwo(t, pass, func(c *Config) {
		c.Gates[0].InFlight = 2
		var err error
		c.Metrics, err = NewMetrics(registry)
		require.NoError(t, err)
	})
	// connect gives a connection of which it is known that the perspective took it.
	connect := func(id *Identity) (*tls.Conn, error) {
		c, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{id.certificate}})
		if err != nil {
			return nil, err
		}
		_, err = io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		if err == nil {
			_, err = c.Read(make([]byte, 12))
		}
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}
	const most = 2*2 + spareConnections
	var open []*tls.Conn
	for range most {
		c, err := connect(s.gate)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		open = append(open, c)
	}
	_, err := connect(s.gate)
	require.Error(t, err)
	require.Contains(t, s.log.String(), `msg="connection refused" gate=gate-1`)
	scrape.Require(t, registry, map[string]float64{"quorate_probes_refused_total{code=perspective.connections,gate=gate-1}": 1})
	for range most + 1 {
		c, err := connect(s.other)
		require.NoError(t, err, "the other's are its own")
		defer func() { _ = c.Close() }()
	}
	require.NoError(t, open[0].Close())
	require.Eventually(t, func() bool {
		c, err := connect(s.gate)
		if err == nil {
			defer func() { _ = c.Close() }()
		}
		return err == nil
	}, ample, time.Millisecond, "a place is given back")
}

// TestWhoOnlyKnocksKeepsNobodyOut: unfinished handshakes are bounded for each address.
func TestWhoOnlyKnocksKeepsNobodyOut(t *testing.T) {
	s := serveTwo(t, pass, nil)
	from := func(address string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).Dial("tcp", s.address)
	}
	var open []net.Conn
	for range maxKnocking {
		c, err := from("127.0.0.9")
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		open = append(open, c)
	}
	c, err := from("127.0.0.9")
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err, "closed at once: nothing is read from it, and no time-out of the handshake is waited for")
	require.NoError(t, c.Close())
	a := s.remote(t, s.gate).Attest(t.Context(), newProbe())
	require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
	for _, c := range open {
		require.NoError(t, c.Close())
	}
}

func TestAnAddressIsCountedByItsNetwork(t *testing.T) {
	for text, want := range map[string]string{"192.0.2.1:1": "192.0.2.1/32", "[::ffff:192.0.2.1]:1": "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64"} {
		require.Equal(t, want, network(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text))).String(), text)
	}
	require.Equal(t, netip.Prefix{}, network(&net.UnixAddr{Name: "x"}))
}

// TestOneGatesRefusalsDoNotFillTheLog: a hundred lines, then ten a second; what was left out is told. The other's are all there.
func TestOneGatesRefusalsDoNotFillTheLog(t *testing.T) {
	at := newClock()
	s := serveTwo(t, pass, func(c *Config) { c.Now = at.now })
	one, two := s.bare(t, s.gate), s.bare(t, s.other)
	for range 3 * linesBurst {
		_, p := s.post(t, one, []byte("{"))
		require.Equal(t, "request.malformed", p.Code, "each is answered")
	}
	_, _ = s.post(t, two, []byte("{"))
	require.Equal(t, linesBurst, strings.Count(s.log.String(), `msg="probe refused" gate=gate-1`))
	require.Equal(t, 1, strings.Count(s.log.String(), `msg="probe refused" gate=gate-2`))
	at.advance(time.Second)
	_, _ = s.post(t, one, []byte("{"))
	require.Contains(t, s.log.String(), fmt.Sprintf("left_out=%d", 2*linesBurst))
}

// TestNothingOfOneGateIsToldToAnother: whatever a gate asks, and whatever another does meanwhile, what it is told is the same and
// names no gate.
//
// Holds: MPIC-07
func TestNothingOfOneGateIsToldToAnother(t *testing.T) {
	at := newClock()
	entered, release := make(chan struct{}, 1), make(chan struct{})
	s := serveTwo(t, func(_ context.Context, p va.Probe) va.Report {
		if p.Attempt == "held" {
			entered <- struct{}{}
			<-release
		}
		return passing(p)
	}, func(c *Config) {
		c.Now, c.Places = at.now, 2
		c.Gates[1].Rate, c.Gates[1].Burst = 1000, 7
	})
	probes := 0
	told := func() string {
		client := s.bare(t, s.other)
		var b strings.Builder
		note := func(response *http.Response, err error) {
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			response.Header.Del("Date")
			if response.StatusCode == 200 && response.Request.Method == http.MethodPost {
				body = nil // the report of another attempt
			}
			fmt.Fprintln(&b, response.Status, response.Header, string(body))
		}
		probes++
		replayed := string(marshal(t, numbered(at.now(), 1000*probes)))
		for _, body := range []string{replayed, replayed, "{", "", strings.Repeat(" ", maxBody+1), `{"attempt":"x"}`, `{"attempt":"a"}`, "[]"} {
			response, err := client.Post(s.url+probePath, "application/json", strings.NewReader(body))
			note(response, err)
		}
		for _, path := range []string{"/livez", "/", "/metrics", "/v1/gates", "/readyz", probePath} {
			response, err := client.Get(s.url + path)
			note(response, err)
		}
		at.advance(time.Minute)
		return b.String()
	}
	alone := told()
	require.Contains(t, alone, "429")
	require.Contains(t, alone, "409")
	for _, word := range []string{"gate-1", "gate-2"} {
		require.NotContains(t, alone, word)
	}
	// Now the other has used up all that it has.
	held := numbered(at.now(), 0)
	held.Attempt, held.Deadline = "held", at.now().Add(maxAhead)
	done := make(chan struct{})
	go func() {
		defer close(done)
		response, err := s.bare(t, s.gate).Post(s.url+probePath, "application/json", strings.NewReader(string(marshal(t, held))))
		if err == nil {
			_ = response.Body.Close()
		}
	}()
	<-entered
	busy := s.bare(t, s.gate)
	for i := range 5 {
		response, _ := s.post(t, busy, marshal(t, numbered(at.now(), i)))
		require.Equal(t, 503, response.StatusCode)
	}
	require.Equal(t, alone, told())
	close(release)
	<-done
}

// TestAGateCanHaveAResolverOfItsOwn: what a resolver remembers for one gate is then nothing to another.
//
// Holds: MPIC-07
func TestAGateCanHaveAResolverOfItsOwn(t *testing.T) {
	own := func(name string) *va.Checker {
		silent, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, silent.Close()) })
		at := silent.LocalAddr().(*net.UDPAddr).AddrPort()
		names, err := resolver.New(resolver.Config{Hints: []resolver.Hint{{Name: "silent.", Addrs: []netip.Addr{at.Addr()}}},
			Port: at.Port(), AllowReserved: true, Timeout: 50 * time.Millisecond})
		require.NoError(t, err)
		c, err := va.New(va.Config{Name: name, Software: "quorate/test", Resolver: names, Timeout: 100 * time.Millisecond})
		require.NoError(t, err)
		return c
	}
	s := serveTwo(t, func(context.Context, va.Probe) va.Report {
		t.Error("the common checker was asked")
		return va.Report{}
	}, func(c *Config) {
		c.Gates[0].Checker, c.Gates[1].Checker = own("for-one"), own("for-two")
	})
	for id, want := range map[*Identity]string{s.gate: "for-one", s.other: "for-two"} {
		a := s.remote(t, id).Attest(t.Context(), newProbe())
		require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
		require.Equal(t, want, a.Reply.Report().Perspective)
	}
	id := newIdentity(t, "fra")
	half := Config{Identity: id, Gates: []Gate{{Name: "a", TLSKey: s.gate.TLSKey(), Checker: own("a")}, {Name: "b", TLSKey: s.other.TLSKey()}},
		Logger: s.log.logger(), Now: time.Now}
	_, err := NewServer(half)
	require.ErrorContains(t, err, "no checker")
	half.Gates = half.Gates[:1]
	_, err = NewServer(half)
	require.NoError(t, err)
}

// TestACertificateWithoutItsKeyCountsForNobody: whoever shows a gate's certificate has shown nothing until the handshake is over, so
// that he uses up none of the gate's connections.
//
// Holds: MPIC-08, F9
func TestACertificateWithoutItsKeyCountsForNobody(t *testing.T) {
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	thief, err := GenerateGateIdentity("thief", born)
	require.NoError(t, err)
	s, err := newServer(Config{Identity: newIdentity(t, "fra"), Gates: []Gate{{Name: "gate-1", TLSKey: gate.TLSKey()}},
		Logger: (&journal{}).logger(), Now: time.Now}, pass)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	welcomed, failed := make(chan struct{}, 1), make(chan error, 1)
	door := openDoorway(t.Context(), listener, s.tlsConfig(), func(c *connection, state tls.ConnectionState) error {
		welcomed <- struct{}{}
		return s.welcome(c, state)
	}, func(_ net.Addr, err error) { failed <- err })
	defer func() { require.NoError(t, door.Close()) }()
	dial := func(certificate tls.Certificate) {
		c, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}})
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	dial(tls.Certificate{Certificate: gate.certificate.Certificate, PrivateKey: thief.certificate.PrivateKey})
	require.ErrorContains(t, <-failed, "invalid signature")
	require.Empty(t, welcomed)
	require.Zero(t, s.gates[gate.TLSKey()].connections)
	dial(gate.certificate)
	<-welcomed
	c, err := door.Accept()
	require.NoError(t, err)
	require.Equal(t, 1, s.gates[gate.TLSKey()].connections)
	require.NoError(t, c.Close())
	_ = c.(*tls.Conn).NetConn().Close() // a second time gives nothing back
	require.Zero(t, s.gates[gate.TLSKey()].connections)
	require.Empty(t, door.knocking)
	require.ErrorIs(t, c.(*tls.Conn).NetConn().(*connection).belongs(s.gates[gate.TLSKey()]), net.ErrClosed)
}

// TestStrangersDoNotFillTheLog: as with a gate's refusals.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	at := newClock()
	s := serveTwo(t, pass, func(c *Config) { c.Now = at.now })
	knock := func() {
		c, err := net.Dial("tcp", s.address)
		require.NoError(t, err)
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
		require.NoError(t, err)
		_, _ = io.ReadAll(c) // until it is closed
		require.NoError(t, c.Close())
	}
	for range linesBurst + 20 {
		knock()
	}
	at.advance(time.Second)
	knock()
	require.Equal(t, linesBurst+1, strings.Count(s.log.String(), `msg="handshake failed"`))
	require.Contains(t, s.log.String(), "left_out=20")
}
