package reviewer

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// program builds cmd/quorate from the tree that is tested.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "quorate")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../cmd/quorate").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// Five remotes behind mutual TLS, each with its own keys, and the record as an auditor's command shows it: a refusal,
// and a grant beside it.
//
// Holds: DCV-04, CAA-07, MPIC-08, MPIC-12, REC-01, REC-02, REC-03, C9
func TestOverTheNetwork(t *testing.T) {
	quorate, attacks, ran := program(t), attacks(), 0
	for _, c := range readCases(t) {
		if !slices.Contains([]string{"1d", "2d", "8f", "10g", "1n"}, c.id) {
			continue
		}
		ran++
		t.Run(c.id+" "+c.title, func(t *testing.T) {
			a := attacks[c.id]
			s := newStage(t, c, a, nil)
			if a.prepare != nil {
				a.prepare(s)
			}
			if a.strike != nil {
				a.strike(s)
			}
			g, done := s.gate(s.remotes()...)
			defer done()
			result, err := g.Validate(t.Context(), mpic.Issuance, "test:reviewer", s.request)
			require.NoError(t, err)
			r := s.read(result.Evidence.Attempt.ID())
			s.judge(c, result, r)
			for i, remote := range r.Evidence.Remotes {
				require.NotEmpty(t, remote.Signed, "the reply as it was signed")
				report, problem := perspective.Verify(remote.Signed, r.Evidence.Roster.Remotes[i], nil, r.Evidence.Attempt.Probe)
				require.Nil(t, problem)
				require.Equal(t, remote.Report.CAA, report.Report().CAA)
			}

			show := func(form ...string) string {
				args := append([]string{"audit", "show", fmt.Sprint(r.Number), "--database", s.journal.path}, form...)
				out, err := exec.CommandContext(t.Context(), quorate, args...).CombinedOutput()
				require.NoError(t, err, "%s", out)
				return string(out)
			}
			told, all := show(), show("--json")
			for _, server := range c.asked {
				require.Contains(t, all, `"server": "`+server+":")
			}
			require.Contains(t, told, s.request.Identifier)
			require.Contains(t, told, c.name+" "+c.rrtype)
			for _, site := range sites {
				require.Contains(t, told, site.name)
			}
			if c.granted {
				require.Contains(t, told, "GRANTED")
				return
			}
			require.Contains(t, told, "REFUSED")
			require.Contains(t, told, c.code)
			if !c.status.Usable() {
				require.Contains(t, told, lookups(r.primary, c.name, c.rrtype)[0].Code)
			}
		})
	}
	require.Equal(t, 5, ran)
}

// remotes starts the remotes as servers and gives the gate's connections to them.
func (s *stage) remotes() []mpic.Remote {
	s.t.Helper()
	log := slog.New(slog.DiscardHandler)
	id, err := perspective.GenerateGateIdentity("gate", s.clock())
	require.NoError(s.t, err)
	var members []mpic.Member
	for i, site := range sites {
		if i == 0 {
			continue
		}
		own, err := perspective.GenerateIdentity(site.name, s.clock())
		require.NoError(s.t, err)
		server, err := perspective.NewServer(perspective.Config{Checker: s.checker(i), Identity: own, Logger: log, Now: s.clock,
			Gates: []perspective.Gate{{Name: "gate", TLSKey: id.TLSKey()}}})
		require.NoError(s.t, err)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(s.t, err)
		ctx, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- server.Serve(ctx, listener) }()
		s.t.Cleanup(func() {
			stop()
			require.NoError(s.t, <-served)
		})
		place := mpic.Place{Region: site.region, Latitude: site.lat, Longitude: site.long}
		members = append(members, mpic.Member{Name: site.name, Title: site.name, Place: place, Resolver: place,
			URL: "https://" + listener.Addr().String(), TLSKey: own.TLSKey(), SigningKey: own.SigningKey()})
	}
	var remotes []mpic.Remote
	for _, m := range members {
		r, err := perspective.NewRemote(perspective.ClientConfig{Member: m, Others: members, Identity: id, Logger: log, Now: s.clock})
		require.NoError(s.t, err)
		s.t.Cleanup(r.Close)
		remotes = append(remotes, r)
	}
	return remotes
}

// Case 9: without an anchor nothing is resolved, and no packet is sent; a gate's configuration names no anchors at all.
//
// Holds: DCV-04, DCV-09
func TestAnEmptyAnchorFileIsRefused(t *testing.T) {
	quorate := program(t)
	s := newStage(t, testCase{identifier: "shop.com"}, attack{}, nil)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	hints := ""
	for _, h := range s.world.Hints() {
		hints += h.Host + " 3600 IN A " + h.Addr.String() + "\n"
	}
	resolve := func(anchors string) (string, int) {
		cmd := exec.CommandContext(t.Context(), quorate, "resolve", "shop.com", "CAA", "--root-hints", write("hints", hints),
			"--trust-anchor", anchors, "--port", fmt.Sprint(s.world.Port()), "--allow-reserved")
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil {
			require.ErrorAs(t, err, &exit)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	for name, text := range map[string]string{
		"empty": "", "blank": "\n \n", "a comment": "; . IN DS 20326 8 2 E06D\n", "another record": ". 0 IN A 192.0.2.1\n",
		"a broken record": ". IN DS 20326 8\n",
	} {
		t.Run(name, func(t *testing.T) {
			out, status := resolve(write("anchors", text))
			require.Equal(t, 1, status, out)
			require.Contains(t, out, "--trust-anchor")
			require.Zero(t, s.asked(rootAddr), "nothing was sent")
		})
	}
	out, status := resolve(write("anchors", s.world.AnchorText()))
	require.Equal(t, 0, status, out)
	require.Contains(t, out, "secure")
	require.NotZero(t, s.asked(rootAddr))

	_, err := resolver.New(resolver.Config{Anchors: []dnssec.Anchor{}})
	require.ErrorContains(t, err, "no trust anchor")
	config := write("quorate.yaml", "listen: \"127.0.0.1:0\"\ntrust_anchors: anchors\n")
	serve := exec.CommandContext(t.Context(), quorate, "serve", "--config", config)
	serve.WaitDelay = 10 * time.Second
	said, err := serve.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(said), "trust_anchors", "the configuration has no such field")
}
