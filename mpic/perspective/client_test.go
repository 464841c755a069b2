package perspective

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

// Holds: MPIC-08, MPIC-09
func TestRemoteGivesTheSignedReport(t *testing.T) {
	w := serve(t, pass, nil)
	r := w.remote(t, w.gate)
	require.Equal(t, "fra", r.Member().Name)
	probe := newProbe()
	a := r.Attest(t.Context(), probe)
	require.Nil(t, a.Problem)
	require.Equal(t, mpic.Answered, a.State)
	require.Equal(t, "fra", a.Perspective)
	require.False(t, a.Asked.IsZero())
	require.False(t, a.Closed.Before(a.Asked))
	require.Equal(t, time.UTC, a.Closed.Location())
	require.Equal(t, va.Pass, a.Reply.Report().DCV.Outcome)

	require.Nil(t, a.Report, "there is no report but the one that was signed")
	require.Empty(t, a.Signed)
	again, problem := Verify(a.Reply.Signed(), r.Member(), nil, probe)
	require.Nil(t, problem, "what is kept can be verified later")
	report := again.Report()
	report.Sets = a.Reply.Report().Sets // which are not part of what is signed
	require.Equal(t, a.Reply.Report(), report)
}

// A report may be larger than what is kept of a rejected reply; it is kept whole, or nobody could verify it later.
func TestRemoteKeepsALargeReportWhole(t *testing.T) {
	w := serve(t, func(_ context.Context, p va.Probe) va.Report {
		r := passing(p)
		r.DCV.Fetches = []va.Fetch{{URL: "http://www.example.com/", Body: strings.Repeat("x", 2*maxRejected)}}
		return r
	}, nil)
	r := w.remote(t, w.gate)
	probe := newProbe()
	a := r.Attest(t.Context(), probe)
	require.Equal(t, mpic.Answered, a.State)
	require.Greater(t, len(a.Reply.Signed()), maxRejected)
	_, problem := Verify(a.Reply.Signed(), r.Member(), nil, probe)
	require.Nil(t, problem)
}

// One after the other takes one connection, and many at once take no more than as many, the next time either: a probe costs one round
// trip, not a handshake.
func TestRemoteKeepsItsConnections(t *testing.T) {
	w := serve(t, pass, nil)
	var mu sync.Mutex
	connections := make(map[string]bool)
	const many = 32
	var together sync.WaitGroup // none is answered before all have come
	id := newIdentity(t, "nrt")
	s := hostile(t, id, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		connections[r.RemoteAddr] = true
		mu.Unlock()
		require.Equal(t, "HTTP/1.1", r.Proto)
		require.NotContains(t, r.Header, "Idempotency-Key")
		together.Done()
		together.Wait()
		answer(t, rw, r, id)
	})
	r := newClient(t, memberOf("nrt", s.URL+"/below/", id), w.gate, (&journal{}).logger())
	for range 3 {
		together.Add(1)
		require.Equal(t, mpic.Answered, r.Attest(t.Context(), newProbe()).State)
	}
	require.Len(t, connections, 1)
	for range 3 {
		together.Add(many)
		var all sync.WaitGroup
		for range many {
			all.Go(func() {
				a := r.Attest(t.Context(), newProbe())
				require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
			})
		}
		all.Wait()
	}
	require.Len(t, connections, many)
}

// A perspective that is started anew, or keeps connections for a short time only, is not unreachable for that.
func TestRemoteGivesUpAConnectionThatWasClosed(t *testing.T) {
	w := serve(t, pass, nil)
	id := newIdentity(t, "nrt")
	var mu sync.Mutex
	probes := map[string]int{}
	s := hostile(t, id, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		probes[r.RemoteAddr]++
		again := probes[r.RemoteAddr] > 1
		mu.Unlock()
		if again {
			c, _, err := rw.(http.Hijacker).Hijack()
			require.NoError(t, err)
			require.NoError(t, c.Close())
			return
		}
		answer(t, rw, r, id)
	})
	r := newClient(t, memberOf("nrt", s.URL, id), w.gate, (&journal{}).logger())
	for range 3 {
		a := r.Attest(t.Context(), newProbe())
		require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, probes, 3)
}

// answer replies to whatever was asked with a passing report, signed by an identity.
func answer(t *testing.T, w http.ResponseWriter, r *http.Request, id *Identity) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	probe, p := decodeProbe(body, time.Now())
	require.Nil(t, p)
	signed, err := id.sign(passing(probe))
	require.NoError(t, err)
	w.Header().Set("Content-Type", contentType)
	_, _ = io.WriteString(w, inReply(t, signed))
}

