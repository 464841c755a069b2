package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
)

const boulderSections = `boulder:
  listen: "127.0.0.1:9092"
  tls: {certificate: va.pem, key: va-key.pem}
  client_ca: ipki.pem
  va_clients: [ra.boulder]
  caa_clients: [ra.boulder]
  health_clients: [health-checker.boulder]
  account_uri_prefixes: ["https://ca.example/acme/acct/", "https://ca.example/acme/reg/"]
boulder_remotes:
  tls: {certificate: va.pem, key: va-key.pem}
  ca: /etc/ipki.pem
  account_uri_prefixes: ["https://ca.example/acme/acct/"]
`

const remoteVA = `  - name: tokyo
    title: Tokyo
    protocol: boulder
    code: dadaist
    url: https://rva1.example.com:9397
    region: APNIC
    latitude: 35.7
    longitude: 139.7
`

func withBoulder(text string) string {
	return strings.Replace(goodGate, "limits:\n", remoteVA+boulderSections+"limits:\n", 1) + text
}

func TestBouldersSectionsAreRead(t *testing.T) {
	g, err := ParseGate("/etc/q/quorate.yaml", []byte(withBoulder("")))
	require.NoError(t, err)
	require.Equal(t, "/etc/q/ipki.pem", g.Boulder.ClientCA)
	require.Equal(t, "/etc/q/va-key.pem", g.Boulder.TLS.Key)
	require.Equal(t, "/etc/ipki.pem", g.BoulderRemotes.CA)
	require.Equal(t, []string{"ra.boulder"}, g.Boulder.CAAClients)
	m := g.Roster().Remotes[1]
	require.Equal(t, mpic.Boulder, m.Protocol)
	require.Equal(t, "dadaist", m.Code)
	require.Empty(t, m.SigningKey)
	require.Equal(t, mpic.Native, g.Roster().Remotes[0].Protocol)
}

// Holds: MPIC-08, CAA-04
func TestBouldersMistakes(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no clients":         {"  va_clients: [ra.boulder]\n", "", "boulder.va_clients: this field is required"},
		"empty clients":      {"caa_clients: [ra.boulder]", "caa_clients: []", "boulder.caa_clients: one name at least is needed"},
		"a wildcard":         {"caa_clients: [ra.boulder]", "caa_clients: ['*.boulder']", `boulder.caa_clients[0]: "*.boulder" is no DNS name`},
		"no CA":              {"  client_ca: ipki.pem\n", "", "boulder.client_ca: this field is required"},
		"listen":             {`"127.0.0.1:9092"`, `"va.boulder"`, "boulder.listen: "},
		"no prefix":          {`account_uri_prefixes: ["https://ca.example/acme/acct/", "https://ca.example/acme/reg/"]`, "account_uri_prefixes: []", "0 account URI prefixes"},
		"a digit":            {`/acme/reg/"]`, `/acme/reg1"]`, "ends in a digit"},
		"in flight":          {"  client_ca: ipki.pem\n", "  client_ca: ipki.pem\n  in_flight: 0\n", "boulder.in_flight: 0 is not between"},
		"a key for its key":  {"    code: dadaist\n", "    code: dadaist\n    signing_key: " + thumbprint + "\n", "signing_key: Boulder's remoteva signs nothing"},
		"a path":             {"rva1.example.com:9397", "rva1.example.com:9397/va", "perspectives[1].url"},
		"no port":            {"rva1.example.com:9397", "rva1.example.com", "https://HOST:PORT is needed"},
		"plain text":         {"https://rva1", "http://rva1", "is not https"},
		"a short pin":        {"    code: dadaist\n", "    tls_key: abc\n", "perspectives[1].tls_key: the SHA-256"},
		"another protocol":   {"protocol: boulder", "protocol: carrier-pigeon", `"carrier-pigeon" is no protocol of a remote`},
		"no section":         {boulderSections[strings.Index(boulderSections, "boulder_remotes"):], "", "boulder_remotes: this section is required"},
		"a section too many": {remoteVA, "", "no perspective has protocol: boulder"},
		"a code of ours":     {"    protocol: boulder\n", "    signing_key: " + thumbprint + "\n    tls_key: \"" + otherSum + "\"\n", "is called by its name"},
		"remotes' prefix":    {`account_uri_prefixes: ["https://ca.example/acme/acct/"]`, `account_uri_prefixes: ["acct/"]`, "boulder_remotes.account_uri_prefixes"},
	} {
		t.Run(name, func(t *testing.T) {
			text := withBoulder("")
			require.Contains(t, text, c.old)
			_, err := ParseGate("quorate.yaml", []byte(strings.Replace(text, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.want)
			require.Regexp(t, `^quorate\.yaml:\d+:\d+: `, err.Error())
		})
	}
}
