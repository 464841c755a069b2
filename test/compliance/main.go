// Command compliance writes docs/compliance.md: for each requirement and each known failure, the code that mentions it and
// the tests that hold it and passed in the run it is given.
//
//	go test -json ./... > results.json; go run ./test/compliance -results results.json
//
// A test names what it holds in a line "// Holds: DCV-16, D9" of its comment. Code names it in a comment or a string, for
// example in a problem's rules. With -check nothing is written, and a document that differs is an error.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const module = "github.com/quorate/quorate"

func main() {
	results := flag.String("results", "", "output of go test -json")
	out := flag.String("out", "docs/compliance.md", "the document")
	check := flag.Bool("check", false, "write nothing; fail when the document differs")
	flag.Parse()
	if err := run(*results, *out, *check); err != nil {
		fmt.Fprintln(os.Stderr, "compliance:", err)
		os.Exit(1)
	}
}

func run(results, out string, check bool) error {
	ids, err := readIDs("docs/requirements.tsv", "docs/failures.md")
	if err != nil {
		return err
	}
	outcome, err := readResults(results)
	if err != nil {
		return err
	}
	if err := scan(".", ids, outcome); err != nil {
		return err
	}
	text := render(ids)
	if !check {
		return os.WriteFile(out, []byte(text), 0o644)
	}
	old, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	if string(old) != text {
		return fmt.Errorf("%s does not tell what this run showed: run make compliance\n%s", out, firstDifference(string(old), text))
	}
	return nil
}

// entry is one requirement or one known failure.
type entry struct {
	id, text string
	code     map[string]bool
	tests    map[string]bool
}

type list struct {
	order []string
	by    map[string]*entry
}

func (l *list) add(id, text string) {
	l.order = append(l.order, id)
	l.by[id] = &entry{id: id, text: text, code: map[string]bool{}, tests: map[string]bool{}}
}

var failureRow = regexp.MustCompile(`^\| ([FCD][0-9]+) \| ([^|]+) \|`)

func readIDs(requirements, failures string) (*list, error) {
	l := &list{by: map[string]*entry{}}
	b, err := os.ReadFile(requirements)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		cols := strings.Split(line, "\t")
		if len(cols) != 5 {
			return nil, fmt.Errorf("%s line %d has %d columns, not 5", requirements, i+1, len(cols))
		}
		if i > 0 {
			l.add(cols[0], cols[4])
		}
	}
	if b, err = os.ReadFile(failures); err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if m := failureRow.FindStringSubmatch(line); m != nil {
			l.add(m[1], strings.TrimSpace(m[2]))
		}
	}
	return l, nil
}

// readResults gives, for "package Test", whether the top-level test passed.
func readResults(name string) (map[string]bool, error) {
	if name == "" {
		return nil, errors.New("-results is missing")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	passed := map[string]bool{}
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e struct{ Action, Package, Test string }
		if json.Unmarshal(in.Bytes(), &e) != nil || e.Test == "" || strings.Contains(e.Test, "/") {
			continue // a build's own lines are not JSON
		}
		switch key := e.Package + " " + e.Test; e.Action {
		case "pass":
			passed[key] = true
		case "fail":
			return nil, fmt.Errorf("%s failed: only a run in which all passed can be written down", key)
		}
	}
	if len(passed) == 0 {
		return nil, fmt.Errorf("%s names no test that passed", name)
	}
	return passed, in.Err()
}

var (
	requirementID = regexp.MustCompile(`\b(?:DCV|CAA|MPIC|REC|ACME)-[0-9]{2}\b`)
	holds         = regexp.MustCompile(`(?m)^Holds: (.+)$`)
)

func scan(root string, ids *list, passed map[string]bool) error {
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		switch {
		case strings.HasSuffix(name, "_test.go"):
			return scanTest(name, ids, passed)
		case strings.HasPrefix(name, "test/"), name == "mpic/rules.go": // fixtures, and the list of rules itself
			return nil
		case strings.HasSuffix(name, ".go"):
			return scanCode(name, ids)
		case strings.HasSuffix(name, ".sql"):
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return mention(name, string(b), ids)
		}
		return nil
	})
}

func mention(name, text string, ids *list) error {
	for _, id := range requirementID.FindAllString(text, -1) {
		e, known := ids.by[id]
		if !known {
			return fmt.Errorf("%s names %s, which docs/requirements.tsv does not have", name, id)
		}
		e.code[filepath.ToSlash(name)] = true
	}
	return nil
}

func scanCode(name string, ids *list) error {
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, c := range f.Comments {
		if err := mention(name, c.Text(), ids); err != nil {
			return err
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && err == nil {
			err = mention(name, lit.Value, ids)
		}
		return true
	})
	return err
}

func scanTest(name string, ids *list, passed map[string]bool) error {
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	pkg := path.Join(module, filepath.ToSlash(filepath.Dir(name)))
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Doc == nil {
			continue
		}
		for _, m := range holds.FindAllStringSubmatch(fn.Doc.Text(), -1) {
			for _, id := range strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' || r == '.' }) {
				e, known := ids.by[id]
				if !known {
					return fmt.Errorf("%s: %s holds %q, which neither list has", name, fn.Name.Name, id)
				}
				if passed[pkg+" "+fn.Name.Name] {
					e.tests[strings.TrimPrefix(pkg, module+"/")+" "+fn.Name.Name] = true
				}
			}
		}
	}
	return nil
}

func render(ids *list) string {
	var b strings.Builder
	held := 0
	var rows [2]strings.Builder
	for _, id := range ids.order {
		e := ids.by[id]
		requirement := requirementID.MatchString(id)
		state := "not yet"
		if len(e.tests) > 0 && (len(e.code) > 0 || !requirement) {
			state = "held"
			held++
		}
		if requirement {
			fmt.Fprintf(&rows[0], "| %s | %s | %s | %s | %s |\n", id, state, e.text, cells(e.code), cells(e.tests))
		} else {
			fmt.Fprintf(&rows[1], "| %s | %s | %s | %s |\n", id, state, e.text, cells(e.tests))
		}
	}
	fmt.Fprintf(&b, `# Compliance

Written by `+"`make compliance`"+` from the tests that ran and passed; do not edit. %d of %d lines are held. "Held" means that
code names the line and that at least one test which says it holds the line passed. A line may be held in part: the tests
named say how far. "Not yet" means that no test shows it.

## Requirements

| Id | State | Requirement | Code | Tests |
|---|---|---|---|---|
%s
## Failures seen elsewhere (docs/failures.md)

| Id | State | What happened | Tests |
|---|---|---|---|
%s`, held, len(ids.order), rows[0].String(), rows[1].String())
	return b.String()
}

func cells(set map[string]bool) string {
	all := make([]string, 0, len(set))
	for s := range set {
		all = append(all, s)
	}
	slices.SortFunc(all, cmp.Compare[string])
	return strings.Join(all, "<br>")
}

func firstDifference(old, now string) string {
	a, b := strings.Split(old, "\n"), strings.Split(now, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\n- %s\n+ %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, then %d", len(a), len(b))
}
