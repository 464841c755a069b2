package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
)

const (
	digest     = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	otherSum   = "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	thumbprint = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq"
)

const goodGate = `listen: "127.0.0.1:8443"
tls: {certificate: tls.pem, key: tls-key.pem}
clients:
  - name: ra-1
    api_key_sha256: "` + digest + `"
identity:
  certificate: /etc/quorate/id.pem
  key: id-key.pem
journal:
  sqlite: records.db
issuers:
  - ca.example.com
primary:
  name: frankfurt
  title: Frankfurt
  region: RIPE NCC
  latitude: 50.11
  longitude: 8.68
perspectives:
  - name: ashburn
    title: Ashburn
    url: https://a.example.com:8444
    region: ARIN
    latitude: 39
    longitude: -77.49
    resolver: {region: ARIN, latitude: 33.75, longitude: -84.39}
    tls_key: "` + digest + `"
    signing_key: ` + thumbprint + `
limits:
  attempt: 30s
`

const goodPerspective = `name: ashburn
listen: ":8444"
tls: {certificate: tls.pem, key: tls-key.pem}
signing_key: signing-key.pem
gates:
  - name: gate
    tls_key: "` + digest + `"
`

func TestGateIsRead(t *testing.T) {
	g, err := ParseGate("/etc/q/quorate.yaml", []byte(goodGate))
	require.NoError(t, err)
	require.Equal(t, "/etc/q/records.db", g.Journal.SQLite, "relative to the file")
	require.Equal(t, "/etc/quorate/id.pem", g.Identity.Certificate, "absolute as it is")
	require.Equal(t, 30*time.Second, g.Limits.Attempt)
	roster := g.Roster()
	require.Equal(t, roster.Primary.Place, roster.Primary.Resolver, "a resolver of its own stands where the perspective stands")
	require.Equal(t, mpic.Place{Region: mpic.ARIN, Latitude: 33.75, Longitude: -84.39}, roster.Remotes[0].Resolver)
	require.Equal(t, mpic.Member{Name: "ashburn", Title: "Ashburn", Place: mpic.Place{Region: mpic.ARIN, Latitude: 39, Longitude: -77.49},
		Resolver: roster.Remotes[0].Resolver, URL: "https://a.example.com:8444", TLSKey: digest, SigningKey: thumbprint}, roster.Remotes[0])
}

func TestPerspectiveIsRead(t *testing.T) {
	p, err := ParsePerspective("dir/perspective.yaml", []byte(goodPerspective))
	require.NoError(t, err)
	require.Equal(t, filepath.Join("dir", "signing-key.pem"), p.SigningKey)
	require.Equal(t, "gate", p.Gates[0].Name)
}

