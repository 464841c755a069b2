package boulder

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder"
	"github.com/quorate/quorate/mpic/boulder/account"
	"github.com/quorate/quorate/va"
)

// Holds: MPIC-01, MPIC-03, MPIC-04, MPIC-08, MPIC-09, MPIC-10, MPIC-11, MPIC-12, CAA-01, F1, F5, F6, F9
func TestInside(t *testing.T) {
	if !*inside {
		t.Skip("TestWithBoulderItself runs this in a network namespace")
	}
	s := newStage(t)
	mixed := []mpic.Member{s.theirs[1], s.theirs[2], s.theirs[3], s.ours[4], s.ours[5]}
	alone := []mpic.Member{s.theirs[1], s.theirs[2], s.theirs[3], s.theirs[4], s.theirs[5]}
	t.Run("mixed", func(t *testing.T) { s.quorum(t, mixed) })
	t.Run("Boulder's alone", func(t *testing.T) { s.quorum(t, alone) })
	t.Run("tokens withheld", func(t *testing.T) { s.withheld(t, mixed) })
	t.Run("Boulder's RA calls", func(t *testing.T) { s.calls(t, mixed) })
}

// quorum runs the quorum's cases over five remotes.
func (s *stage) quorum(t *testing.T, members []mpic.Member) {
	g := s.coordinator(members, nil)
	type outcome struct {
		granted  bool
		reason   string
		dcv, caa string
	}
	check := func(t *testing.T, g *mpic.Coordinator, req va.Request, want outcome) mpic.Result {
		t.Helper()
		result, err := g.Validate(t.Context(), mpic.Issuance, "test:boulder", req)
		require.NoError(t, err)
		d := result.Decision
		require.Equal(t, want.granted, d.Granted(), "%v", told(result))
		require.Equal(t, want.dcv, d.DCV().String(), "%v", told(result))
		require.Equal(t, want.caa, d.CAA().String(), "%v", told(result))
		if want.reason != "" {
			require.Equal(t, want.reason, d.Reasons()[0].Code, "%v", told(result))
		}
		stored, err := s.store.Attempt(t.Context(), fmt.Sprint(result.Number))
		require.NoError(t, err)
		verdict := audit.Auditor{Anchors: s.anchors()}.Verify(stored.Evidence, stored.Decision, nil)
		require.True(t, verdict.Holds(), "the record is worked out again: %v", verdict.Wrong)
		return result
	}

	for _, method := range va.Methods() {
		t.Run("all pass by "+method.String(), func(t *testing.T) {
			for _, zone := range []string{"signed.com", "open.com"} {
				req := s.request(s.name(zone), method)
				s.publish(t, req, s.owner)
				r := check(t, g, req, outcome{granted: true, dcv: "5/5", caa: "5/5"})
				for i, a := range r.Evidence.Remotes {
					if members[i].Protocol == mpic.Boulder {
						require.NotEmpty(t, a.Statement.DCV.Seen)
						require.Equal(t, req.Identifier, a.Statement.DCV.Name)
						require.Equal(t, members[i].Code, a.Statement.CAA.Perspective)
						require.Len(t, a.Statement.Exchanges, 2)
					}
				}
			}
		})
	}
	t.Run("a wildcard by dns-01", func(t *testing.T) {
		name := s.name("signed.com")
		req := s.request("*."+name, va.DNS01)
		s.publish(t, req, s.owner)
		check(t, g, req, outcome{granted: true, dcv: "5/5", caa: "5/5"})
	})
	t.Run("nobody has published", func(t *testing.T) {
		r := check(t, g, s.request(s.name("signed.com"), va.DNS01), outcome{reason: "txt.missing", dcv: "0/5", caa: "5/5"})
		require.Equal(t, "boulder.dns", r.Decision.Views()[1].DCVProblem.Code)
		require.Contains(t, r.Decision.Views()[1].DCVProblem.Detail, "NXDOMAIN looking up TXT")
		req := s.request(s.name("signed.com"), va.DNS01)
		require.NoError(t, s.world.Set("_acme-challenge."+req.FQDN(), dns.TypeTXT, "another"))
		r = check(t, g, req, outcome{reason: "txt.mismatch", dcv: "0/5", caa: "5/5"})
		require.Equal(t, "boulder.unauthorized", r.Decision.Views()[1].DCVProblem.Code)
		require.Equal(t, va.Fail, r.Decision.Views()[1].DCV)
	})
	t.Run("one is hijacked and sees no token", func(t *testing.T) {
		req := s.request(s.name("open.com"), va.HTTP01)
		s.publish(t, req, s.owner)
		s.hijack(t, req.Identifier, 1)
		r := check(t, g, req, outcome{granted: true, dcv: "4/5", caa: "5/5"})
		require.Contains(t, r.Decision.Views()[1].DCVProblem.Detail, evilAddr.String())
	})
	t.Run("two are hijacked and see no token", func(t *testing.T) {
		req := s.request(s.name("open.com"), va.HTTP01)
		s.publish(t, req, s.owner)
		s.hijack(t, req.Identifier, 1, 4)
		check(t, g, req, outcome{reason: "quorum.missed", dcv: "3/5", caa: "5/5"})
	})
	t.Run("one is hijacked and alone sees a token", func(t *testing.T) {
		req := s.request(s.name("open.com"), va.HTTP01)
		s.publish(t, req, s.evil)
		s.hijack(t, req.Identifier, 2)
		check(t, g, req, outcome{reason: "http.status", dcv: "1/5", caa: "5/5"})
	})
	t.Run("drill: all remotes see a token that the primary does not", func(t *testing.T) {
		req := s.request(s.name("open.com"), va.HTTP01)
		s.publish(t, req, s.evil)
		s.hijack(t, req.Identifier, 1, 2, 3, 4, 5)
		check(t, g, req, outcome{reason: "http.status", dcv: "5/5", caa: "5/5"})
	})
	t.Run("CAA forbids at one", func(t *testing.T) {
		req := s.request(s.name("open.com"), va.HTTP01)
		s.publish(t, req, s.owner)
		s.view(t, req.Identifier, dns.TypeCAA, `0 issue "other.example"`, 3)
		r := check(t, g, req, outcome{granted: true, dcv: "5/5", caa: "4/5"})
		require.Equal(t, "boulder.caa", r.Decision.Views()[3].CAAProblem.Code)
	})
	t.Run("CAA forbids at two", func(t *testing.T) {
		req := s.request(s.name("open.com"), va.HTTP01)
		s.publish(t, req, s.owner)
		s.view(t, req.Identifier, dns.TypeCAA, `0 issue "other.example"`, 3, 5)
		check(t, g, req, outcome{reason: "quorum.missed", dcv: "5/5", caa: "3/5"})
	})
	t.Run("CAA names the account", func(t *testing.T) {
		for uri, granted := range map[string]bool{acct + "7": true, acct + "8": false} {
			req := s.request(s.name("signed.com"), va.HTTP01)
			s.publish(t, req, s.owner)
			require.NoError(t, s.world.Set(req.Identifier, dns.TypeCAA, fmt.Sprintf(`0 issue "%s; accounturi=%s"`, issuer, uri)))
			want := outcome{granted: granted, dcv: "5/5", caa: "5/5"}
			if !granted {
				want.caa, want.reason = "0/5", "caa.account"
			}
			check(t, g, req, want)
		}
	})
	for name, c := range map[string]struct {
		change func(*mpic.Member)
		state  mpic.State
		code   string
	}{
		"dead":           {func(m *mpic.Member) { m.URL = "https://127.0.0.1:9399" }, mpic.Unreachable, "perspective.unreachable"},
		"another name":   {func(m *mpic.Member) { m.Code = "dc-nowhere" }, mpic.Answered, "perspective.contradiction"},
		"another region": {func(m *mpic.Member) { m.Place.Region, m.Resolver.Region = mpic.APNIC, mpic.APNIC }, mpic.Answered, "perspective.contradiction"},
		"another key":    {func(m *mpic.Member) { m.TLSKey = strings.Repeat("ab", 32) }, mpic.Rejected, "perspective.identity"},
		"another's place": {func(m *mpic.Member) { m.URL = "https://" + s.port(2) + "/"; m.TLSKey = "" }, mpic.Answered,
			"perspective.contradiction"},
	} {
		t.Run("the first is "+name, func(t *testing.T) {
			changed := append([]mpic.Member(nil), members...)
			c.change(&changed[0])
			if name == "another's place" {
				changed[1].URL = "https://" + s.port(5) // so that no two are at one place
				if changed[4].Protocol == mpic.Boulder {
					changed[4].URL = "https://" + s.port(1)
				}
			}
			g := s.coordinator(changed, nil)
			req := s.request(s.name("signed.com"), va.HTTP01)
			s.publish(t, req, s.owner)
			want := outcome{granted: true, dcv: "4/5", caa: "4/5"}
			if name == "another's place" {
				want = outcome{reason: "quorum.missed", dcv: "3/5", caa: "3/5"}
				if changed[4].Protocol == mpic.Boulder {
					want.dcv, want.caa = "2/5", "2/5"
				}
			}
			r := check(t, g, req, want)
			require.Equal(t, c.state, r.Evidence.Remotes[0].State)
			require.Equal(t, c.code, r.Decision.Views()[1].DCVProblem.Code)
			require.Equal(t, c.code, r.Decision.Views()[1].CAAProblem.Code)
		})
	}
	t.Run("an account of another CA is not asked about", func(t *testing.T) {
		req := s.request(s.name("signed.com"), va.DNS01)
		req.AccountURI = "https://elsewhere.example/acct/7"
		s.publish(t, req, s.owner)
		result, err := g.Validate(t.Context(), mpic.Issuance, "test:boulder", req)
		require.NoError(t, err)
		require.False(t, result.Decision.Granted())
		require.Equal(t, "perspective.account", result.Evidence.Remotes[0].Problem.Code)
	})
}

