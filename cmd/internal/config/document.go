// Package config reads the configuration of a gate and of a perspective: strict YAML, in which a mistake is named with
// file, line, column, field and rule. What the rules of the day settle has no setting here (docs/design.md, invariants 6
// to 8): no key switches DNSSEC off, names a port, a root or a clock, or lowers a quorum.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile is far above any configuration, and keeps a wrong path from being read whole.
const maxFile = 1 << 20

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// Mistake is one thing that is wrong with a configuration.
type Mistake struct {
	// File is the path as given; Line and Column start at 1.
	File         string
	Line, Column int
	// Field is the path of the key, for example "perspectives[2].url"; empty where the file as a whole is meant.
	Field string
	// Rule is the requirement's id in docs/requirements.tsv, where one refuses.
	Rule string
	Text string
}

// Error gives "file:line:column: field: text (rule)".
func (m *Mistake) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", m.File, m.Line, m.Column)
	if m.Field != "" {
		b.WriteString(m.Field + ": ")
	}
	b.WriteString(m.Text)
	if m.Rule != "" {
		b.WriteString(" (" + m.Rule + ")")
	}
	return b.String()
}

// document is a parsed file, with the place of each field.
type document struct {
	file  string
	nodes map[string]ast.Node
	// keys has the token of each key, to point at where no value is to be pointed at.
	keys     map[string]*token.Token
	mistakes []*Mistake
}

// load reads a file into the struct that v points to, after its form was checked against that struct.
func load(file string, v any) (*document, error) {
	text, err := read(file)
	if err != nil {
		return nil, err
	}
	return parse(file, text, v)
}

func read(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("config: %s is no file of at most %d bytes", file, maxFile)
	}
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return text, nil
}

func parse(file string, text []byte, v any) (*document, error) {
	d := &document{file: file, nodes: map[string]ast.Node{}, keys: map[string]*token.Token{}}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, d.syntax(err)
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return nil, &Mistake{File: file, Line: 1, Column: 1, Text: "the file is empty"}
	}
	if len(tree.Docs) > 1 {
		d.refuseAt(tree.Docs[1].Start, "", "", "a second document begins here; a configuration is one")
		return nil, d.err()
	}
	body := tree.Docs[0].Body
	d.refuseForbidden(body, "")
	if len(d.mistakes) > 0 {
		return nil, d.err()
	}
	d.check(body, "", reflect.TypeOf(v).Elem())
	if len(d.mistakes) > 0 {
		return nil, d.err()
	}
	if err := yaml.NodeToValue(body, v, yaml.Strict()); err != nil {
		return nil, d.syntax(err)
	}
	return d, nil
}

// syntax turns an error of the YAML package, which would quote the file, into a mistake.
func (d *document) syntax(err error) error {
	m := &Mistake{File: d.file, Line: 1, Column: 1, Text: err.Error()}
	var positioned yaml.Error
	if errors.As(err, &positioned) {
		m.Text = positioned.GetMessage()
		if t := positioned.GetToken(); t != nil {
			m.Line, m.Column = t.Position.Line, t.Position.Column
		}
	}
	return m
}