// inReply gives the body that carries a report and the records beside it.
func inReply(t *testing.T, signed string, sets ...[]byte) string {
	t.Helper()
	b, err := json.Marshal(reply{Report: signed, Sets: append([][]byte{}, sets...)})
	require.NoError(t, err)
	return string(b)
}

// Holds: MPIC-08, F9
func TestRemoteNamesWhoAnswersInItsPlace(t *testing.T) {
	fra, nrt := newIdentity(t, "fra"), newIdentity(t, "nrt")
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	// mixed holds the TLS key of the first and signs with the key of the second.
	mixed := &Identity{certificate: fra.certificate, signer: nrt.signer, thumbprint: nrt.thumbprint}
	cases := []struct {
		name   string
		serves *Identity
		others []mpic.Member
		code   string
		detail string
	}{
		{"a load balancer leads to another perspective", nrt, []mpic.Member{memberOf("nrt", "", nrt)}, "perspective.identity", "which is the key of nrt"},
		{"a load balancer leads to a stranger", nrt, nil, "perspective.identity", "which no member of the roster has"},
		{"another perspective's key signs", mixed, []mpic.Member{memberOf("nrt", "", nrt)}, "perspective.key", "is signed with the key of nrt"},
		{"a stranger's key signs", mixed, nil, "perspective.key", "the roster has " + fra.SigningKey()},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			asked := make(chan struct{}, 1)
			s := hostile(t, c.serves, func(w http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				answer(t, w, r, c.serves)
			})
			log := &journal{}
			a := newClient(t, memberOf("fra", s.URL, fra), gate, log.logger(), c.others...).Attest(t.Context(), newProbe())
			require.Equal(t, mpic.Rejected, a.State)
			require.Equal(t, c.code, a.Problem.Code, a.Problem.Detail)
			require.Contains(t, a.Problem.Detail, c.detail)
			require.Contains(t, a.Problem.Rules, "MPIC-08")
			require.Nil(t, a.Reply)
			require.Equal(t, "fra", a.Perspective)
			require.Contains(t, log.String(), "level=ERROR", "a mismatch is an alarm")
			require.Contains(t, log.String(), "attempt=01JZ-attempt")
			if c.code == "perspective.identity" {
				require.Empty(t, asked, "another than the pinned perspective is not even asked")
			}
		})
	}
}

// Holds: MPIC-08, MPIC-09, F6
func TestRemoteRejectsWhatIsNoReport(t *testing.T) {
	id := newIdentity(t, "fra")
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	earlier := newProbe()
	earlier.Attempt, earlier.Nonce = "01JZ-earlier", strings.Repeat("0e", 16)
	replayed, err := id.sign(passing(earlier))
	require.NoError(t, err)
	respond := func(status int, media, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	giant := strings.Repeat("A", maxReply+1)
	cases := []struct {
		name    string
		handler http.HandlerFunc
		code    string
		detail  string
		kept    string
	}{
		{"a reply to an earlier attempt", respond(200, contentType, inReply(t, replayed)), "perspective.replay", "is for the attempt \"01JZ-earlier\"", replayed},
		{"HTML", respond(200, "text/html", "<html>"), "perspective.garbage", `replied with "text/html"`, "<html>"},
		{"HTML called JSON", respond(200, contentType, "<html>"), "perspective.garbage", "no reply", "<html>"},
		{"a report in JSON, unsigned", respond(200, contentType, `{"attempt":"01JZ"}`), "perspective.garbage", "no reply", `{"attempt":"01JZ"}`},
		{"a reply without a report", respond(200, contentType, "{}"), "perspective.garbage", "no compact JWS", ""},
		{"a report that is no JWS", respond(200, contentType, inReply(t, "<html>")), "perspective.garbage", "no compact JWS", "<html>"},
		{"a JWS alone", respond(200, "application/jose", replayed), "perspective.garbage", `replied with "application/jose"`, replayed},
		{"garbage", respond(200, contentType, "\xff\xfe\x00"), "perspective.garbage", "no reply", "\uFFFD\x00"},
		{"nothing", respond(200, contentType, ""), "perspective.garbage", "no reply", ""},
		{"a giant", respond(200, contentType, giant), "perspective.too-large", "more than 4194304 bytes", giant[:maxRejected]},
		{"no content", respond(204, "", ""), "perspective.status", "status 204", ""},
		{"a switch of protocols", switched, "perspective.status", "status 101", ""},
		{"an error page", respond(502, "text/html", "<html>"), "perspective.status", "status 502", "<html>"},
		{"a problem", respond(400, problemType, `{"code":"request.nonce","detail":"nonce: bad"}`), "perspective.refused",
			"status 400, request.nonce: nonce: bad", `{"code":"request.nonce","detail":"nonce: bad"}`},
		{"a problem without code", respond(400, problemType, `{}`), "perspective.status", "status 400", `{}`},
		{"an unending problem", respond(400, problemType, giant), "perspective.status", "status 400", giant[:maxProblem]},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := hostile(t, id, c.handler)
			a := newClient(t, memberOf("fra", s.URL, id), gate, (&journal{}).logger()).Attest(t.Context(), newProbe())
			require.Equal(t, mpic.Rejected, a.State)
			require.Equal(t, c.code, a.Problem.Code, a.Problem.Detail)
			require.Contains(t, a.Problem.Detail, c.detail)
			require.Contains(t, a.Problem.Detail, "fra")
			require.Equal(t, c.kept, a.Signed)
			require.Nil(t, a.Reply)
			require.False(t, a.Closed.IsZero())
		})
	}
}

