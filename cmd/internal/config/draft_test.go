package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
)

const goodDraft = `draft_mpic:
  clients:
    - name: ra-2
      api_key_sha256: "` + otherSum + `"
  services:
    - url: https://mpc.example.com/staging
      key_file: service.key
      tls_key: "` + digest + `"
      perspectives:
        - name: lisbon
          title: Lisbon
          code: lis
          region: RIPE NCC
          latitude: 38.72
          longitude: -9.14
`

func TestDraftIsRead(t *testing.T) {
	g, err := ParseGate("/etc/q/quorate.yaml", []byte(goodGate+goodDraft))
	require.NoError(t, err)
	require.Equal(t, "/etc/q/service.key", g.DraftMPIC.Services[0].KeyFile)
	lisbon := mpic.Place{Region: mpic.RIPE, Latitude: 38.72, Longitude: -9.14}
	require.Equal(t, []mpic.Member{{Name: "lisbon", Title: "Lisbon", Place: lisbon, Resolver: lisbon, URL: "https://mpc.example.com/staging", TLSKey: digest,
		Protocol: mpic.Draft00, Code: "lis"}}, g.Roster().Remotes[1:], "behind our own")
	g, err = ParseGate("/etc/q/quorate.yaml", []byte(goodGate))
	require.NoError(t, err)
	require.Len(t, g.Roster().Remotes, 1)
}

// Holds: MPIC-05, MPIC-08, F7
func TestDraftMistakes(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"client without key":    {"      api_key_sha256: \"" + otherSum + "\"\n", "", `draft_mpic.clients[0].api_key_sha256: this field is required`},
		"client name":           {"ra-2", "'ra 2'", `draft_mpic.clients[0].name: "ra 2": a name is`},
		"certificate key":       {"api_key_sha256: \"" + otherSum, "certificate_key: \"" + otherSum, `draft_mpic.clients[0].certificate_key: unknown key`},
		"plain http":            {"https://mpc", "http://mpc", `"http://mpc.example.com/staging": https://HOST[:PORT][/PATH] is needed, and nothing more (MPIC-08)`},
		"a query":               {"/staging", "/staging?a", `draft_mpic.services[0].url`},
		"no key":                {"      key_file: service.key\n", "", `draft_mpic.services[0].key_file: this field is required`},
		"a key in the file":     {"key_file:", "key:", `draft_mpic.services[0].key: unknown key`},
		"bad pin":               {"tls_key: \"0123", "tls_key: \"X123", `draft_mpic.services[0].tls_key: the SHA-256`},
		"pin and roots":         {"      tls_key", "      roots: ca.pem\n      tls_key", `draft_mpic.services[0].roots: a service whose key is pinned`},
		"no perspective":        {goodDraft[strings.Index(goodDraft, "      perspectives:"):], "      perspectives: []\n", `draft_mpic.services[0].perspectives: one perspective at least`},
		"a name twice":          {"name: lisbon", "name: ashburn", `draft_mpic.services[0].perspectives[0].name: "ashburn" is the name of perspectives[0] already (MPIC-05)`},
		"an empty code":         {"code: lis", "code: ''", `draft_mpic.services[0].perspectives[0].code: a code has 1 to 64 characters`},
		"no place":              {"          latitude: 38.72\n", "", `draft_mpic.services[0].perspectives[0].latitude: this field is required`},
		"a quorum":              {"      perspectives:", "      quorum: 1\n      perspectives:", `MPIC-03`},
		"one code twice":        {"          longitude: -9.14\n", "          longitude: -9.14\n        - {name: oslo, title: O, code: lis, region: RIPE NCC, latitude: 60, longitude: 10}\n", `the service calls draft_mpic.services[0].perspectives[0] by the code "lis" already (MPIC-05)`},
		"one service twice":     {"    - url: https://mpc.example.com/staging\n", "    - {url: https://mpc.example.com/staging, key_file: a, perspectives: [{name: oslo, title: O, region: RIPE NCC, latitude: 60, longitude: 10}]}\n    - url: https://mpc.example.com/staging\n", `is the URL of two services`},
		"one of a name and key": {"  services:", "    - {name: ra-2, api_key_sha256: \"" + otherSum + "\"}\n  services:", `"ra-2" is the name of two clients`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodDraft, c.old)
			_, err := ParseGate("quorate.yaml", []byte(goodGate+strings.Replace(goodDraft, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.want)
		})
	}
}