// err gives all mistakes, in the order of their places.
func (d *document) err() error {
	slices.SortStableFunc(d.mistakes, func(a, b *Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	errs := make([]error, len(d.mistakes))
	for i, m := range d.mistakes {
		errs[i] = m
	}
	return errors.Join(errs...)
}

func (d *document) refuseAt(t *token.Token, field, rule, format string, args ...any) {
	m := &Mistake{File: d.file, Line: 1, Column: 1, Field: field, Rule: rule, Text: fmt.Sprintf(format, args...)}
	if t != nil && t.Position != nil {
		m.Line, m.Column = t.Position.Line, t.Position.Column
	}
	d.mistakes = append(d.mistakes, m)
}

// refuse points at a field's value, or, where it is missing, at the nearest key above it.
func (d *document) refuse(field, rule, format string, args ...any) {
	d.refuseAt(d.place(field), field, rule, format, args...)
}

func (d *document) place(field string) *token.Token {
	if n, ok := d.nodes[field]; ok && field != "" {
		if _, mapping := n.(ast.MapNode); !mapping {
			return n.GetToken()
		}
	}
	for field != "" {
		if t, ok := d.keys[field]; ok {
			return t
		}
		if n, ok := d.nodes[field]; ok {
			return first(n)
		}
		field = field[:max(strings.LastIndexByte(field, '.'), strings.LastIndexByte(field, '['), 0)]
	}
	return nil
}

// first gives a node's first token: the token of a mapping is its first colon.
func first(n ast.Node) *token.Token {
	if m, ok := n.(ast.MapNode); ok {
		if i := m.MapRange(); i.Next() {
			return i.Key().GetToken()
		}
	}
	return n.GetToken()
}

// has tells whether a field is there with a value.
func (d *document) has(field string) bool {
	n, ok := d.nodes[field]
	return ok && n.Type() != ast.NullType
}

// require refuses the absence of fields below a parent.
func (d *document) require(parent string, fields ...string) {
	for _, f := range fields {
		if name := join(parent, f); !d.has(name) {
			d.refuse(name, "", "this field is required")
		}
	}
}

func join(parent, field string) string {
	if parent == "" {
		return field
	}
	return parent + "." + field
}

// check holds a node to a type: kinds of values, unknown keys. It notes where everything stands.
func (d *document) check(n ast.Node, field string, t reflect.Type) {
	d.nodes[field] = n
	wrong := func(what string) { d.refuse(field, "", "%s is needed here, and there is %s", what, kindOf(n)) }
	switch n.Type() {
	case ast.NullType:
		// As if it were not there. A section that is begun and has nothing in it, and a switch without position, would be another thing than
		// what their writer meant: `shadow:` alone would have the gate answer by itself.
		if t.Kind() == reflect.Pointer || t.Kind() == reflect.Bool {
			d.refuse(field, "", "nothing stands here: fill it in, or take the key out")
		}
		return
	case ast.AnchorType, ast.AliasType, ast.TagType, ast.MergeKeyType:
		d.refuse(field, "", "anchors, aliases and tags are not used in a configuration")
		return
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		s, ok := n.(*ast.StringNode)
		if !ok {
			wrong(`a duration with its unit, for example "20s",`)
		} else if _, err := time.ParseDuration(s.Value); err != nil {
			d.refuse(field, "", "%q is no duration; write for example 20s, 500ms or 1m30s", s.Value)
		}
	case t.Kind() == reflect.String:
		if n.Type() != ast.StringType && n.Type() != ast.LiteralType {
			wrong("a text, in quotes where it looks like something else,")
		}
	case t.Kind() == reflect.Bool:
		if n.Type() != ast.BoolType {
			wrong("true or false")
		}
	case t.Kind() == reflect.Int:
		if n.Type() != ast.IntegerType {
			wrong("a whole number")
		} else if text := n.GetToken().Value; !decimal.MatchString(text) { // YAML would read 010 as 8
			d.refuse(field, "", "%q: write the number in decimal, without leading zeros and underscores", text)
		}
	case t.Kind() == reflect.Float64:
		if n.Type() != ast.IntegerType && n.Type() != ast.FloatType {
			wrong("a number")
		}
	case t.Kind() == reflect.Slice:
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			wrong("a list")
			return
		}
		for i, item := range list.Values {
			d.check(item, fmt.Sprintf("%s[%d]", field, i), t.Elem())
		}
	case t.Kind() == reflect.Pointer:
		d.check(n, field, t.Elem())
	case t.Kind() == reflect.Struct:
		m, ok := n.(ast.MapNode)
		if !ok {
			wrong("a mapping of keys to values")
			return
		}
		d.checkKeys(m, field, t)
	default:
		d.refuse(field, "", "the program has no form for this field (%s)", t)
	}
}

func (d *document) checkKeys(m ast.MapNode, field string, t reflect.Type) {
	known := map[string]reflect.Type{}
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag != "-" {
			known[tag] = t.Field(i).Type
		}
	}
	for i := m.MapRange(); i.Next(); {
		key := i.Key().GetToken()
		name := join(field, key.Value)
		d.keys[name] = key
		if i.Key().Type() == ast.MergeKeyType {
			d.refuseAt(key, name, "", "anchors, aliases and tags are not used in a configuration")
			continue
		}
		ft, ok := known[key.Value]
		if !ok {
			names := make([]string, 0, len(known))
			for k := range known {
				names = append(names, k)
			}
			slices.Sort(names)
			d.refuseAt(key, name, "", "unknown key; known here: %s", strings.Join(names, ", "))
			continue
		}
		d.check(i.Value(), name, ft)
	}
}

func kindOf(n ast.Node) string {
	switch n.Type() {
	case ast.StringType, ast.LiteralType:
		return "a text"
	case ast.IntegerType:
		return "a whole number"
	case ast.FloatType, ast.NanType, ast.InfinityType:
		return "a number with a fraction, or none"
	case ast.BoolType:
		return "a truth value"
	case ast.SequenceType:
		return "a list"
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	default:
		return "something else"
	}
}