// TestMistakes changes one thing in a good configuration, and expects the mistake with its place, field and rule.
//
// Holds: MPIC-08, F7
func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"upstream resolver":     {"limits:", "upstream_resolver: 192.0.2.53\nlimits:", `29:1: upstream_resolver: unknown key`},
		"unknown key":           {"limits:", "limit:", `29:1: limit: unknown key; known here: audit_log, boulder, boulder_remotes, caa_lookup_failure, checkpoints,`},
		"unknown key, nested":   {"attempt: 30s", "atempt: 30s", `30:3: limits.atempt: unknown key; known here: attempt, grant_grace`},
		"unknown key in list":   {"    title: Ashburn", "    titel: Ashburn", `21:5: perspectives[0].titel: unknown key`},
		"missing field":         {"  title: Frankfurt\n", "", `primary.title: this field is required`},
		"missing place":         {"  latitude: 50.11\n", "", `13:1: primary.latitude: this field is required`},
		"missing block":         {"journal:\n  sqlite: records.db\n", "", `1:1: journal: this field is required`},
		"null":                  {"sqlite: records.db", "sqlite:", `journal: the records are in one place`},
		"section, empty":        {"limits:", "checkpoints:\nlimits:", `checkpoints: nothing stands here`},
		"section below, empty":  {"limits:", "open_mpic:\n  clients: []\n  shadow:\nlimits:", `open_mpic.shadow: nothing stands here: fill it in, or take the key out`},
		"switch, no position":   {"limits:", "audit_log: {destination: a, required: }\nlimits:", `audit_log.required: nothing stands here`},
		"octal":                 {"attempt: 30s", "in_flight: 0100", `30:14: limits.in_flight: "0100": write the number in decimal`},
		"octal, new":            {"attempt: 30s", "in_flight: 0o100", `30:14: limits.in_flight: "0o100": write the number in decimal`},
		"hexadecimal":           {"attempt: 30s", "in_flight: 0x10", `30:14: limits.in_flight: "0x10": write the number in decimal`},
		"underscore":            {"attempt: 30s", "in_flight: 1_0", `30:14: limits.in_flight: "1_0": write the number in decimal`},
		"text for a list":       {"issuers:\n  - ca.example.com", "issuers: ca.example.com", `11:10: issuers: a list is needed here, and there is a text`},
		"list for a text":       {"name: frankfurt", "name: [frankfurt]", `14:9: primary.name: a text, in quotes`},
		"number for a text":     {"name: frankfurt", "name: 5", `14:9: primary.name: a text, in quotes where it looks like something else, is needed here, and there is a whole number`},
		"text for a number":     {"latitude: 50.11", `latitude: "50.11"`, `17:13: primary.latitude: a number is needed here, and there is a text`},
		"no number at all":      {"latitude: 50.11", "latitude: .nan", `17:13: primary.latitude: a number is needed`},
		"truth for a number":    {"attempt: 30s", "in_flight: true", `30:14: limits.in_flight: a whole number is needed here, and there is a truth value`},
		"fraction":              {"attempt: 30s", "in_flight: 1.5", `30:14: limits.in_flight: a whole number is needed here, and there is a number with a fraction`},
		"mapping for a text":    {"sqlite: records.db", "sqlite: {path: x}", `journal.sqlite: a text`},
		"duration, no unit":     {"attempt: 30s", "attempt: 30", `30:12: limits.attempt: a duration with its unit, for example "20s", is needed here, and there is a whole number`},
		"duration, bad":         {"attempt: 30s", "attempt: soon", `30:12: limits.attempt: "soon" is no duration; write for example 20s`},
		"duration, too long":    {"attempt: 30s", "attempt: 1h", `30:12: limits.attempt: 1h0m0s is not between 1s and 5m0s`},
		"duration, negative":    {"attempt: 30s", "grant_grace: -1s", `30:16: limits.grant_grace: -1s is not between`},
		"duration, none":        {"attempt: 30s", "attempt: 0s", `30:12: limits.attempt: 0s is not between 1s and 5m0s`},
		"grace beyond attempt":  {"attempt: 30s", "refusal_grace: 50s", `30:18: limits.refusal_grace: 50s is more than an attempt may take, 20s`},
		"nobody waits":          {"attempt: 30s", "waiting: 0", `30:12: limits.waiting: 0 is not between 1 and 65536`},
		"too many wait":         {"attempt: 30s", "waiting: 65537", `30:12: limits.waiting: 65537 is not between 1 and 65536`},
		"no places in flight":   {"attempt: 30s", "in_flight: 0", `30:14: limits.in_flight: 0 is not between 1 and 65536`},
		"latitude":              {"latitude: 50.11", "latitude: 90.5", `17:13: primary.latitude: 90.5 is not between -90 and 90 degrees (MPIC-05)`},
		"longitude":             {"longitude: 8.68", "longitude: -181", `18:14: primary.longitude: -181 is not between -180 and 180 degrees (MPIC-05)`},
		"region":                {"region: RIPE NCC", "region: Europe", `16:11: primary.region: "Europe" is none of AFRINIC, APNIC, ARIN, LACNIC, RIPE NCC (MPIC-04)`},
		"resolver elsewhere":    {"{region: ARIN", "{region: APNIC", `26:24: perspectives[0].resolver.region: the resolver stands in "APNIC" and the perspective in "ARIN"`},
		"member name":           {"name: ashburn", "name: Ashburn!", `20:11: perspectives[0].name: "Ashburn!": a name is 1 to 63 lower case`},
		"member name twice":     {"name: ashburn", "name: frankfurt", `20:11: perspectives[0].name: "frankfurt" is the name of primary already (MPIC-05)`},
		"plain http":            {"https://a", "http://a", `22:10: perspectives[0].url: "http://a.example.com:8444" is not https: the channel to a remote is authenticated and encrypted (MPIC-08)`},
		"url with user":         {"https://a", "https://me:you@a", `22:10: perspectives[0].url: `},
		"no pin":                {"    signing_key: " + thumbprint + "\n", "", `20:5: perspectives[0].signing_key: this field is required`},
		"bad pin":               {"signing_key: " + thumbprint, "signing_key: abc", `28:18: perspectives[0].signing_key: the RFC 7638 thumbprint`},
		"upper case pin":        {`    tls_key: "` + digest, `    tls_key: "` + strings.ToUpper(digest), `27:14: perspectives[0].tls_key: the SHA-256`},
		"issuer":                {"- ca.example.com", "- CA.example.com", `12:5: issuers[0]: "CA.example.com" is no issuer domain name`},
		"lookup failure":        {"limits:", "caa_lookup_failure: permit\nlimits:", `29:21: caa_lookup_failure: "permit" is neither "deny" nor "permit-when-proven" (CAA-06)`},
		"lookup failure, empty": {"limits:", "caa_lookup_failure: ''\nlimits:", `29:21: caa_lookup_failure: "" is neither`},
		"lookup failure, truth": {"limits:", "caa_lookup_failure: true\nlimits:", `29:21: caa_lookup_failure: a text, in quotes`},
		"no issuer":             {"issuers:\n  - ca.example.com", "issuers: []", `11:10: issuers: one name at least is needed`},
		"no client":             {"clients:\n  - name: ra-1\n    api_key_sha256: \"" + digest + "\"", "clients: []", `3:10: clients: one client at least`},
		"client without key":    {"    api_key_sha256: \"" + digest + "\"\n", "", `4:5: clients[0]: certificate_key or api_key_sha256 is needed`},
		"client with plain key": {"api_key_sha256: \"" + digest, "api_key_sha256: \"hunter2", `5:21: clients[0].api_key_sha256: a SHA-256 digest`},
		"client's accounts":     {"name: ra-1", "name: ra-1\n    account_uri_prefixes: ['https://ca.example/acct/1']", `5:27: clients[0].account_uri_prefixes: "https://ca.example/acct/1" ends in a digit`},
		"client name":           {"name: ra-1", "name: 'ra 1'", `4:11: clients[0].name: "ra 1": a name is`},
		"listen":                {"127.0.0.1:8443", "localhost:8443", `1:9: listen: "localhost:8443": ADDRESS:PORT`},
		"listen, service":       {"127.0.0.1:8443", "127.0.0.1:https", `1:9: listen: `},
		"source address":        {"limits:", "source_address: eth0\nlimits:", `29:17: source_address: "eth0" is no IP address`},
		"metrics, no address":   {"limits:", "metrics: {}\nlimits:", `29:1: metrics.listen: this field is required`},
		"metrics, a name":       {"limits:", "metrics: {listen: \"localhost:9090\"}\nlimits:", `29:19: metrics.listen: "localhost:9090": ADDRESS:PORT`},
		"metrics, switch":       {"limits:", "metrics: true\nlimits:", `29:10: metrics: a mapping of keys`},
		"audit log, nowhere":    {"limits:", "audit_log: {required: true}\nlimits:", `29:1: audit_log.destination: this field is required`},
		"audit log, a text":     {"limits:", "audit_log: {destination: a, required: maybe}\nlimits:", `29:39: audit_log.required: true or false is needed here, and there is a text`},
		"audit log, empty":      {"limits:", "audit_log: {destination: ''}\nlimits:", `29:26: audit_log.destination: stdout, stderr or the path`},
		"audit log, gate":       {"limits:", "audit_log: {destination: a, gate: ''}\nlimits:", `29:35: audit_log.gate: a gate's name has`},
		"log level":             {"limits:", "log: {level: loud}\nlimits:", `29:14: log.level: "loud" is none of`},
		"log format":            {"limits:", "log: {format: xml}\nlimits:", `29:15: log.format: "xml" is neither`},
		"anchor":                {"name: frankfurt", "name: &a frankfurt", `14:9: primary.name: anchors, aliases and tags are not used`},
		"tag":                   {"name: frankfurt", "name: !!str 5", `14:9: primary.name: anchors, aliases and tags are not used`},
		"merge":                 {"  name: frankfurt", "  <<: {name: frankfurt}", `14:3: primary.<<: anchors, aliases and tags`},
		"key twice":             {"  title: Frankfurt", "  name: paris\n  title: Frankfurt", `15:3: mapping key "name" already defined`},
		"tab":                   {"  sqlite", "\tsqlite", `10:1: `},
		"two documents":         {"limits:", "---\nlimits:", `29:1: a second document begins here`},
		"plain-text switch":     {"limits:", "insecure_skip_verify: true\nlimits:", `29:1: insecure_skip_verify: each channel is authenticated and encrypted, and there is no setting for it (MPIC-08)`},
		"lower quorum":          {"attempt: 30s", "quorum: 1", `30:3: limits.quorum: the quorum, the counts and the checks come from the rules of the day`},
		"fewer remotes":         {"attempt: 30s", "min_remotes: 2", `30:3: limits.min_remotes: the quorum`},
		"no CAA":                {"limits:", "skip_caa: true\nlimits:", `29:1: skip_caa: the quorum, the counts and the checks`},
		"another root":          {"  title: Frankfurt", "  root_hints: hints\n  title: Frankfurt", `15:3: primary.root_hints: the ports, the DNS root`},
		"another port":          {"limits:", "http_port: 5002\nlimits:", `29:1: http_port: the ports, the DNS root`},
		"reserved addresses":    {"limits:", "allow-reserved: true\nlimits:", `29:1: allow-reserved: the ports`},
		"another clock":         {"limits:", "now: 2020-01-01\nlimits:", `29:1: now: the ports`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodGate, c.old)
			_, err := ParseGate("quorate.yaml", []byte(strings.Replace(goodGate, c.old, c.new, 1)))
			require.Error(t, err)
			require.Contains(t, err.Error(), c.want)
			require.Regexp(t, `^quorate\.yaml:\d+:\d+: `, err.Error())
			require.NotContains(t, err.Error(), "hunter2", "what may be a secret is not repeated")
		})
	}
}

