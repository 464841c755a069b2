package va

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The digest is of what is sent, which encoding/json writes: the two must never differ, in what they write and in what they refuse.
func TestTheCanonicalTextIsTheJSONForm(t *testing.T) {
	anyText := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "https://ca.example/acct/1?a=b&c=<d>", "\u2028\u2029\x7f\x00\ufffd", `"\`}))
	anyTime := rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 1e9).Draw(t, "nanoseconds"))
		return rapid.SampledFrom([]time.Time{{}, at, at.UTC(), at.In(time.FixedZone("", 3600)), at.In(time.FixedZone("", 30*3600)), now}).Draw(t, "time")
	})
	list := rapid.OneOf(rapid.Just[[]string](nil), rapid.SliceOf(anyText))
	number := rapid.Uint8Range(0, 4)
	rapid.Check(t, func(t *rapid.T) {
		p := Probe{Attempt: anyText.Draw(t, "attempt"), Nonce: anyText.Draw(t, "nonce"), Deadline: anyTime.Draw(t, "deadline"),
			Request: Request{Identifier: anyText.Draw(t, "identifier"), Method: Method(number.Draw(t, "method")), Token: anyText.Draw(t, "token"),
				KeyAuthorization: anyText.Draw(t, "key authorization"), KeyAuthorizationDigest: anyText.Draw(t, "digest"),
				TokenCreated: anyTime.Draw(t, "created"), AccountURI: anyText.Draw(t, "account"), AccountAliases: list.Draw(t, "aliases"),
				Issuers: list.Draw(t, "issuers"), CertificateType: CertificateType(number.Draw(t, "type"))},
			CAALookupFailure: FailureRule(number.Draw(t, "rule")), CAAAlone: rapid.Bool().Draw(t, "CAA"), DCVAlone: rapid.Bool().Draw(t, "DCV")}
		sameText(t, p)
	})
}

func sameText(t require.TestingT, p Probe) {
	want, refused := json.Marshal(p)
	got, err := p.Canonical()
	require.Equal(t, refused == nil, err == nil, "%v, %v", refused, err)
	if err == nil {
		require.Equal(t, string(want), string(got))
	} else {
		require.Empty(t, p.Digest())
	}
}

// A field that is added and not written would not be bound by the digest.
func TestEveryFieldOfAProbeIsInItsCanonicalText(t *testing.T) {
	var p Probe
	sameText(t, p)
	seen := map[string]bool{}
	var set func(v reflect.Value)
	set = func(v reflect.Value) {
		for i := range v.NumField() {
			switch f := v.Field(i); f.Interface().(type) {
			case string:
				f.SetString("text")
			case bool:
				f.SetBool(true)
			case time.Time:
				f.Set(reflect.ValueOf(now))
			case []string:
				f.Set(reflect.ValueOf([]string{"a", "b"}))
			case Method, FailureRule, CertificateType:
				f.SetUint(1)
			case Request:
				set(f)
				continue
			default:
				require.Fail(t, "a field of another type", "%s %s", v.Type().Field(i).Name, f.Type())
			}
			sameText(t, p)
			require.False(t, seen[p.Digest()], v.Type().Field(i).Name)
			seen[p.Digest()] = true
		}
	}
	set(reflect.ValueOf(&p).Elem())
}