// switched answers as if the protocol had been switched, and then says nothing more, nor ends.
func switched(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
	_, _ = io.Copy(io.Discard, c) // until the client goes
}

// Holds: MPIC-09, REC-04
func TestRemoteTakesAReportOnlyWithTheRecordsThatItRestsOn(t *testing.T) {
	octets, stray := []byte("the keys of a zone"), []byte("of another")
	sum := sha256.Sum256(octets)
	proven := func(p va.Probe) va.Report {
		r := passing(p)
		r.CAA.Lookups[0].Proof = []dnssec.Stage{{Kind: dnssec.StageKeys, Zone: ".", Records: hex.EncodeToString(sum[:])}}
		r.Sets = dnssec.Sets{hex.EncodeToString(sum[:]): octets}
		return r
	}
	w := serve(t, func(_ context.Context, p va.Probe) va.Report { return proven(p) }, nil)
	a := w.remote(t, w.gate).Attest(t.Context(), newProbe())
	require.Equal(t, mpic.Answered, a.State)
	require.Equal(t, proven(newProbe()).Sets, a.Reply.Report().Sets)

	lost := serve(t, func(_ context.Context, p va.Probe) va.Report {
		r := proven(p)
		r.Sets = nil
		return r
	}, nil)
	a = lost.remote(t, lost.gate).Attest(t.Context(), newProbe())
	require.Equal(t, mpic.Rejected, a.State)
	require.Contains(t, a.Problem.Detail, "perspective.internal")

	id := newIdentity(t, "fra")
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		sets   [][]byte
		detail string
	}{
		{"none", nil, "without the records"},
		{"others", [][]byte{stray}, "without the records"},
		{"altered", [][]byte{append([]byte{1}, octets...)}, "without the records"},
		{"more", [][]byte{octets, stray}, "on which it does not rest"},
		{"twice", [][]byte{octets, octets}, "on which it does not rest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			probe := newProbe()
			signed, err := id.sign(proven(probe))
			require.NoError(t, err)
			s := hostile(t, id, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", contentType)
				_, _ = io.WriteString(w, inReply(t, signed, c.sets...))
			})
			a := newClient(t, memberOf("fra", s.URL, id), gate, (&journal{}).logger()).Attest(t.Context(), probe)
			require.Equal(t, mpic.Rejected, a.State)
			require.Equal(t, "perspective.evidence", a.Problem.Code)
			require.Contains(t, a.Problem.Detail, c.detail)
			require.Equal(t, signed, a.Signed)
			require.Nil(t, a.Reply)
		})
	}
}

