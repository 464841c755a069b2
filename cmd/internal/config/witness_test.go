package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const goodWitness = `listen: "127.0.0.1:8446"
state: state
key: witness-key
logs:
  - origin: gate.example.com/log
    key: example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k
`

func TestWitnessIsRead(t *testing.T) {
	w, err := ParseWitness("dir/witness.yaml", []byte(goodWitness))
	require.NoError(t, err)
	require.Equal(t, filepath.Join("dir", "state"), w.State, "relative to the file")
	require.Equal(t, filepath.Join("dir", "witness-key"), w.Key)
	require.Nil(t, w.TLS)
	w, err = ParseWitness("dir/witness.yaml", []byte(goodWitness+"tls: {certificate: tls.pem, key: /etc/tls-key.pem}\n"))
	require.NoError(t, err)
	require.Equal(t, &Pair{Certificate: filepath.Join("dir", "tls.pem"), Key: "/etc/tls-key.pem"}, w.TLS)
}

func TestWitnessMistakes(t *testing.T) {
	second := goodWitness[strings.Index(goodWitness, "  - origin"):]
	for name, c := range map[string]struct{ old, new, want string }{
		"no state":        {"state: state\n", "", `1:1: state: this field is required`},
		"no key":          {"key: witness-key\n", "", `1:1: key: this field is required`},
		"no log":          {second, "  []\n", `5:3: logs: one log at least is needed`},
		"no log key":      {"    key: example.com", "    # key: example.com", `logs[0].key: this field is required`},
		"log key changed": {"530d903a", "530d903b", `6:10: logs[0].key: the log's verifier key is needed`},
		"twice":           {second, second + second, `7:13: logs[1].origin: "gate.example.com/log" is there already`},
		"origin of lines": {"origin: gate.example.com/log", `origin: "a\nb"`, `5:13: logs[0].origin: an origin is one line`},
		"listen":          {"127.0.0.1:8446", "witness:http:1", `1:9: listen: "witness:http:1": ADDRESS:PORT`},
		"half of TLS":     {"state:", "tls: {certificate: a.pem}\nstate:", `tls.key: this field is required`},
		"no log level":    {"state:", "log: {level: loud}\nstate:", `2:14: log.level: "loud" is none of`},
		"unknown key":     {"state:", "origin: x\nstate:", `2:1: origin: unknown key; known here: key, listen, log, logs, state, tls`},
		"a clock":         {"state:", "clock: x\nstate:", `2:1: clock: the ports, the DNS root`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodWitness, c.old)
			_, err := ParseWitness("witness.yaml", []byte(strings.Replace(goodWitness, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := LoadWitness(filepath.Join(t.TempDir(), "absent.yaml"))
	require.ErrorContains(t, err, "absent.yaml")
}
