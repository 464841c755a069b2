package mpic

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The record holds a signed report as text that can be read and searched, and gives back the reply that was received, octet for
// octet; where the text would not survive, it holds the reply as it was received.
//
// Holds: MPIC-08, REC-01
func TestASignedReplyComesBackOctetForOctet(t *testing.T) {
	probe := attemptAt(december).Probe
	r := passing(t, probe, "tokyo")
	r.DCV.Fetches[0].Body += "<a href=\"x\">&\u2028\x00\xff"
	text, err := r.MarshalJSON()
	require.NoError(t, err)
	part := base64.RawURLEncoding.EncodeToString
	jws := func(payload string) string {
		return part([]byte(`{"alg":"EdDSA"}`)) + "." + part([]byte(payload)) + ".c2ln"
	}
	plainly, quoted := `"payload":{"`, `"signed":"`
	for name, c := range map[string]struct{ payload, form string }{
		"as we write it":        {string(text), plainly},
		"with white space":      {strings.Replace(string(text), ",", ", ", 1), quoted},
		"with a line feed":      {string(text) + "\n", quoted},
		"with < as itself":      {strings.Replace(string(text), `\u003c`, "<", 1), quoted},
		"with a line separator": {strings.Replace(string(text), `\u2028`, "\u2028", 1), quoted},
		"with / escaped":        {strings.Replace(string(text), "http://", `http:\/\/`, 1), plainly},
		"with a blank between":  {strings.Replace(string(text), `":`, `": `, 1), quoted},
		"with a blank in front": {strings.Replace(string(text), `"tokyo"`, `" tokyo"`, 1), plainly},
		"like punctuation":      {strings.Replace(string(text), `"tokyo"`, `", tokyo: \\\\\", \" "`, 1), plainly},
		"with a blank after \"": {strings.Replace(string(text), `"tokyo"`, `"\" tokyo \\"`, 1), plainly},
	} {
		t.Run(name, func(t *testing.T) {
			reply, err := ReadReply(jws(c.payload))
			require.NoError(t, err)
			require.NoError(t, reply.Supply(r.Sets))
			a := vet(Member{Name: "tokyo"}, Attestation{Perspective: "tokyo", State: Answered, Reply: reply})
			require.Equal(t, Answered, a.State, "%v", a.Problem)
			kept, err := json.Marshal(a)
			require.NoError(t, err)
			require.Contains(t, string(kept), c.form)
			slowly, err := a.marshal()
			require.NoError(t, err)
			require.Equal(t, string(slowly), string(kept), "in one pass as in several")
			within, err := json.Marshal(map[string]any{"late": []Attestation{a}})
			require.NoError(t, err)
			require.Contains(t, string(within), string(kept), "also within another document")
			var indented bytes.Buffer
			require.NoError(t, json.Indent(&indented, kept, "", "  "))
			for _, text := range []string{string(kept), compacted(t, indented.Bytes())} {
				var again Attestation
				require.NoError(t, json.Unmarshal([]byte(text), &again))
				require.Equal(t, jws(c.payload), again.Signed)
				require.True(t, again.Answers())
				require.NoError(t, again.Reply.Supply(r.Sets))
				require.Equal(t, a, again, "what Judge read is what the record gives back")
			}
		})
	}
	for name, signed := range map[string]string{
		"a padded header":   "e30=." + part(text) + ".c2ln",
		"a folded header":   "e3\n0." + part(text) + ".c2ln",
		"a loose signature": "e30." + part(text) + ".c2lo1",
		"a folded one":      "e30." + part(text) + ".c2l\nn",
	} {
		_, err := ReadReply(signed)
		require.Error(t, err, name)
	}
	for name, signed := range map[string]string{
		"no JWS":            "a.b",
		"four parts":        jws(string(text)) + ".x",
		"no base64url":      "e30.+++.c2ln",
		"padded":            "e30." + base64.URLEncoding.EncodeToString([]byte("{}")) + ".c2ln",
		"a line feed in it": "e30." + part(text)[:8] + "\n" + part(text)[8:] + ".c2ln",
		"loose bits":        "e30.e31.c2ln",
		"no report":         jws("{}"),
		"two reports":       jws(string(text) + string(text)),
		"broken UTF-8":      jws(strings.Replace(string(text), `"tokyo"`, "\"\xfftokyo\"", 1)),
		"a member twice":    jws(strings.Replace(string(text), `"nonce"`, `"nonce":"","nonce"`, 1)),
		"one in capitals":   jws(strings.Replace(string(text), `"nonce"`, `"Nonce"`, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadReply(signed)
			require.Error(t, err)
			b, err := json.Marshal(Attestation{Perspective: "tokyo", State: Rejected, Problem: noAnswer, Signed: signed})
			require.NoError(t, err)
			var again Attestation
			require.NoError(t, json.Unmarshal(b, &again), "a reply that was rejected is kept all the same")
			require.Equal(t, signed, again.Signed)
			require.Nil(t, again.Report)
			answered := strings.Replace(string(b), `"rejected"`, `"answered"`, 1)
			require.Error(t, json.Unmarshal([]byte(answered), &again))
		})
	}
}