// TestNoWayToSwitchDNSSECOff: whatever other software calls it, and wherever it stands.
//
// Holds: DCV-09
func TestNoWayToSwitchDNSSECOff(t *testing.T) {
	for _, line := range []string{"dnssec: false", "dnssec: true", "dnssec: {validation: off}", "disable_dnssec: true", "DNSSEC-Validation: no",
		"dnssec_enable: no", "no_dnssec: true", "negative_trust_anchors: [example.com]", "negative-trust-anchor: example.com", "nta: [example.com]",
		"validate-except: [example.com]", "domain-insecure: example.com", "insecure_domains: []", "permissive_mode: true",
		"val-permissive-mode: yes", "ignore-cd-flag: yes", "dnssec_exceptions:\n- example.com", "checking_disabled: true"} {
		t.Run(line, func(t *testing.T) {
			_, err := ParseGate("quorate.yaml", []byte(goodGate+line+"\n"))
			require.ErrorContains(t, err, "quorate.yaml:31:1: ")
			require.ErrorContains(t, err, "DNSSEC validation is always on, for every zone")
			require.ErrorContains(t, err, "(DCV-09)")
			_, err = ParsePerspective("perspective.yaml", []byte(goodPerspective+line+"\n"))
			require.ErrorContains(t, err, "(DCV-09)")
		})
	}
	nested := strings.Replace(goodGate, "    resolver: {region: ARIN,", "    resolver: {dnssec: off, region: ARIN,", 1)
	_, err := ParseGate("quorate.yaml", []byte(nested))
	require.ErrorContains(t, err, "26:16: perspectives[0].resolver.dnssec: DNSSEC validation is always on")
}

