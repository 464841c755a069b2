// Package second checks stored proofs with a second implementation: verify.py, written from docs/proofs.md and the RFCs, shares
// no code with va/dnssec.
package second

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Line is a line of verify.py's input: a lookup's record, what an auditor has from elsewhere, and what our own prover says.
type Line struct {
	// It has the form that reports keep, with the stages and zones that it names.
	Lookup resolver.Kept `json:"lookup"`
	resolver.Shared
	// From is when the report begins, from which the lookup is dated.
	From time.Time `json:"from"`
	// Sets are the records by their digest.
	Sets dnssec.Sets `json:"sets"`
	// Anchors are in presentation format.
	Anchors []string `json:"anchors"`
	// Algorithms are the numbers of those supported.
	Algorithms []int          `json:"algorithms"`
	Limits     map[string]int `json:"limits"`
	// Slack is in seconds.
	Slack int `json:"slack"`
	// Prover is "proven", "no-proof" or "error: " and the error.
	Prover string `json:"prover"`
	// Found is what our own prover says of each stage.
	Found []dnssec.Found `json:"found,omitempty"`
}

// NewLine proves a lookup and gives the line for it, without a line feed.
func NewLine(p resolver.Prover, l resolver.Lookup, sets dnssec.Sets) ([]byte, error) {
	limits, err := p.Limits.Complete()
	if err != nil {
		return nil, err
	}
	if p.Algorithms == nil {
		p.Algorithms = dnssec.DefaultAlgorithms()
	}
	if p.Anchors == nil {
		p.Anchors = dnssec.RootAnchors()
	}
	line := Line{Sets: sets, Limits: map[string]int{}, Slack: int(limits.Slack / time.Second)}
	for _, a := range p.Anchors {
		line.Anchors = append(line.Anchors, strings.ReplaceAll(a.String(), "\t", " "))
	}
	for _, n := range slices.Sorted(maps.Keys(p.Algorithms)) {
		line.Algorithms = append(line.Algorithms, int(n))
	}
	for _, n := range limits.Named() {
		line.Limits[n.Name] = *n.Value
	}
	line.From = l.Started.Truncate(time.Second)
	line.Start = line.From
	line.Lookup = line.Keep(l)
	line.Found, err = p.Explain(l, sets)
	switch {
	case err == nil:
		line.Prover = "proven"
	case errors.Is(err, resolver.ErrNoProof):
		line.Prover = "no-proof"
	default:
		line.Prover = fmt.Sprintf("error: %v", err)
	}
	return json.Marshal(line)
}