func compacted(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, text))
	return b.String()
}

// What is read in one pass is JSON, and is what encoding/json reads in several; whatever stands there instead is left to that.
//
// Holds: MPIC-08, REC-01
func TestAnswersAreReadTheSameInOnePass(t *testing.T) {
	r := passing(t, attemptAt(december).Probe, "tokyo")
	text, err := r.MarshalJSON()
	require.NoError(t, err)
	part := base64.RawURLEncoding.EncodeToString
	reply, err := ReadReply(part([]byte(`{"alg":"EdDSA"}`)) + "." + part(text) + ".c2ln")
	require.NoError(t, err)
	require.NoError(t, reply.Supply(r.Sets))
	good, err := json.Marshal(vet(Member{Name: "tokyo"}, Attestation{Perspective: "tokyo", State: Answered, Reply: reply}))
	require.NoError(t, err)
	require.True(t, new(Attestation).readAnswer(good), "what we write")
	snippets := []string{`,"signed":{"protected":"`, `"}}`, `","payload":`, `,"signature":"`, `"signed":null,`, `"Signed":"x",`, `"report":null,`, `{`, `}`, `"`,
		`,`, `:`, ` `, `[]`, `\`, `"problem":{},`, `"state":"rejected",`, "\xff", `,"a":1`, `}}`, `}`}
	check := func(t *testing.T, b []byte) bool {
		var quick, slow Attestation
		if !quick.readAnswer(b) {
			return false
		}
		require.True(t, json.Valid(b), "%s", b)
		require.NoError(t, slow.readAny(b), "%s", b)
		require.Equal(t, slow, quick)
		return true
	}
	random, taken := rand.New(rand.NewPCG(4, 4)), 0
	payload := bytes.Index(good, []byte(`"payload":`)) + 20
	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	for range rounds {
		b := bytes.Clone(good)
		for range 1 + random.IntN(2) {
			at := random.IntN(payload)
			if random.IntN(3) == 0 {
				at = len(b) - random.IntN(40)
			}
			switch s := snippets[random.IntN(len(snippets))]; random.IntN(3) {
			case 0:
				b = slices.Insert(b, at, []byte(s)...)
			case 1:
				b = slices.Delete(b, at, min(len(b), at+1+random.IntN(12)))
			case 2: // a member before another one
				if i := bytes.IndexByte(b[at:], ','); i >= 0 {
					b = slices.Insert(b, at+i+1, []byte(s)...)
				}
			}
		}
		if check(t, b) {
			taken++
		}
	}
	t.Logf("%d of %d altered texts were read in one pass", taken, rounds)
	require.Positive(t, taken)
	require.Less(t, taken, rounds)
	for _, tail := range []string{`,"x":1}}`, `"},"x":1}`, `"} }`} {
		require.False(t, check(t, append(bytes.TrimSuffix(bytes.Clone(good), []byte(`"}}`)), tail...)), tail)
	}
}

// What settled takes is what encoding/json leaves as it is.
func FuzzSettled(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":" b"}`, `{"a": 1}`, `{"a":"\" b"}`, `{"a":"\\\\" }`, `{"a":"\\\\","b":", \\" c"}`, `["a", "b"]`, "[\"\u2028\"]", `[1 ,2]`, `["<"]`,
		`{"a":[1,2.5e3,true,null,"x y z"]}`, ` {}`, `{"a b":"c d"}`, `["\\\\\\" ",1]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) || !settled(string(text)) {
			return
		}
		again, err := json.Marshal(json.RawMessage(text))
		require.NoError(t, err)
		require.Equal(t, string(text), string(again))
	})
}
