package perspective

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// Holds: CAA-06
func TestDecodeProbeTakesWhatAGateSends(t *testing.T) {
	for _, rule := range []va.FailureRule{va.DenyFailure, va.PermitProvenFailure} {
		want := newProbe()
		want.CAALookupFailure = rule
		got, p := decodeProbe(marshal(t, want), time.Now())
		require.Nil(t, p)
		require.Equal(t, rule, got.CAALookupFailure)
		require.Equal(t, want.Digest(), got.Digest(), "both sides make the same digest")
	}
}

// Holds: CAA-05
func TestDecodeProbeTakesOneForCAAAlone(t *testing.T) {
	want := newProbe()
	want.CAAAlone = true
	want.Request.Token, want.Request.KeyAuthorization, want.Request.TokenCreated = "", "", time.Time{}
	got, p := decodeProbe(marshal(t, want), time.Now())
	require.Nil(t, p)
	require.True(t, got.CAAAlone)
	require.Equal(t, want.Digest(), got.Digest())
	want.CAAAlone = false
	require.NotEqual(t, want.Digest(), got.Digest())
	_, p = decodeProbe(marshal(t, want), time.Now())
	require.NotNil(t, p)
	require.Equal(t, "request.token", p.Code)
}

// Holds: MPIC-08, MPIC-09, CAA-06
func TestDecodeProbeRefuses(t *testing.T) {
	now := time.Now()
	cases := []struct {
		name   string
		edit   func(probe, request map[string]any)
		code   string
		field  string
		detail string
	}{
		{"unknown member", func(p, _ map[string]any) { p["skip_caa"] = true }, "request.malformed", "", `unknown field "skip_caa"`},
		{"unknown member of the request", func(_, r map[string]any) { r["port"] = 80 }, "request.malformed", "", `unknown field "port"`},
		{"unknown rule for failures", func(p, _ map[string]any) { p["caa_lookup_failure"] = "permit" }, "request.malformed", "", `"permit" is no rule`},
		{"number for such a rule", func(p, _ map[string]any) { p["caa_lookup_failure"] = 1 }, "request.malformed", "", "caa_lookup_failure: JSON value must be string"},
		{"such a rule in the request", func(_, r map[string]any) { r["caa_lookup_failure"] = "permit-when-proven" }, "request.malformed", "",
			`unknown field "caa_lookup_failure"`},
		{"CAA alone with a challenge", func(p, _ map[string]any) { p["caa_alone"] = true }, "request.token", "request.token", "has no token"},
		{"CAA alone by a word", func(p, _ map[string]any) { p["caa_alone"] = "yes" }, "request.malformed", "", "caa_alone: a JSON string"},
		{"CAA alone in the request", func(_, r map[string]any) { r["caa_alone"] = true }, "request.malformed", "", `unknown field "caa_alone"`},
		{"wrong type", func(p, _ map[string]any) { p["nonce"] = 7 }, "request.malformed", "", "nonce: a JSON number"},
		{"wrong type in the request", func(_, r map[string]any) { r["issuers"] = "ca.example" }, "request.malformed", "", "request.issuers: a JSON string"},
		{"unknown method", func(_, r map[string]any) { r["method"] = "http-02" }, "request.malformed", "", `"http-02" is no method`},
		{"no method", func(_, r map[string]any) { delete(r, "method") }, "request.method", "request.method", "none of http-01"},
		{"no request", func(p, _ map[string]any) { delete(p, "request") }, "request.method", "request.method", "none of http-01"},
		{"reserved name", func(_, r map[string]any) { r["identifier"] = "localhost" }, "", "request.identifier", "localhost"},
		{"issuers are null", func(_, r map[string]any) { r["issuers"] = nil }, "request.issuers", "request.issuers", "no issuer domain name"},
		{"no attempt", func(p, _ map[string]any) { delete(p, "attempt") }, "request.attempt", "attempt", "attempt: "},
		{"line break in the attempt", func(p, _ map[string]any) { p["attempt"] = "a\nb" }, "request.attempt", "attempt", "attempt: "},
		{"line break behind the attempt", func(p, _ map[string]any) { p["attempt"] = "a\n" }, "request.attempt", "attempt", "attempt: "},
		{"long attempt", func(p, _ map[string]any) { p["attempt"] = strings.Repeat("a", 129) }, "request.attempt", "attempt", "attempt: "},
		{"no nonce", func(p, _ map[string]any) { delete(p, "nonce") }, "request.nonce", "nonce", "nonce: "},
		{"short nonce", func(p, _ map[string]any) { p["nonce"] = "0a" }, "request.nonce", "nonce", "nonce: "},
		{"no deadline", func(p, _ map[string]any) { delete(p, "deadline") }, "request.deadline", "deadline", "has passed"},
		{"deadline passed", func(p, _ map[string]any) { p["deadline"] = now }, "request.deadline", "deadline", "has passed"},
		{"deadline far ahead", func(p, _ map[string]any) { p["deadline"] = now.Add(maxAhead + time.Second) }, "request.deadline", "deadline", "more than 10m0s ahead"},
		{"deadline is no time", func(p, _ map[string]any) { p["deadline"] = "soon" }, "request.malformed", "", "soon"},
		{"member in capitals", func(p, _ map[string]any) { p["Nonce"] = p["nonce"] }, "request.malformed", "", `unknown field "Nonce"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var m map[string]any
			require.NoError(t, json.Unmarshal(marshal(t, newProbe()), &m))
			c.edit(m, m["request"].(map[string]any))
			got, p := decodeProbe(marshal(t, m), now)
			require.NotNil(t, p)
			require.Equal(t, 400, p.Status)
			require.Equal(t, c.field, p.Field)
			require.Contains(t, p.Detail, c.detail)
			require.NotEmpty(t, p.Code)
			if c.code != "" {
				require.Equal(t, c.code, p.Code)
			}
			require.Zero(t, got)
		})
	}
}

func TestDecodeStrictRefuses(t *testing.T) {
	good := string(marshal(t, newProbe()))
	cases := []struct{ name, text, want string }{
		{"nothing", "", "ends too early"},
		{"half", good[:len(good)/2], "ends too early"},
		{"trailing data", good + "{}", "something follows"},
		{"trailing garbage", good + "x", "something follows"},
		{"no JSON", "GET / HTTP/1.1", "invalid character"},
		{"an array", "[" + good + "]", "a JSON array stands"},
		{"a member twice", strings.Replace(good, `"nonce":`, `"nonce":"x","nonce":`, 1), "nonce: stands twice"},
		{"a member twice in the request", strings.Replace(good, `"token":`, `"token":"x","token":`, 1), "token: stands twice"},
		{"a folded letter", strings.Replace(good, `"token"`, `"to`+"\u212a"+`en"`, 1), "unknown field"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorContains(t, decodeStrict([]byte(c.text), &va.Probe{}), c.want)
		})
	}
	t.Run("one name in two objects of one array is fine", func(t *testing.T) {
		var v []struct {
			A int              `json:"a"`
			B []struct{}       `json:"b"`
			C *struct{ D int } `json:"c"`
		}
		require.NoError(t, decodeStrict([]byte(` [{"a":1,"b":[{},{}]},{"a":2,"c":{}},{"c":null,"a":3}] `), &v))
		require.Len(t, v, 3)
	})
}

// FuzzDecodeProbe: what is taken is bound, in time, and means the same when it is written again.
func FuzzDecodeProbe(f *testing.F) {
	now := born
	good := string(marshal(f, probeAt(born)))
	for _, seed := range []string{good, good + good, "{}", "null", "[]", strings.ToUpper(good), strings.Replace(good, "http-01", "dns-01", 1),
		strings.Replace(good, "www.", "*.", 1), strings.Replace(good, `"nonce"`, `"nonce":"","nonce"`, 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		probe, p := decodeProbe(body, now)
		if p != nil {
			require.Zero(t, probe)
			require.NotEmpty(t, p.Code)
			require.Equal(t, 400, p.Status)
			return
		}
		require.Nil(t, probe.Admit(now))
		require.True(t, probe.Deadline.After(now))
		require.NotEmpty(t, probe.Digest())
		again, p := decodeProbe(marshal(t, probe), now)
		require.Nil(t, p)
		require.Equal(t, probe.Digest(), again.Digest())
	})
}
