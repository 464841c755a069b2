// Package doors is what the sandbox's programs open and production's cannot (docs/design.md, invariant 8): they alone can import it.
package doors

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Doors are another root, other ports and reserved addresses. They have a form in JSON, because perspectives are processes of their own.
type Doors struct {
	Hints []resolver.Hint `json:"hints"`
	// Anchors is the trust anchor of the world's own root, in presentation format.
	Anchors  string `json:"anchors"`
	DNSPort  uint16 `json:"dns_port"`
	HTTPPort uint16 `json:"http_port"`
	TLSPort  uint16 `json:"tls_port"`
}

// Open gives what a node is put together with.
func (d Doors) Open() (node.Doors, error) {
	anchors, err := dnssec.ParseAnchors(strings.NewReader(d.Anchors))
	if err != nil {
		return node.Doors{}, err
	}
	return node.Doors{Hints: d.Hints, Anchors: anchors, DNSPort: d.DNSPort, AllowReserved: true,
		World: va.World{HTTPPort: d.HTTPPort, TLSPort: d.TLSPort, AllowReserved: true}}, nil
}

// Load reads doors from a file, and opens them.
func Load(file string) (node.Doors, error) {
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return node.Doors{}, err
	}
	var d Doors
	if err := json.Unmarshal(text, &d); err != nil {
		return node.Doors{}, fmt.Errorf("%s: %w", file, err)
	}
	open, err := d.Open()
	if err != nil {
		return node.Doors{}, fmt.Errorf("%s: %w", file, err)
	}
	return open, nil
}
