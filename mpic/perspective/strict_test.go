package perspective

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// A second reading, by encoding/json and a look at the octets, to compare with.

// decodePlainly does what decodeStrict does, and takes a little more: see takesNoMore.
func decodePlainly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON text")
	}
	return checkMembers(text)
}

// checkMembers takes a text that is known to be JSON, and refuses members that are named twice in one object or with
// other characters than those of this protocol's names. It looks at the octets alone: reports are long, and mostly strings.
func checkMembers(text []byte) error {
	type level struct {
		object, key bool     // key: a name is next
		seen        []string // the names of an object, few enough to look through
	}
	var open []level
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '{', '[':
			open = append(open, level{object: c == '{', key: c == '{'})
		case '}', ']':
			open = open[:len(open)-1]
		case ',':
			top := &open[len(open)-1]
			top.key = top.object
		case '"':
			end := endOfString(string(text), i+1)
			if len(open) > 0 && open[len(open)-1].key {
				top, name := &open[len(open)-1], string(text[i+1:end])
				if !plainName(name) {
					return fmt.Errorf("unknown field %q", name)
				}
				if slices.Contains(top.seen, name) {
					return fmt.Errorf("%s: stands twice in one object", name)
				}
				top.seen, top.key = append(top.seen, name), false
			}
			i = end
		}
	}
	return nil
}

// takesNoMore holds the two readings against each other: what decodeStrict takes, the other one takes and reads the same.
func takesNoMore[T any](t testing.TB, text []byte) (taken bool) {
	t.Helper()
	var got, want T
	if decodeStrict(text, &got) != nil {
		return false
	}
	require.NoError(t, decodePlainly(text, &want), "%s", text)
	require.Equal(t, want, got, "%s", text)
	return true
}

// namesNoMore does so for the names in any JSON, such as that of a report.
func namesNoMore(t testing.TB, text []byte) (taken bool) {
	t.Helper()
	if !jsontext.Value(text).IsValid() || plainNames(string(text)) != nil {
		return false
	}
	require.True(t, json.Valid(text), "%s", text)
	require.NoError(t, checkMembers(text), "%s", text)
	return true
}

// cutsTheSame holds the quick reading of a reply to the strict one: what the quick one takes, the strict one takes and reads the same.
func cutsTheSame(t testing.TB, text []byte) {
	t.Helper()
	if quick, taken := cutReply(text); taken {
		var strict reply
		require.NoError(t, decodeStrict(text, &strict), "%q", text)
		require.Equal(t, strict, quick, "%q", text)
	}
}

func allReadings(t testing.TB, text []byte) (taken int) {
	t.Helper()
	cutsTheSame(t, text)
	for _, took := range []bool{takesNoMore[va.Probe](t, text), takesNoMore[reply](t, text), takesNoMore[replyHeader](t, text), namesNoMore(t, text)} {
		if took {
			taken++
		}
	}
	return taken
}

// someTexts are what goes over the wire.
func someTexts(t testing.TB) (all [][]byte) {
	t.Helper()
	v := readVectors(t)
	for _, p := range v.Probes {
		all = append(all, []byte(p.Body))
	}
	for _, r := range v.Replies {
		all = append(all, []byte(r.Payload))
	}
	for _, k := range v.Keys.Signing {
		all = append(all, marshal(t, replyHeader{"EdDSA", k.Thumbprint, k.JWK, replyType}))
	}
	return append(all, []byte(`{"report":"a.b.c","sets":["AA==","AAAA",""]}`), []byte(`{ "report" : "" , "sets" : null }`),
		[]byte(`{"a":[{"b":{"c":"\\\""},"d":"\\"},"e:",":"],"f":":{\"x\":"}`))
}

// FuzzStrictReading: see allReadings.
func FuzzStrictReading(f *testing.F) {
	for _, text := range someTexts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) { allReadings(t, text) })
}

// A reply as it is written is taken apart without a library; changed in any octet, it is read otherwise, or as the library reads it.
//
// Holds: MPIC-08
func TestAReplyAsItIsWrittenIsTakenApart(t *testing.T) {
	for _, text := range []string{`{"report":"a.b-_.c","sets":["AA==","AAAA",""]}`, `{"report":"","sets":[]}`} {
		_, taken := cutReply([]byte(text))
		require.True(t, taken, "%s", text)
		for at := range text {
			for _, c := range []byte("\"\\,:{}[]0-. nA=\n\xff") {
				changed := []byte(text)
				changed[at] = c
				cutsTheSame(t, changed)
				cutsTheSame(t, slices.Insert([]byte(text), at, c))
			}
			cutsTheSame(t, []byte(text[:at]))
			cutsTheSame(t, []byte(text[:at]+text[at+1:]))
		}
	}
	id := newIdentity(t, "fra")
	sealer, err := newSealer(id)
	require.NoError(t, err)
	_, report := observed(t)
	body, err := sealer.reply(&report)
	require.NoError(t, err)
	read, taken := cutReply(body)
	require.True(t, taken)
	require.Len(t, read.Sets, len(report.Needs()))
	cutsTheSame(t, body)
}

// Nothing is taken that two readers could understand differently, in whatever way a text is altered.
//
// Holds: MPIC-08
func TestStrictReadingTakesNoMoreThanASecondReading(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 5))
	bits := []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, "\n", "\r", "\t", `null`, `true`, `0`, `1.0`, `1e3`, `""`, `{}`, `[]`, `"A==="`, `"AB=="`, `"AA"`, `"\ud800"`,
		"\xff", `"x":1,`, `"attempt":"x",`, `"Attempt":"x",`, `"\u0061ttempt":"x",`, `"report":"x",`, `"sets":[],`, `"alg":"none",`, `"2026-01-01T00:00:00,5Z"`,
		`"2026-01-01T24:00:00Z"`, `[1,2]`, `"a b":1,`, `"":1,`}
	taken, rounds := 0, 1500
	if testing.Short() {
		rounds = 150
	}
	for _, text := range someTexts(t) {
		require.Positive(t, allReadings(t, text), "%s", text)
		for range rounds {
			b, bit := bytes.Clone(text), bits[random.IntN(len(bits))]
			at := random.IntN(len(b))
			switch random.IntN(5) {
			case 0:
				b = slices.Insert(b, at, []byte(bit)...)
			case 1:
				b = slices.Delete(b, at, min(len(b), at+1+random.IntN(12)))
			case 2: // another value
				if i := bytes.IndexByte(b[at:], ':'); i >= 0 {
					from := at + i + 1
					to := from + max(0, bytes.IndexAny(b[from:], ",}"))
					b = slices.Replace(b, from, to, []byte(bit)...)
				}
			case 3: // a member before another one
				if i := bytes.IndexAny(b[at:], ",{"); i >= 0 {
					b = slices.Insert(b, at+i+1, []byte(bit)...)
				}
			case 4:
				b[at] = byte(random.Uint32())
			}
			taken += allReadings(t, b)
		}
	}
	require.Greater(t, taken, 100)
	t.Logf("%d readings of altered texts", taken)
}