// withheld works records out again that keep tokens as digests.
//
// Holds: REC-06
func (s *stage) withheld(t *testing.T, members []mpic.Member) {
	store, err := db.Open(t.Context(), db.Config{Path: filepath.Join(t.TempDir(), "digests.db"), TokenDigests: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	kept := s.store
	s.store = store
	defer func() { s.store = kept }()
	g := s.coordinator(members, nil)
	for _, method := range va.Methods() {
		req := s.request(s.name("signed.com"), method)
		s.publish(t, req, s.owner)
		result, err := g.Validate(t.Context(), mpic.Issuance, "test:boulder", req)
		require.NoError(t, err)
		require.True(t, result.Decision.Granted(), "%v", told(result))
		stored, err := store.Attempt(t.Context(), fmt.Sprint(result.Number))
		require.NoError(t, err)
		text, err := json.Marshal(stored.Evidence)
		require.NoError(t, err)
		require.NotContains(t, string(text), req.Token)
		verdict := audit.Auditor{Anchors: s.anchors()}.Verify(stored.Evidence, stored.Decision, nil)
		require.True(t, verdict.Holds(), "%v", verdict.Wrong)
		require.NotEmpty(t, verdict.Withheld)
		require.Equal(t, 3, verdict.Statements)
	}
}

func told(r mpic.Result) string {
	text, err := json.MarshalIndent(r.Decision, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// reply is what test/boulder/program prints of a call.
type reply struct {
	Answer  map[string]any `json:"answer"`
	Error   string         `json:"error"`
	Code    string         `json:"code"`
	Problem *struct {
		Type   string `json:"type"`
		Detail string `json:"detail"`
		Status int    `json:"status"`
	} `json:"problem"`
	Records []map[string]any `json:"records"`
	Sane    bool             `json:"sane"`
}

// calls has Boulder's own client call our server, with the configuration of its RA.
func (s *stage) calls(t *testing.T, members []mpic.Member) {
	const at = "127.0.0.1:9092"
	var log bytes.Buffer
	server, err := boulder.NewServer(boulder.Config{Coordinator: s.coordinator(members, nil), Primary: s.member(0),
		Certificate: s.pki.issue("va.boulder").show, ClientCAs: s.pki.roots, Accounts: account.Prefixes{acct, reg},
		Clients: boulder.Clients{VA: []string{"ra.boulder"}, CAA: []string{"ra.boulder"}, Health: []string{"health-checker.boulder"}},
		Ready:   s.store.Ping, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", at)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener, 10*time.Second) }()

	call := func(t *testing.T, client string, lines ...any) []reply {
		t.Helper()
		config, err := json.Marshal(map[string]any{"tls": s.pki.boulder(client),
			"vaService": map[string]any{"serverAddress": at, "hostOverride": "va.boulder", "timeout": "40s"}})
		require.NoError(t, err)
		var in bytes.Buffer
		for _, l := range lines {
			require.NoError(t, json.NewEncoder(&in).Encode(l))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, *program, "call", "-config", s.write("client-"+client+".json", string(config)))
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = &in, &errs
		out, err := cmd.Output()
		require.NoError(t, err, "%s", errs.String())
		var replies []reply
		for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
			var r reply
			require.NoError(t, json.Unmarshal(scan.Bytes(), &r), "%s", scan.Text())
			replies = append(replies, r)
		}
		require.Len(t, replies, len(lines), "%s", errs.String())
		return replies
	}
	dcv := func(req va.Request) map[string]any {
		return map[string]any{"method": "DoDCV", "request": map[string]any{"identifier": map[string]string{"type": "dns", "value": req.Identifier},
			"challenge": map[string]string{"type": req.Method.String(), "status": "pending", "token": req.Token},
			"authz":     map[string]any{"id": "4711", "regID": "7"}, "expectedKeyAuthorization": req.KeyAuthorization}}
	}
	caa := func(name string, method va.Method, account string) map[string]any {
		return map[string]any{"method": "DoCAA", "request": map[string]any{"identifier": map[string]string{"type": "dns", "value": name},
			"validationMethod": method.String(), "accountURIID": account, "authzID": "4711"}}
	}
	health := func(service string) map[string]any { return map[string]any{"method": "Health", "request": service} }

	t.Run("each method, both checks", func(t *testing.T) {
		for _, method := range va.Methods() {
			req := s.request(s.name("signed.com"), method)
			s.publish(t, req, s.owner)
			got := call(t, "ra.boulder", dcv(req), caa(req.Identifier, method, "7"))
			require.Empty(t, got[0].Error)
			require.Nil(t, got[0].Problem)
			require.True(t, got[0].Sane, "%s: Boulder's core takes the records: %v", method, got[0].Records)
			require.Equal(t, "zurich", got[0].Answer["perspective"])
			require.Equal(t, "RIPE", got[0].Answer["rir"])
			require.Equal(t, req.Identifier, got[0].Records[0]["hostname"])
			require.NotEmpty(t, got[0].Records[0]["resolverAddrs"])
			require.Empty(t, got[1].Error)
			require.Nil(t, got[1].Problem)
			require.Equal(t, "zurich", got[1].Answer["perspective"])
		}
	})
	t.Run("a subscriber is told why", func(t *testing.T) {
		req := s.request(s.name("signed.com"), va.HTTP01)
		other := s.request(s.name("signed.com"), va.DNS01)
		forbidden := s.name("signed.com")
		require.NoError(t, s.world.Set(forbidden, dns.TypeCAA, `0 issue "other.example"`))
		old := s.name("signed.com")
		require.NoError(t, s.world.Set(old, dns.TypeCAA, fmt.Sprintf(`0 issue "%s; accounturi=%s7"`, issuer, reg)))
		hijacked := s.request(s.name("open.com"), va.HTTP01)
		s.publish(t, hijacked, s.owner)
		s.hijack(t, hijacked.Identifier, 1, 4)
		got := call(t, "ra.boulder", dcv(req), dcv(other), caa(forbidden, va.DNS01, "7"), caa(old, va.DNS01, "7"), caa(old, va.DNS01, "8"),
			dcv(hijacked))
		require.Equal(t, "unauthorized", got[0].Problem.Type)
		require.Equal(t, 403, got[0].Problem.Status)
		require.Contains(t, got[0].Problem.Detail, "http.status: ")
		require.NotEmpty(t, got[0].Records, "a failure has its records too")
		require.Equal(t, "unauthorized", got[1].Problem.Type)
		require.Contains(t, got[1].Problem.Detail, "txt.missing: ")
		require.Equal(t, "caa", got[2].Problem.Type)
		require.Contains(t, got[2].Problem.Detail, "While processing CAA for "+forbidden+": caa.forbidden: ")
		require.Nil(t, got[3].Problem, "each perspective knows the account by its older URI too")
		require.Equal(t, "caa", got[4].Problem.Type)
		require.Contains(t, got[4].Problem.Detail, "caa.account: ")
		require.Equal(t, "unauthorized", got[5].Problem.Type)
		require.Contains(t, got[5].Problem.Detail, "During secondary validation: quorum.missed: ")
	})
	t.Run("who may call what", func(t *testing.T) {
		require.Eventually(t, func() bool { return call(t, "ra.boulder", health(""))[0].Answer["status"] == "SERVING" }, 20*time.Second, time.Second)
		got := call(t, "ra.boulder", health("va.VA"), health("va.CAA"), health("va.Nothing"))
		require.Equal(t, "SERVING", got[0].Answer["status"])
		require.Equal(t, "SERVING", got[1].Answer["status"])
		require.Equal(t, "NotFound", got[2].Code)
		got = call(t, "health-checker.boulder", health(""), caa("signed.com", va.DNS01, "7"))
		require.Equal(t, "SERVING", got[0].Answer["status"])
		require.Equal(t, "PermissionDenied", got[1].Code)
	})
	stop()
	require.NoError(t, <-served)
	require.Regexp(t, `msg=answered method=/va.VA/DoDCV client=ra.boulder authz=4711 identifier=\S+ record=\d+ attempt=\w+ granted=true`, log.String())
}
