package va

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// keptOf is a report in the types whose tags say what its JSON form is.
func keptOf(r Report) keptReport {
	k := keptReport{plainReport: plainReport(r), DCV: keptDCV{plainDCV: plainDCV(r.DCV)}, CAA: keptCAA{plainCAA: plainCAA(r.CAA)},
		Shared: resolver.Shared{Start: r.Started}}
	keep := func(lookups []resolver.Lookup) (kept []resolver.Kept) {
		for _, l := range lookups {
			kept = append(kept, k.Keep(l))
		}
		return kept
	}
	k.DCV.Lookups, k.CAA.Lookups = keep(r.DCV.Lookups), keep(r.CAA.Lookups)
	for _, f := range r.CAA.Failures {
		k.CAA.Failures = append(k.CAA.Failures, keptFailure{plainFailure(f), k.Keep(f.Retry), k.Keep(f.DS), k.Keep(f.Control)})
	}
	return k
}

// chance fills a value with what may stand there: nothing, little or much, and characters that JSON escapes in every way.
func chance(random *rand.Rand, v reflect.Value) {
	texts := []string{"", "a", "example.com.", "\t\"\\\r\n", "<&>", "\x00\b\f\x1f\x7f", "é\u2028\u2029", "\xff\xfe", "a\xffb", "..."}
	switch v.Interface().(type) {
	case time.Time:
		t := time.Unix(random.Int64N(4e9), random.Int64N(1e9)).UTC()
		v.Set(reflect.ValueOf([]time.Time{{}, t, t.Truncate(time.Second), t.In(time.FixedZone("", 3600)),
			time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)}[random.IntN(5)]))
		return
	case Outcome, dnssec.Status:
		v.SetUint(1 + random.Uint64N(4))
		if random.IntN(200) == 0 {
			v.SetUint(random.Uint64N(7))
		}
		return
	case Method, FailureRule, CertificateType:
		v.SetUint(random.Uint64N(2))
		if random.IntN(20) == 0 {
			v.SetUint(random.Uint64N(7))
		}
		return
	case dnssec.Sets:
		return
	case []byte:
		b := make([]byte, random.IntN(40))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if len(b) > 0 || random.IntN(2) == 0 {
			v.SetBytes(b)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			chance(random, v.Field(i))
		}
	case reflect.Pointer:
		if v.SetZero(); random.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			chance(random, v.Elem())
		}
	case reflect.Slice:
		if v.SetZero(); random.IntN(3) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), random.IntN(4), 4))
			for i := range v.Len() {
				chance(random, v.Index(i))
			}
		}
	case reflect.Map:
		if v.SetZero(); random.IntN(3) > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range random.IntN(12) {
				value := reflect.New(v.Type().Elem()).Elem()
				chance(random, value)
				v.SetMapIndex(reflect.ValueOf(string(rune('a'+random.IntN(26)))+texts[random.IntN(3)]), value)
			}
		}
	case reflect.String:
		v.SetString(texts[random.IntN(len(texts))] + texts[random.IntN(len(texts))])
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 0)
	case reflect.Float64:
		v.SetFloat([]float64{0, 1.5, 0.001, 1e-7, 1e21, 123456789, 1e20, -3.25, random.Float64(), random.ExpFloat64() * 1e3}[random.IntN(10)])
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(random.Uint32N(3)) * uint64(random.Uint32N(100)))
	default:
		v.SetInt(random.Int64N(5) * random.Int64N(1e6) * (1 - 2*random.Int64N(2)))
	}
}

// The text of a report is what the tags of its types say, octet for octet, and refused where encoding/json refuses it.
//
// Holds: REC-04
func TestAReportIsWrittenAsItsTagsSay(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 1))
	written := 0
	for i := range 3000 {
		var r Report
		chance(random, reflect.ValueOf(&r).Elem())
		want, wrong := json.Marshal(keptOf(r))
		got, err := r.MarshalJSON()
		require.Equal(t, wrong == nil, err == nil, "%d: %v, %v", i, wrong, err)
		if err == nil {
			require.Equal(t, string(want), string(got))
			written++
		}
	}
	require.Greater(t, written, 1000)
	var r Report
	r.DCV.Outcome, r.CAA.Outcome = Pass, Pass
	for _, at := range []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 25*3600))} {
		r.Finished = at
		_, err := r.MarshalJSON()
		require.Error(t, err, "%s has no form", at)
	}
}

