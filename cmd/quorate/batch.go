package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// inFlight is how many questions of a batch are asked at a time.
const inFlight = 16

type question struct {
	name  string
	qtype uint16
}

// readBatch reads a question a line, "NAME TYPE". Blank lines and what stands behind a # are skipped. The error names every
// line that is wrong.
func readBatch(file string) ([]question, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing is lost
	var all []question
	var wrong []error
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		q, ok, err := parseQuestion(lines.Text())
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", file, n, err))
		} else if ok {
			all = append(all, q)
		}
	}
	if err := lines.Err(); err != nil {
		wrong = append(wrong, fmt.Errorf("%s: %w", file, err))
	}
	if len(all) == 0 && len(wrong) == 0 {
		wrong = append(wrong, fmt.Errorf("%s: there is no question in it", file))
	}
	return all, errors.Join(wrong...)
}

// parseQuestion reads one line; ok is false where it has no question.
func parseQuestion(line string) (q question, ok bool, err error) {
	var fields []string
	for _, f := range strings.Fields(line) {
		if strings.HasPrefix(f, "#") {
			break
		}
		fields = append(fields, f)
	}
	switch len(fields) {
	case 0:
		return q, false, nil
	case 2:
	default:
		return q, false, errors.New(`a line is "NAME TYPE"`)
	}
	if q.name, err = parseName(fields[0]); err != nil {
		return q, false, err
	}
	q.qtype, err = parseType(fields[1])
	return q, err == nil, err
}

// runBatch asks all questions, some at a time, and writes a JSON object a line in the order of the questions. The status
// returned is that of the worst answer: bogus before failure.
func runBatch(ctx context.Context, r *resolver.Resolver, questions []question, evidence bool, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pending := make(chan chan *resolver.Answer, inFlight)
	go func() {
		defer close(pending)
		for _, q := range questions {
			done := make(chan *resolver.Answer, 1)
			select {
			case pending <- done:
				go func() { done <- r.Lookup(ctx, q.name, q.qtype) }()
			case <-ctx.Done():
				return
			}
		}
	}()
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	worst := dnssec.Secure
	for done := range pending {
		a := <-done
		if err := ctx.Err(); err != nil {
			break
		}
		if err := lines.Encode(printed(a, r, evidence)); err != nil {
			return status{exitFailure, err}
		}
		if s := a.Lookup.Status; s == dnssec.Bogus || worst != dnssec.Bogus && !s.Usable() {
			worst = s
		}
	}
	if err := ctx.Err(); err != nil { // a half list must not look like a whole one
		return status{exitFailure, fmt.Errorf("the batch was not finished: %w", err)}
	}
	return lookupStatus(worst)
}
