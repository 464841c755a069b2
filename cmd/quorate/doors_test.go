package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// sources parses this command's files, tests left out.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	files := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		files[name], err = parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
	}
	require.Contains(t, files, "serve.go")
	return files
}

// selects tells whether an expression is package.name.
func selects(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// TestNoDoors reads this command's source: the doors of a world in a box are named only as the empty node.Doors{}, and the
// fields that open them are set only for the diagnostic commands.
//
// Holds: F10, DCV-09
func TestNoDoors(t *testing.T) {
	closed := 0
	for name, file := range sources(t) {
		empty := map[ast.Expr]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if selects(n.Type, "node", "Doors") {
					require.Empty(t, n.Elts, "%s opens a door", name)
					empty[n.Type] = true
					closed++
				}
			case *ast.SelectorExpr:
				if selects(n, "node", "Doors") {
					require.True(t, empty[n], "%s names node.Doors other than as an empty literal", name)
				}
				require.False(t, selects(n, "va", "World"), "%s names va.World", name)
				if selects(n, "resolver", "Config") {
					require.Contains(t, name, "diagnose.go", "%s configures a resolver of its own", name)
				}
				if selects(n, "mpic", "New") || selects(n, "perspective", "NewServer") {
					require.Fail(t, "wiring beside the packages node and gate", name)
				}
			}
			return true
		})
	}
	require.Equal(t, 4, closed, "serve, perspective, and check twice")
}

// TestDiagnosisAlone: the command that could look at another world has no way to an attempt.
//
// Holds: F10
func TestDiagnosisAlone(t *testing.T) {
	for _, command := range []any{serveCmd{}, perspectiveCmd{}, checkCmd{}} {
		of := reflect.TypeOf(command)
		for i := range of.NumField() {
			require.NotEqual(t, reflect.TypeFor[diagnosis](), of.Field(i).Type, of.Name())
		}
	}
}

// TestFlags lists every flag of the commands that validate: a new one is a decision, not an accident.
//
// Holds: F10, F7
func TestFlags(t *testing.T) {
	var c commands
	parser, err := kong.New(&c, kong.Name("quorate"), kong.Vars{"version": "test"})
	require.NoError(t, err)
	want := map[string][]string{
		"serve":       {"config"},
		"perspective": {"config"},
		"check":       {"account-uri", "config", "json", "key-authorization", "method", "new"},
	}
	seen := 0
	for _, command := range parser.Model.Children {
		flags, ok := want[command.Name]
		if !ok {
			continue
		}
		seen++
		var got []string
		for _, f := range command.Flags {
			got = append(got, f.Name)
			require.Empty(t, f.Envs, "a flag is not to be set by the environment")
		}
		slices.Sort(got)
		require.Equal(t, flags, got, command.Name)
	}
	require.Equal(t, len(want), seen)
	var global []string
	for _, f := range parser.Model.Flags {
		global = append(global, f.Name)
	}
	slices.Sort(global)
	require.Equal(t, []string{"color", "help", "version"}, global)
}