// What is read of a report's text is the report, and its text is the same again: whatever stands in it, but for octets that are no UTF-8.
//
// Holds: REC-01, REC-04
func TestAReportIsReadAsItWasWritten(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 8))
	read := 0
	for i := range 1000 {
		var r Report
		chance(random, reflect.ValueOf(&r).Elem())
		text, err := r.MarshalJSON()
		var again Report
		if err != nil || again.UnmarshalJSON(text) != nil { // an outcome or status that is none
			continue
		}
		read++
		second, err := again.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, strings.ReplaceAll(string(text), `\ufffd`, "\ufffd"), string(second), "%d", i)
		for _, side := range []*Report{&r, &again} {
			asKept(reflect.ValueOf(side).Elem())
		}
		require.Equal(t, r, again, "%d", i)
	}
	require.Greater(t, read, 300)
}

// asKept takes from a value what no record keeps: the zone of a time, octets that are no UTF-8, and whether there is nothing or an
// empty list.
func asKept(v reflect.Value) {
	if at, ok := v.Interface().(time.Time); ok {
		v.Set(reflect.ValueOf(at.UTC().Round(0)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			asKept(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			asKept(v.Elem())
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.SetZero()
		}
		for i := range v.Len() {
			asKept(v.Index(i))
		}
	case reflect.String:
		runes := []rune(v.String()) // each octet that is none becomes U+FFFD, as in JSON
		v.SetString(string(runes))
	}
}

// The text of a probe, of which its digest is made, is what the tags of its types say.
//
// Holds: MPIC-09
func TestAProbeIsWrittenAsItsTagsSay(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	written := 0
	for i := range 3000 {
		var p Probe
		chance(random, reflect.ValueOf(&p).Elem())
		want, wrong := json.Marshal(p)
		got, err := p.Text()
		require.Equal(t, wrong == nil, err == nil, "%d: %v, %v", i, wrong, err)
		require.Equal(t, wrong == nil, p.Digest() != "")
		if err == nil {
			require.Equal(t, string(want), string(got))
			written++
		}
	}
	require.Greater(t, written, 300)
	require.Less(t, written, 3000)
}

// readPlainly reads a report as encoding/json does.
func readPlainly(text []byte) (Report, error) {
	var k keptReport
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return Report{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Report{}, errors.New("something follows the JSON text")
	}
	r, err := k.restore()
	if err == nil {
		err = r.complete(k.Zones)
	}
	return r, err
}

// readsTheSame holds what is read to what encoding/json reads: it may refuse more, and takes nothing that encoding/json refuses or
// reads otherwise. What the reader for plain texts takes, the strict library must take as well.
func readsTheSame(t testing.TB, text []byte) (taken bool) {
	t.Helper()
	if quick, plain := readPlain(string(text)); plain {
		var strict keptReport
		require.NoError(t, jsonv2.Unmarshal(text, &strict, jsonv2.RejectUnknownMembers(true)), "%s", text)
		require.Equal(t, strict, *quick)
	}
	var got Report
	if err := got.UnmarshalJSON(text); err != nil {
		require.Zero(t, got)
		return false
	}
	want, err := readPlainly(text)
	require.NoError(t, err, "%s", text)
	require.Equal(t, want, got)
	return true
}

// FuzzReadingAReport: see readsTheSame.
func FuzzReadingAReport(f *testing.F) {
	for _, seed := range oddReports(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) { readsTheSame(t, text) })
}

// oddReports are texts of reports, of which not all can be read.
func oddReports(t testing.TB) (all [][]byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(6, 2))
	for len(all) < 40 {
		var r Report
		chance(random, reflect.ValueOf(&r).Elem())
		if text, err := r.MarshalJSON(); err == nil && len(text) < 8<<10 {
			all = append(all, text)
		}
	}
	return all
}