func TestPerspectiveMistakes(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no gate":        {"gates:\n  - name: gate\n    tls_key: \"" + digest + "\"", "gates: []", `5:8: gates: one gate at least is needed`},
		"missing pin":    {"\n    tls_key: \"" + digest + "\"", "", `6:5: gates[0].tls_key: this field is required`},
		"bad pin":        {digest, "abc", `7:14: gates[0].tls_key: the SHA-256 of the gate's public TLS key is needed`},
		"upstream":       {"listen:", "upstream_resolver: resolver.example\nlisten:", `2:20: upstream_resolver: "resolver.example" is no IP address of a resolver`},
		"metrics":        {"gates:", "metrics: {listen: \"9090\"}\ngates:", `5:19: metrics.listen: "9090": ADDRESS:PORT`},
		"unknown key":    {"listen:", "lissen:", `2:1: lissen: unknown key; known here: gates, limits, listen, log, metrics, name,`},
		"no signing key": {"signing_key: signing-key.pem\n", "", `1:1: signing_key: this field is required`},
		"long check":     {"gates:", "limits: {check: 10m}\ngates:", `5:17: limits.check: 10m0s is not between 100ms and 2m0s`},
		"name":           {"name: ashburn", "name: Ash Burn", `1:7: name: "Ash Burn": a name is`},
		"roots":          {"gates:", "root_hints: x\ngates:", `5:1: root_hints: the ports, the DNS root`},
		"in flight":      {"  - name: gate", "  - in_flight: 9999\n    name: gate", `6:16: gates[0].in_flight: 9999 is not between 1 and 4096`},
		"no rate":        {"  - name: gate", "  - rate: 0\n    name: gate", `6:11: gates[0].rate: 0 probes in a second are not between 0.01 and 100000`},
		"rate":           {"  - name: gate", "  - rate: 100001\n    name: gate", `6:11: gates[0].rate: 100001 probes in a second`},
		"no number":      {"  - name: gate", "  - rate: .nan\n    name: gate", `6:11: gates[0].rate: a number is needed here`},
		"burst alone":    {"  - name: gate", "  - burst: 5\n    name: gate", `6:12: gates[0].burst: a burst needs a rate beside it`},
		"burst":          {"  - name: gate", "  - burst: 0\n    rate: 1.5\n    name: gate", `6:12: gates[0].burst: 0 is not between 1 and 1000000`},
		"places":         {"gates:", "limits: {in_flight: 70000}\ngates:", `5:21: limits.in_flight: 70000 is not between 1 and 65536`},
		"too few places": {"gates:\n", "limits: {in_flight: 5}\ngates:\n  - {name: b, tls_key: \"" + otherSum + "\", in_flight: 5}\n", `7:3: gates: the gates need 6 places for probes, and limits.in_flight gives 5`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodPerspective, c.old)
			_, err := ParsePerspective("perspective.yaml", []byte(strings.Replace(goodPerspective, c.old, c.new, 1)))
			require.ErrorContains(t, err, "perspective.yaml:"+c.want)
		})
	}
	p, err := ParsePerspective("perspective.yaml", []byte(goodPerspective+"    in_flight: 128\n    rate: 2.5\n    burst: 20\nlimits: {in_flight: 256}\n"))
	require.NoError(t, err)
	require.Equal(t, GatePin{Name: "gate", TLSKey: digest, InFlight: 128, Rate: 2.5, Burst: 20}, p.Gates[0])
	require.Equal(t, 256, p.Limits.InFlight)
	twice := goodPerspective + "  - name: second\n    tls_key: \"" + digest + "\"\n"
	_, err = ParsePerspective("perspective.yaml", []byte(twice))
	require.ErrorContains(t, err, "gates[1]: its name or its key is another gate's already")
}

