// Package compose holds docker-compose.yml, the Dockerfile and deploy/ to what they promise, without an engine: the compose
// file against the specification's schema, the images as text and by the programs in them, and the services, from the very
// files that containers mount, as processes in root directories and network namespaces of their own (engine_linux_test.go).
package compose

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// schema compiles the compose specification's schema. It is not in this repository: schema.mod pins the module of compose-go
// (Apache-2.0) in which it is, and Go's module cache keeps that beside those that are built from.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-modfile=schema.mod", "-json", "github.com/compose-spec/compose-go/v2").Output()
	var module struct{ Dir, Error string }
	if err == nil {
		err = json.Unmarshal(out, &module)
	}
	if err != nil || module.Dir == "" {
		require.NotEqual(t, "true", os.Getenv("CI"), "%v: %s", err, out)
		t.Skipf("the module with the schema cannot be had here: %v: %s", err, out)
	}
	text, err := os.Open(filepath.Join(module.Dir, "schema", "compose-spec.json"))
	require.NoError(t, err)
	defer text.Close()
	parsed, err := jsonschema.UnmarshalJSON(text)
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("compose-spec.json", parsed))
	s, err := c.Compile("compose-spec.json")
	require.NoError(t, err)
	return s
}

// plain gives a document in the types that the schema's package expects.
func plain(t *testing.T, document map[string]any) any {
	t.Helper()
	text, err := json.Marshal(document)
	require.NoError(t, err)
	out, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	require.NoError(t, err)
	return out
}

func TestTheComposeFileMeetsItsSchema(t *testing.T) {
	s := schema(t)
	require.NoError(t, s.Validate(plain(t, document(t))))
	require.Greater(t, durations(t, document(t)), 10)
	for name, change := range map[string]func(map[string]any){
		"an unknown key": func(gate map[string]any) { gate["imagee"] = "x" },
		"no list":        func(gate map[string]any) { gate["cap_drop"] = "ALL" },
		"a condition": func(gate map[string]any) {
			gate["depends_on"] = map[string]any{"migrate": map[string]any{"condition": "done"}}
		},
		"a truth value":       func(gate map[string]any) { gate["read_only"] = []string{"yes"} },
		"a health check's":    func(gate map[string]any) { gate["healthcheck"] = map[string]any{"test": true} },
		"limits at the wrong": func(gate map[string]any) { gate["deploy"] = map[string]any{"limits": map[string]any{"memory": "1G"}} },
	} {
		t.Run(name, func(t *testing.T) {
			d := document(t)
			services := d["services"].(map[string]any)
			gate := maps.Clone(services["gate"].(map[string]any))
			change(gate)
			services["gate"] = gate
			require.Error(t, s.Validate(plain(t, d)))
		})
	}
}

// durations holds what the schema takes for any text to the form that an engine reads, and counts.
func durations(t *testing.T, v any) int {
	t.Helper()
	n := 0
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n += durations(t, item)
		}
	case map[string]any:
		for key, value := range v {
			switch key {
			case "interval", "timeout", "start_period", "start_interval", "stop_grace_period":
				_, err := time.ParseDuration(value.(string))
				require.NoError(t, err, key)
				n++
			default:
				n += durations(t, value)
			}
		}
	}
	return n
}