// A report as perspectives write them is read without a library, whatever members it has; one changed in any octet is read otherwise, or as
// the library reads it.
//
// Holds: MPIC-08, REC-04
func TestAReportAsItIsWrittenIsReadByTheQuickReader(t *testing.T) {
	r := whole()
	for _, l := range r.Lookups() {
		l.Started = r.Started // nothing is sent before
	}
	text, err := r.MarshalJSON()
	require.NoError(t, err)
	_, plain := readPlain(string(text))
	require.True(t, plain)
	require.True(t, readsTheSame(t, text))
	for _, odd := range []string{"é", "\x7f", "\b", "<"} {
		r.DCV.Observed = odd
		text, err := r.MarshalJSON()
		require.NoError(t, err)
		_, plain := readPlain(string(text))
		require.False(t, plain, "%q", odd)
		require.True(t, readsTheSame(t, text))
	}

	r = Report{}
	r.DCV.Outcome, r.CAA.Outcome = Pass, Fail
	r.CAA.Records = []string{`example.com.	3600	IN	CAA	0 issue "ca.example"`}
	r.DCV.Lookups = []resolver.Lookup{{Name: "example.com.", Type: "A", Status: dnssec.Secure, Chain: []resolver.Link{{Zone: ".", DS: []uint16{1},
		Result: dnssec.Secure}}, Proof: []dnssec.Stage{{Kind: dnssec.StageKeys, Zone: "."}}, Queries: []resolver.Query{{Server: "192.0.2.1:53",
		Transport: "udp", Response: []byte{1, 2, 3}}}}}
	text, err = r.MarshalJSON()
	require.NoError(t, err)
	_, plain = readPlain(string(text))
	require.True(t, plain)
	step := 1
	if testing.Short() {
		step = 11
	}
	for at := 0; at < len(text); at += step {
		for _, c := range []byte(`"\,:{}[]0-. nA`) {
			changed := bytes.Clone(text)
			changed[at] = c
			readsTheSame(t, changed)
		}
		readsTheSame(t, text[:at])
		readsTheSame(t, append(bytes.Clone(text[:at]), text[at+1:]...))
	}
}

// Holds: MPIC-08, REC-04
func TestAReportIsReadAsEncodingJSONReadsIt(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 3))
	var bits [][]byte
	for _, s := range []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, "\n", `null`, `true`, `0`, `1`, `-`, `.5`, `1e3`, `1.0`, `-0`, `1e400`, `""`, `{}`, `[]`,
		`"A==="`, `"AA=="`, `"AB=="`, `"AA"`, `"AA==\n"`, `"\ud800"`, "\xff", `"2026-01-01T00:00:00Z"`, `"2026-01-01T00:00:00,5Z"`, `"2026-1-1T0:0:0Z"`,
		`"2026-01-01T24:00:00Z"`, `"2026-01-01T00:00:60Z"`, `"2026-01-01T00:00:00+24:00"`, `99999999999999999999`, `"pass"`, `"Pass"`, `"secure"`, `,"outcome":"pass"`,
		`,"dcv":{}`, `"\u006f`, `,"x":1`, `[1,2]`} {
		bits = append(bits, []byte(s))
	}
	taken, rounds := 0, 400
	if testing.Short() {
		rounds = 40
	}
	for _, text := range oddReports(t) {
		if !readsTheSame(t, text) {
			continue
		}
		taken++
		for range rounds {
			changed := bytes.Clone(text)
			at, bit := random.IntN(len(changed)), bits[random.IntN(len(bits))]
			end := at + []int{0, 1, len(bit), random.IntN(30)}[random.IntN(4)]
			if random.IntN(2) == 0 { // a whole value in the place of another
				if at = bytes.IndexByte(changed[at:], ':') + at + 1; at > 0 {
					end = at + max(0, bytes.IndexAny(changed[at:], ",}"))
				}
			}
			changed = append(append(bytes.Clone(changed[:at]), bit...), changed[min(max(at, end), len(changed)):]...)
			if readsTheSame(t, changed) {
				taken++
			}
		}
	}
	require.Greater(t, taken, rounds)
	t.Logf("%d were taken", taken)
}