func TestAllMistakesAreTold(t *testing.T) {
	text := strings.NewReplacer("region: RIPE NCC", "region: Mars", "https://a", "http://a", digest+"\"\nidentity", otherSum+"\"\nidentity").Replace(goodGate)
	_, err := ParseGate("quorate.yaml", []byte(text))
	require.ErrorContains(t, err, "16:11")
	require.ErrorContains(t, err, "22:10")
	require.Less(t, strings.Index(err.Error(), "16:11"), strings.Index(err.Error(), "22:10"), "in the order of the file")
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	_, err := LoadGate(filepath.Join(dir, "absent.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = LoadGate(dir)
	require.ErrorContains(t, err, "is no file of at most")
	large := filepath.Join(dir, "large.yaml")
	require.NoError(t, os.WriteFile(large, make([]byte, maxFile+1), 0o600))
	_, err = LoadPerspective(large)
	require.ErrorContains(t, err, "is no file of at most")
	for name, text := range map[string]string{"empty": "", "comment alone": "# nothing\n", "list": "- a\n", "text": "hello\n", "null": "null\n"} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseGate("q.yaml", []byte(text))
			require.ErrorContains(t, err, "q.yaml:1:1: ")
		})
	}
}

// FuzzParseGate: no text makes the reader panic, and none that it takes lacks what a gate needs.
func FuzzParseGate(f *testing.F) {
	f.Add([]byte(goodGate))
	f.Add([]byte(goodPerspective))
	f.Add([]byte("a: [{b: &x [*x]}]\n---\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := ParseGate("q.yaml", text)
		if err == nil {
			require.NotEmpty(t, g.Issuers)
			require.NotEmpty(t, g.Clients)
			require.NotEmpty(t, g.Journal.SQLite)
		}
	})
}

