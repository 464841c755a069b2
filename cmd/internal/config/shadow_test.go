package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	openShadow    = "  shadow: {url: https://mpic.example/prod, api_key_file: theirs.key, roots: theirs.pem, timeout: 20s}\n"
	boulderShadow = "  shadow: {address: \"va.service.consul:9092\", server_name: va.boulder, tls: {certificate: gate.pem, key: gate-key.pem}, ca: ipki.pem}\n"
)

func shadowed() string {
	text := strings.Replace(withBoulder(""), "boulder_remotes:\n", boulderShadow+"boulder_remotes:\n", 1)
	return text + openFront + openShadow
}

func TestAShadowIsRead(t *testing.T) {
	g, err := ParseGate("/etc/q/quorate.yaml", []byte(shadowed()))
	require.NoError(t, err)
	require.True(t, g.InShadow())
	require.Equal(t, &OpenMPICShadow{URL: "https://mpic.example/prod", APIKeyFile: "/etc/q/theirs.key", Roots: "/etc/q/theirs.pem",
		Timeout: 20 * time.Second}, g.OpenMPIC.Shadow)
	require.Equal(t, &BoulderShadow{Address: "va.service.consul:9092", ServerName: "va.boulder", TLS: Pair{"/etc/q/gate.pem", "/etc/q/gate-key.pem"},
		CA: "/etc/q/ipki.pem"}, g.Boulder.Shadow)
	for _, without := range []string{goodGate, goodGate + openFront, withBoulder("")} {
		g, err := ParseGate("/etc/q/quorate.yaml", []byte(without))
		require.NoError(t, err)
		require.False(t, g.InShadow())
	}
	alone, err := ParseGate("/etc/q/quorate.yaml", []byte(goodGate+openFront+openShadow))
	require.NoError(t, err)
	require.True(t, alone.InShadow())
}

// TestAShadowThatContradictsItselfIsRefused: a gate is one as a whole, and each of its fronts has somebody who answers.
//
// Holds: MPIC-08, MPIC-12
func TestAShadowThatContradictsItselfIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"Boulder alone answers by itself":   {boulderShadow, "", "boulder.shadow: the gate runs in the shadow of another system"},
		"Open MPIC alone answers by itself": {openShadow, "", "open_mpic.shadow: the gate runs in the shadow of another system"},
		"no URL":                            {"url: https://mpic.example/prod, ", "", "open_mpic.shadow.url: this field is required"},
		"plain text":                        {"url: https://mpic", "url: http://mpic", "open_mpic.shadow.url: "},
		"no key":                            {"api_key_file: theirs.key, ", "", "open_mpic.shadow: either api_key_file or pass_api_key"},
		"two keys":                          {"api_key_file: theirs.key, ", "api_key_file: theirs.key, pass_api_key: true, ", "open_mpic.shadow: either api_key_file or pass_api_key"},
		"a pin that is none":                {"roots: theirs.pem", "tls_key: abc", "open_mpic.shadow.tls_key: the SHA-256"},
		"too little time":                   {"timeout: 20s", "timeout: 1ms", "open_mpic.shadow.timeout: 1ms is not between 1s and 5m0s"},
		"too much time":                     {"timeout: 20s", "timeout: 6m", "open_mpic.shadow.timeout: 6m0s"},
		"a switch":                          {"open_mpic:\n", "shadow: false\nopen_mpic:\n", "shadow: unknown key"},
		"no address":                        {"address: \"va.service.consul:9092\", ", "", "boulder.shadow.address: this field is required"},
		"no port":                           {"va.service.consul:9092", "va.service.consul", "boulder.shadow.address: "},
		"a pattern":                         {"server_name: va.boulder", "server_name: '*.boulder'", "boulder.shadow.server_name: "},
		"no certificate":                    {"tls: {certificate: gate.pem, key: gate-key.pem}, ", "", "boulder.shadow.tls: this field is required"},
		"no CA":                             {", ca: ipki.pem}", "}", "boulder.shadow.ca: this field is required"},
	} {
		require.Contains(t, shadowed(), c.old, name)
		_, err := ParseGate("quorate.yaml", []byte(strings.Replace(shadowed(), c.old, c.new, 1)))
		require.ErrorContains(t, err, c.want, name)
	}
}
