package world

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

func TestChangesAreServedAtOnce(t *testing.T) {
	w := start(t, Default())
	question := ask{name: "new.example.com", qtype: dns.TypeTXT, server: healthyAddr}
	values := func() (all []string) {
		for _, rr := range question.must(t, w).Answer {
			if txt, ok := rr.(*dns.TXT); ok {
				all = append(all, strings.Join(txt.Txt, ""))
			}
		}
		return all
	}
	require.Empty(t, values())
	require.NoError(t, w.Set("New.example.com", dns.TypeTXT, "one"))
	require.NoError(t, w.Add("new.example.com", dns.TypeTXT, "two", "one"))
	require.ElementsMatch(t, []string{"one", "two"}, values())
	require.NoError(t, w.Remove("new.example.com", dns.TypeTXT, "one", "never there"))
	require.Equal(t, []string{"two"}, values())
	require.NoError(t, w.Set("new.example.com", dns.TypeTXT, strings.Repeat("x", 600)))
	require.Equal(t, []string{strings.Repeat("x", 600)}, values())
	require.NoError(t, w.Remove("new.example.com", dns.TypeTXT))
	require.Equal(t, dns.RcodeNameError, question.must(t, w).Rcode)
}

func TestImpossibleChangesAreRefused(t *testing.T) {
	w := start(t, Default())
	require.ErrorIs(t, w.Set("example.xyz", dns.TypeA, "127.0.0.1"), ErrNoZone)
	require.Error(t, w.Set("example.com", dns.TypeA, "not an address"))
	require.Error(t, w.Set("example.com", dns.TypeA, ""))
	require.ErrorIs(t, w.Edit("none.example", func(*Zone) error { return nil }), ErrNoZone)
	require.ErrorIs(t, w.Rollover("none.example"), ErrNoZone)
	edits := map[string]func(*Zone) error{
		"fails":         func(*Zone) error { return fmt.Errorf("no") },
		"renames":       func(z *Zone) error { z.Name = "other.com"; return nil },
		"no server":     func(z *Zone) error { z.Servers = nil; return nil },
		"bad records":   func(z *Zone) error { z.Records = "@ A x"; return nil },
		"other's name":  func(z *Zone) error { z.Records = "example.org. A 127.0.0.1"; return nil },
		"bad algorithm": func(z *Zone) error { z.Algorithm = 200; return nil },
		"bad DS":        func(z *Zone) error { z.DS, z.DSRecords = DSGiven, []string{"x"}; return nil },
		"bad denial":    func(z *Zone) error { z.Denial = 9; return nil },
		"bad salt":      func(z *Zone) error { z.Denial, z.Salt = NSEC3, "xx"; return nil },
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			require.Error(t, w.Edit("example.com", edit))
			require.NoError(t, w.Set("still.example.com", dns.TypeTXT, name), "the zone goes on as it was")
		})
	}
}

func TestEditOfKeysReachesTheParent(t *testing.T) {
	w := start(t, Default())
	ds := func() string {
		return ask{name: "example.com", qtype: dns.TypeDS, server: tldAddr}.must(t, w).Answer[0].String()
	}
	before := ds()
	require.Equal(t, w.DS("example.com")[0].String(), before)
	require.NoError(t, w.Rollover("example.com"))
	require.NotEqual(t, before, ds())
	require.NoError(t, w.Edit("example.com", func(z *Zone) error { z.Algorithm, z.Denial = dns.ED25519, NSEC3; return nil }))
	require.Contains(t, ds(), " 15 2 ")
	require.NoError(t, w.Edit("example.com", func(z *Zone) error {
		z.DS, z.DSRecords = DSGiven, []string{"1 16 2 " + digest}
		return nil
	}))
	require.Contains(t, ds(), "\t1 16 2 ")
	require.NoError(t, w.Edit("example.com", func(z *Zone) error { z.Algorithm, z.DS = 0, DSGenuine; return nil }))
	require.Empty(t, ask{name: "example.com", qtype: dns.TypeDS, server: tldAddr}.must(t, w).Answer)
	require.Nil(t, w.DS("example.com"))
}

// TestLookupsDuringChanges is for the race detector: each answer is whole and validly signed whatever happens meanwhile.
func TestLookupsDuringChanges(t *testing.T) {
	w := start(t, Default())
	keys := w.rings["example.com."].zsk.record
	require.NoError(t, w.Set("busy.example.com", dns.TypeTXT, "0"))
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 25 {
				if worker%2 == 0 {
					if err := w.Set("busy.example.com", dns.TypeTXT, fmt.Sprint(worker, i)); err != nil {
						t.Error(err)
					}
					continue
				}
				r, err := ask{name: "busy.example.com", qtype: dns.TypeTXT, server: healthyAddr}.send(w)
				if err != nil || len(r.Answer) != 2 || r.Answer[1].(*dns.RRSIG).Verify(keys, r.Answer[:1]) != nil {
					t.Error(err, r)
				}
			}
		})
	}
	group.Wait()
}

func TestSignaturesAreMadeAnew(t *testing.T) {
	cfg := Default()
	var mu sync.Mutex
	now := time.Date(2026, 12, 15, 0, 0, 0, 0, time.UTC)
	cfg.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	w := start(t, cfg)
	inception := func() time.Time {
		r := ask{name: "example.com", qtype: dns.TypeA, server: healthyAddr}.must(t, w)
		return time.Unix(int64(r.Answer[1].(*dns.RRSIG).Inception), 0).UTC()
	}
	require.Equal(t, now.Add(-time.Hour), inception())
	mu.Lock()
	now = now.Add(7 * 24 * time.Hour)
	mu.Unlock()
	require.Equal(t, now.Add(-time.Hour), inception(), "a world that is kept up stays valid")
	require.NoError(t, w.Resign())
}

func TestImpossibleWorldsAreRefused(t *testing.T) {
	root := Zone{Name: ".", Servers: []Server{{"a.root-servers.net", rootAddr}}}
	for name, zones := range map[string][]Zone{
		"no root":        nil,
		"twice":          {root, root},
		"public address": {{Name: ".", Servers: []Server{{"a.root-servers.net", sentinel.Next().Next().Next()}}}, {Name: "x"}},
		"no server":      {root, {Name: "com"}},
		"bad algorithm":  {{Name: ".", Servers: root.Servers, Algorithm: 99}},
		"bad records":    {{Name: ".", Servers: root.Servers, Records: base64.StdEncoding.EncodeToString([]byte("???"))}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Zones: zones})
			require.Error(t, err)
		})
	}
	_, err := New(Config{Zones: []Zone{root}, Faults: []Fault{{}}})
	require.Error(t, err)
}

func TestWorldsLiveSideBySide(t *testing.T) {
	a, b := start(t, Default()), start(t, Default())
	require.NotEqual(t, a.Port(), b.Port())
	require.NotEqual(t, a.AnchorText(), b.AnchorText())
	_, err := New(Config{Zones: []Zone{{Name: ".", Servers: []Server{{"a.root-servers.net", rootAddr}}}}, Port: a.Port()})
	require.Error(t, err, "a port that another world holds")
}

func TestClosedWorldRefuses(t *testing.T) {
	w := start(t, Default())
	require.NoError(t, w.Close())
	require.Error(t, w.Set("example.com", dns.TypeTXT, "x"))
	_, err := w.Inject(Fault{Kind: Drop})
	require.Error(t, err)
	_, err = w.Host(rootAddr)
	require.Error(t, err)
	_, err = ask{name: "example.com", qtype: dns.TypeA, server: healthyAddr, transport: "tcp"}.send(w)
	require.Error(t, err)
}