// Holds: MPIC-08
func TestRemoteFollowsNoRedirect(t *testing.T) {
	id := newIdentity(t, "fra")
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	elsewhere := hostile(t, id, func(w http.ResponseWriter, r *http.Request) {
		t.Error("the redirect was followed")
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := hostile(t, id, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		a := newClient(t, memberOf("fra", s.URL, id), gate, (&journal{}).logger()).Attest(t.Context(), newProbe())
		require.Equal(t, mpic.Rejected, a.State)
		require.Equal(t, "perspective.status", a.Problem.Code)
	}
}

func TestRemoteTellsSilenceFromABrokenConnection(t *testing.T) {
	id := newIdentity(t, "fra")
	gate, err := GenerateGateIdentity("gate-1", born)
	require.NoError(t, err)
	silent := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	}
	half := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, "eyJ")
		_ = http.NewResponseController(w).Flush()
		silent(w, r)
	}
	breaks := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "eyJ")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	soon := func(p *va.Probe) { p.Deadline = time.Now().Add(200 * time.Millisecond) }
	cases := []struct {
		name    string
		handler http.HandlerFunc
		change  func(*va.Probe)
		state   mpic.State
		code    string
	}{
		{"no reply by the deadline", silent, soon, mpic.TimedOut, "perspective.timeout"},
		{"half a reply by the deadline", half, soon, mpic.TimedOut, "perspective.timeout"},
		{"the deadline had passed", silent, func(p *va.Probe) { p.Deadline = time.Now().Add(-time.Second) }, mpic.TimedOut, "perspective.timeout"},
		{"no deadline", silent, func(p *va.Probe) { p.Deadline = time.Time{} }, mpic.TimedOut, "perspective.timeout"},
		{"the connection breaks", breaks, func(*va.Probe) {}, mpic.Unreachable, "perspective.unreachable"},
		{"the connection breaks in an error page", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			breaks(w, r)
		}, func(*va.Probe) {}, mpic.Unreachable, "perspective.unreachable"},
		{"a probe of no method", silent, func(p *va.Probe) { p.Request.Method = 99 }, mpic.Unreachable, "perspective.unreachable"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := hostile(t, id, c.handler)
			probe := newProbe()
			c.change(&probe)
			a := newClient(t, memberOf("fra", s.URL, id), gate, (&journal{}).logger()).Attest(t.Context(), probe)
			require.Equal(t, c.state, a.State, "%v", a.Problem)
			require.Equal(t, c.code, a.Problem.Code)
			require.Contains(t, a.Problem.Detail, "fra ")
			require.Nil(t, a.Reply)
		})
	}
	t.Run("the gate stops waiting", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := hostile(t, id, func(w http.ResponseWriter, r *http.Request) {
			cancel()
			silent(w, r)
		})
		a := newClient(t, memberOf("fra", s.URL, id), gate, (&journal{}).logger()).Attest(ctx, newProbe())
		require.Equal(t, mpic.TimedOut, a.State)
		require.Contains(t, a.Problem.Detail, "before the gate stopped waiting")
	})
	t.Run("nobody listens", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		a := newClient(t, memberOf("fra", "https://"+listener.Addr().String(), id), gate, (&journal{}).logger()).Attest(t.Context(), newProbe())
		require.Equal(t, mpic.Unreachable, a.State)
		require.Equal(t, "perspective.unreachable", a.Problem.Code)
	})
	t.Run("the perspective does not know the gate", func(t *testing.T) {
		w := serve(t, pass, nil)
		a := w.remote(t, gate).Attest(t.Context(), newProbe())
		require.Equal(t, mpic.Unreachable, a.State)
		require.Equal(t, "perspective.unreachable", a.Problem.Code)
	})
}

// Holds: MPIC-08
func TestNewRemoteRefuses(t *testing.T) {
	id := newIdentity(t, "fra")
	cases := []struct {
		name string
		edit func(*ClientConfig)
		want string
	}{
		{"plain text", func(c *ClientConfig) { c.Member.URL = "http://fra.example" }, "is not https://HOST"},
		{"no URL", func(c *ClientConfig) { c.Member.URL = "" }, "is not https://HOST"},
		{"no host", func(c *ClientConfig) { c.Member.URL = "https:///v1" }, "is not https://HOST"},
		{"no URL at all", func(c *ClientConfig) { c.Member.URL = "https://%zz" }, "cannot be read"},
		{"credentials", func(c *ClientConfig) { c.Member.URL = "https://u:p@fra.example" }, "more than host, port and path"},
		{"query", func(c *ClientConfig) { c.Member.URL = "https://fra.example?x=1" }, "more than host, port and path"},
		{"no TLS key", func(c *ClientConfig) { c.Member.TLSKey = "" }, "the TLS key"},
		{"TLS key in capitals", func(c *ClientConfig) { c.Member.TLSKey = strings.Repeat("AB", 32) }, "the TLS key"},
		{"no signing key", func(c *ClientConfig) { c.Member.SigningKey = "" }, "the signing key"},
		{"half a signing key", func(c *ClientConfig) { c.Member.SigningKey = c.Member.SigningKey[:20] }, "the signing key"},
		{"a signing key in a spelling that no thumbprint has", func(c *ClientConfig) {
			c.Member.SigningKey = strings.Repeat("A", 42) + "B"
		}, "the signing key"},
		{"no identity", func(c *ClientConfig) { c.Identity = nil }, "no TLS identity"},
		{"no logger", func(c *ClientConfig) { c.Logger = nil }, "no logger"},
		{"no clock", func(c *ClientConfig) { c.Now = nil }, "no clock"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := ClientConfig{Member: memberOf("fra", "https://fra.example:8443", id), Identity: id, Logger: (&journal{}).logger(), Now: time.Now}
			c.edit(&config)
			_, err := NewRemote(config)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, `remote "fra"`)
		})
	}
}
