package mpic

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// Holds: D4, DCV-19
func TestScopesCoverWhatTheySay(t *testing.T) {
	const adn = "example.com"
	for _, c := range []struct {
		name   string
		scopes []Scope
	}{
		{"example.com", []Scope{Exact, WildcardScope, Subtree}},
		{"*.example.com", []Scope{WildcardScope, Subtree}},
		{"a.example.com", []Scope{Subtree}},
		{"*.a.example.com", []Scope{Subtree}},
		{"a.b.c.example.com", []Scope{Subtree}},
		{"badexample.com", nil},
		{"*.badexample.com", nil},
		{"bad-example.com", nil},
		{"com", nil},
		{"*.com", nil},
		{"example.org", nil},
		{"example.com.evil.org", nil},
		{"xample.com", nil},
		{"", nil},
		{"*.", nil},
		{"*", nil},
		{".example.com", nil},
		{"*..example.com", nil},
		{"a..example.com", nil},
		{"*.*.example.com", nil},
		{"a.*.example.com", nil},
		{"*a.example.com", nil},
		{"example.com.", nil},
		{"a.example.com.", nil},
		{"EXAMPLE.com", nil},
		{"a.Example.com", nil},
	} {
		for _, s := range []Scope{0, Exact, WildcardScope, Subtree, 4, 255} {
			require.Equal(t, slices.Contains(c.scopes, s), Covers(s, adn, c.name), "%s %q", s, c.name)
			require.False(t, Covers(s, "", c.name))
			require.False(t, Covers(s, "*."+adn, c.name), "an asterisk is no part of an Authorization Domain Name")
			require.False(t, Covers(s, "."+adn, c.name))
		}
	}
}

// TestCoversAgreesWithAPlainRule over all names of up to four labels, out of labels that look alike.
//
// Holds: D4, D5
func TestCoversAgreesWithAPlainRule(t *testing.T) {
	var names []string
	for _, a := range []string{"", "a.", "aa.", "b.", "b.a.", "a.b.", "aa.a."} {
		for _, b := range []string{"example.net", "aexample.net", "a.net"} {
			names = append(names, a+b)
		}
	}
	for _, adn := range names {
		for _, base := range names {
			for _, name := range []string{base, "*." + base} {
				below := "." + base // with a dot in front of each label, a suffix is one of whole labels
				require.Equal(t, name == adn, Covers(Exact, adn, name))
				require.Equal(t, name == adn || name == "*."+adn, Covers(WildcardScope, adn, name))
				require.Equal(t, strings.HasSuffix(below, "."+adn), Covers(Subtree, adn, name), "%s %s", adn, name)
			}
		}
	}
}

// Holds: DCV-27
func TestASubtreeEndsWhereARegistryHandsOutNames(t *testing.T) {
	for _, c := range []struct {
		adn, name string
		covers    bool
	}{
		{"com", "example.com", false}, {"com", "com", false}, {"co.uk", "example.co.uk", false}, {"uk", "example.co.uk", false},
		{"kawasaki.jp", "a.b.kawasaki.jp", false}, {"b.kawasaki.jp", "a.b.kawasaki.jp", false}, {"a.b.kawasaki.jp", "c.a.b.kawasaki.jp", true},
		{"example.co.uk", "www.example.co.uk", true}, {"github.io", "me.github.io", true},
	} {
		require.Equal(t, c.covers, Covers(Subtree, c.adn, c.name), "%s %s", c.adn, c.name)
		require.Equal(t, c.covers || c.adn == c.name, slices.Contains(CoveringNames(c.name), c.adn), "%s %s", c.adn, c.name)
	}
}

// Holds: D4, DCV-19, DCV-27
func TestWhatAnAttemptGrants(t *testing.T) {
	for _, c := range []struct {
		identifier string
		subtree    bool
		want       [4]Scope // by the methods' numbers
	}{
		{"example.com", false, [4]Scope{0, Exact, Exact, Exact}},
		{"example.com", true, [4]Scope{0, Exact, Subtree, Exact}},
		{"*.example.com", false, [4]Scope{0, Exact, WildcardScope, Exact}}, // by the others it is not admitted
		{"*.example.com", true, [4]Scope{0, Exact, Subtree, Exact}},
		{"co.uk", true, [4]Scope{0, Exact, Exact, Exact}},
		{"com", true, [4]Scope{0, Exact, Exact, Exact}},
		{"kawasaki.jp", true, [4]Scope{0, Exact, Exact, Exact}},
	} {
		for m, want := range c.want {
			a := attemptAt(december)
			a.Subtree, a.Probe.Request.Identifier, a.Probe.Request.Method = c.subtree, c.identifier, va.Method(m)
			require.Equal(t, want, Granting(a), "%s %d", c.identifier, m)
			require.Zero(t, Granting(recheckOf(a)))
		}
	}
}

// TestCoveringNamesMissNone: whatever may cover a name, in whatever scope, is among those that are looked for.
//
// Holds: D5
func TestCoveringNamesMissNone(t *testing.T) {
	names := []string{"example.com", "*.example.com", "a.example.com", "*.a.example.com", "b.a.example.com", "aexample.com", "*.aexample.com",
		"co.uk", "x.co.uk", "*.x.co.uk", "y.x.co.uk"}
	for _, name := range names {
		covering := CoveringNames(name)
		require.Equal(t, name, covering[0])
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(covering))), len(covering), "none twice")
		for _, identifier := range names {
			adn := strings.TrimPrefix(identifier, "*.")
			for _, s := range []Scope{Exact, WildcardScope, Subtree} {
				if Covers(s, adn, name) {
					require.Contains(t, covering, identifier, "%s covers %s", s, name)
				}
			}
		}
	}
	require.Equal(t, []string{"*.b.example.com", "b.example.com", "example.com", "*.example.com"}, CoveringNames("*.b.example.com"))
	for _, bad := range []string{"", "*.", "a..b", "*.*.a.com"} {
		require.Empty(t, CoveringNames(bad))
	}
}

// Holds: F6
func TestScopesOutsideTheirNamesHaveNoForm(t *testing.T) {
	for _, s := range []Scope{0, 4, 255} {
		_, err := json.Marshal(s)
		require.Error(t, err)
		require.Equal(t, "no scope", s.String())
	}
	for _, text := range []string{`""`, `"Exact"`, `"no scope"`, `1`, `true`} {
		var s Scope
		require.Error(t, json.Unmarshal([]byte(text), &s))
		require.Zero(t, s)
	}
	for _, s := range []Scope{Exact, WildcardScope, Subtree} {
		var again Scope
		require.NoError(t, json.Unmarshal(fmt.Appendf(nil, "%q", s), &again))
		require.Equal(t, s, again)
	}
}
