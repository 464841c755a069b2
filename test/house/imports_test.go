// Package house holds the tests of the project's own shape: what docs/design.md says of imports and doors.
package house

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/quorate/quorate/"

// layers are the rooms of docs/design.md from the bottom to the top: a room imports rooms below it and its own, never
// one above. acme and audit stand beside each other and do not import one another.
var layers = []struct {
	rank  int
	rooms []string
}{
	{1, []string{"va"}},
	{2, []string{"mpic"}},
	{3, []string{"acme", "audit"}},
	{4, []string{"db"}},
	{5, []string{"cmd"}},
}

func room(path string) (name string, rank int) {
	rest, ours := strings.CutPrefix(path, module)
	if !ours {
		return "", 0
	}
	name, _, _ = strings.Cut(rest, "/")
	for _, l := range layers {
		for _, r := range l.rooms {
			if r == name {
				return name, l.rank
			}
		}
	}
	return name, 0
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		require.NoError(t, dec.Decode(&p))
		all = append(all, p)
	}
	require.Greater(t, len(all), 8, "go list found the project's packages")
	return all
}

// allowed tells whether a package outside of tests may import another of ours.
func allowed(from, to string) bool {
	fromRoom, fromRank := room(from)
	toRoom, toRank := room(to)
	switch {
	case toRoom == "": // not ours
		return true
	case toRoom == "test": // the DNS world of test/world is for tests and for the sandbox
		return fromRoom == "test" || strings.HasPrefix(from, module+"cmd/quorate-sandbox")
	case fromRoom == "test":
		return true
	default:
		return fromRoom == toRoom || toRank < fromRank && toRank > 0
	}
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if !allowed(p.ImportPath, imp) {
				t.Errorf("%s imports %s: docs/design.md lets imports go va < mpic < acme, audit < db < cmd",
					p.ImportPath, imp)
			}
		}
	}
}

func TestTheImportRuleRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		want     bool
	}{
		"mpic on va":               {"mpic", "va/dnssec", true},
		"va on mpic":               {"va", "mpic", false},
		"acme on audit":            {"acme/pebble", "audit", false},
		"db on acme":               {"db", "acme", true},
		"production on the world":  {"cmd/quorate", "test/world", false},
		"the sandbox on the world": {"cmd/quorate-sandbox", "test/world", true},
		"mpic on an unknown room":  {"mpic", "common", false},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, allowed(module+c.from, module+c.to)) })
	}
}

// TestRoomNames refuses the package names that say nothing.
func TestRoomNames(t *testing.T) {
	for _, p := range packages(t) {
		for _, part := range strings.Split(strings.TrimPrefix(p.ImportPath, module), "/") {
			require.NotContains(t, []string{"common", "util", "utils", "types", "models", "mocks", "helpers"}, part, p.ImportPath)
		}
	}
}

// TestAPerspectiveNeedsNoDatabase: the program that runs on other people's hosts has in it what a perspective does, and no more to be attacked.
func TestAPerspectiveNeedsNoDatabase(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "./cmd/quorate-perspective")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.Contains(t, deps, module+"mpic/perspective")
	for _, dep := range deps {
		for _, not := range []string{module + "db", module + "acme", module + "cmd/internal/gate", module + "mpic/rest", "modernc.org/", "github.com/jackc/pgx/v5/stdlib",
			"google.golang.org/grpc", "github.com/letsencrypt/", "github.com/pressly/"} {
			if strings.HasPrefix(dep, not) {
				t.Errorf("cmd/quorate-perspective has %s in it", dep)
			}
		}
	}
}