// TestForbiddenWordsAreNoFields: a word that is refused everywhere must not be the name of a field that is needed.
func TestForbiddenWordsAreNoFields(t *testing.T) {
	var walk func(of reflect.Type, path string)
	walk = func(of reflect.Type, path string) {
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct {
			return
		}
		for i := range of.NumField() {
			key := of.Field(i).Tag.Get("yaml")
			require.NotEmpty(t, key, "%s.%s", of, of.Field(i).Name)
			for _, f := range forbidden {
				require.NotContains(t, f.words, bareKey(key), path)
				for _, part := range f.parts {
					require.NotContains(t, bareKey(key), part, path)
				}
			}
			walk(of.Field(i).Type, join(path, key))
		}
	}
	walk(reflect.TypeFor[Gate](), "")
	walk(reflect.TypeFor[Perspective](), "")
	walk(reflect.TypeFor[WitnessServer](), "")
}

// TestPlacesAreThoseThatRunAndThoseThatWait, where one of both is not configured too.
func TestPlacesAreThoseThatRunAndThoseThatWait(t *testing.T) {
	for limits, want := range map[GateLimits]int{{}: mpic.DefaultMaxInFlight + mpic.DefaultMaxWaiting, {InFlight: 8}: 8 + mpic.DefaultMaxWaiting,
		{Waiting: 3}: mpic.DefaultMaxInFlight + 3, {InFlight: 8, Waiting: 3}: 11} {
		require.Equal(t, want, limits.Places())
	}
}

// TestAddressesOfDatabasesAreWhole: one that leaves something out would be completed by whatever the environment has, or the user's name be the
// database's, and the records be elsewhere.
//
// Holds: REC-05
func TestAddressesOfDatabasesAreWhole(t *testing.T) {
	t.Setenv("PGDATABASE", "elsewhere")
	for address, missing := range map[string]string{
		"postgres://gate@db.internal:5432/quorate":                   "",
		"postgresql://gate@db1,db2/quorate?target_session_attrs=any": "",
		"postgres://gate@db1:5432,db2:5433/quorate":                  "",
		"postgres://gate@db1:5432,db2:5433/":                         "database",
		"postgres://gate@db1:5432,db2:5433?database=quorate":         "",
		"postgres:///?host=db1,db2&user=gate&dbname=quorate":         "",
		"postgres://gate@/quorate?host=%2Frun%2Fpostgresql":          "",
		"postgres:///?user=gate&host=db&database=quorate":            "",
		"host=db user=gate dbname=quorate":                           "",
		"postgres://gate@db.internal:5432":                           "database",
		"postgres://gate@db.internal:5432/":                          "database",
		"postgres://gate@db.internal:5432/?dbname=":                  "database",
		"postgres://db.internal/quorate":                             "user",
		"postgres://gate@/quorate":                                   "host",
		"host=db user=gate":                                          "database",
		"host=db dbname=quorate":                                     "user",
		"user=gate dbname=quorate sslmode=verify-full":               "host",
	} {
		t.Run(address, func(t *testing.T) {
			_, err := ParseGate("quorate.yaml", []byte(strings.Replace(goodGate, "sqlite: records.db", "postgres: \""+address+"\"", 1)))
			if missing == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "journal.postgres: the address names no "+missing)
		})
	}
}

// TestPasswordsStandInNoAddress, however they are written there.
//
// Holds: REC-06
func TestPasswordsStandInNoAddress(t *testing.T) {
	for _, address := range []string{"postgres://gate:hunter2@db/quorate", "postgres://gate:hunter%32@db/quorate", "postgres://gate@db/quorate?password=hunter2",
		"postgresql://gate:hunter2@db1:1,db2:2/quorate", "host=db user=gate dbname=quorate password=hunter2",
		"host=db user=gate dbname=quorate password = hunter2", "postgres://gate@db/quorate?%70assword=hunter2"} {
		t.Run(address, func(t *testing.T) {
			_, err := ParseGate("quorate.yaml", []byte(strings.Replace(goodGate, "sqlite: records.db", "postgres: \""+address+"\"", 1)))
			require.ErrorContains(t, err, "the password does not stand here")
			require.NotContains(t, err.Error(), "hunter")
		})
	}
}
