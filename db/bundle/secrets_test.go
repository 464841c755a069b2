package bundle_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// Holds: REC-04
func TestREC_04_WithoutSecretsNothingShowsATokenAndTheHashesHold(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	whole, _ := w.export(t, bundle.Config{})
	require.NotEmpty(t, traces(t, whole), "the search finds the token where it is")
	file, m := w.export(t, bundle.Config{WithoutSecrets: true})
	require.False(t, m.Secrets)
	require.Empty(t, traces(t, file))
	require.Greater(t, len(whole), len(file))

	var withheld []string
	sum, found := w.verify(t, file, func(c *db.VerifyConfig) {
		c.Record = func(r db.Record, v audit.Verdict) {
			for _, f := range v.Withheld {
				withheld = append(withheld, fmt.Sprintf("%d %s %s %s", r.Number, f.Check, f.Perspective, f.Detail))
			}
		}
	})
	require.Empty(t, found)
	require.EqualValues(t, 6, sum.Records)
	require.EqualValues(t, 5, sum.Withheld, "all but the open one have a decision")
	require.Contains(t, withheld, "1 decision  not judged again: its tokens are withheld")
	require.Contains(t, withheld, "1 signature ashburn not judged again: its tokens are withheld")

	// What does not depend on the token is still held together: a decision that says something else of CAA does not hold.
	record := func(t *testing.T, s string) {
		t.Helper()
		all := unpack(t, file)
		i := slices.IndexFunc(all, func(p part) bool { return p.name == s })
		all[i].octets = slices.Concat(all[i].octets[:len(all[i].octets)-3], []byte("xyz"))
		_, found := w.verify(t, consistent(t, all, m))
		require.NotEmpty(t, found)
	}
	// So does a permit: the digest that it names is the evidence's.
	all := unpack(t, file)
	less := slices.DeleteFunc(all, func(p part) bool { return strings.HasPrefix(p.name, "attempts/5/") })
	fewer := m
	fewer.Selected = "1-4,6"
	fewer.Counts.Attempts--
	_, found = w.verify(t, consistent(t, less, fewer))
	require.Contains(t, strings.Join(found, "\n"), "example.org rests on record 5, on which nothing may rest")
	record(t, "attempts/1/decision.json.zst")
	record(t, "attempts/1/decision.proof")
}

// traces gives the members in which the token stands in any form.
func traces(t testing.TB, file []byte) (names []string) {
	t.Helper()
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	shows := func(text string) bool {
		for shift := range 3 {
			encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + token))
			if strings.Contains(text, encoded[4:24]) {
				return true
			}
		}
		return strings.Contains(text, token) || strings.Contains(strings.ToLower(text), hex.EncodeToString([]byte(token)))
	}
	// Each run of base64 is decoded as well, from each of its first four characters on.
	var encoded func(text string, depth int) bool
	encoded = func(text string, depth int) bool {
		if shows(text) {
			return true
		}
		if depth == 0 {
			return false
		}
		for _, run := range strings.FieldsFunc(text, func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_", r)
		}) {
			run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
			for from := 0; from < 4 && from+24 < len(run); from++ {
				part := run[from : from+(len(run)-from)/4*4]
				if octets, err := base64.StdEncoding.DecodeString(part); err == nil && encoded(string(octets), depth-1) {
					return true
				}
			}
		}
		return false
	}
	if shows(string(file)) {
		names = append(names, "the file")
	}
	for _, p := range unpack(t, file) {
		text := p.octets
		if strings.HasSuffix(p.name, ".zst") {
			text, err = d.DecodeAll(p.octets, nil)
			require.NoError(t, err)
		}
		if encoded(string(text), 2) {
			names = append(names, p.name)
		}
	}
	return names
}

// Replies whose octets do not survive as JSON are kept as they were received, in base64; they leave the document as a whole.
//
// Holds: REC-04
func TestREC_04_RepliesOfAnotherFormAreWithheldAsAWhole(t *testing.T) {
	w := populate(t, sqlite(t, nil))
	e := dbtest.Evidence(t, dbtest.Attempt("EIGHT", "example.info", mpic.Issuance))
	b64 := base64.RawURLEncoding.EncodeToString
	payload := `{ "url" : "http://example.info/` + token + `" }`
	e.Remotes[0] = mpic.Attestation{Perspective: e.Remotes[0].Perspective, State: mpic.Rejected, Problem: e.Remotes[0].Problem,
		Signed: b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(payload)) + ".AAAA", Asked: e.Remotes[0].Asked, Closed: e.Remotes[0].Closed}
	dbtest.Silent(&e, 1, mpic.Rejected)
	e.Remotes[1].Signed = b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(payload))
	e.Remotes[0].Problem = e.Remotes[1].Problem
	dbtest.Record(t, w.store, e)
	require.NoError(t, w.publisher.Publish(t.Context()))
	selection := bundle.Selection{Filter: db.Filter{Name: "example.info"}}
	whole, _ := w.export(t, bundle.Config{Selection: selection})
	_, found := w.verify(t, whole)
	require.Empty(t, found)
	file, _ := w.export(t, bundle.Config{Selection: selection, WithoutSecrets: true})
	require.Empty(t, traces(t, file))
	sum, found := w.verify(t, file)
	require.Empty(t, found)
	require.EqualValues(t, 1, sum.Withheld)
}

// Tokens that are kept as digests alone are in no bundle.
//
// Holds: REC-04
func TestREC_04_TokenDigestsAreInNoBundle(t *testing.T) {
	s := sqlite(t, func(c *db.Config) { c.TokenDigests = true })
	e := dbtest.Evidence(t, dbtest.Attempt("ONE", "example.com", mpic.Issuance))
	dbtest.Record(t, s, e)
	var out bytes.Buffer
	_, err := bundle.Write(t.Context(), s, &out, bundle.Config{Unsigned: true, Created: created})
	require.NoError(t, err)
	require.Empty(t, traces(t, out.Bytes()))

	// The database verifies as far as it goes, permits upon such evidence too.
	dbtest.Issue(t, s, dbtest.Clock()().Add(20*time.Second), "example.com")
	sum, err := s.Verify(t.Context(), db.VerifyConfig{Depth: db.DepthDecisions, Finding: func(f db.Finding) { t.Errorf("%+v", f) }})
	require.NoError(t, err)
	require.EqualValues(t, 1, sum.Withheld)
	require.EqualValues(t, 1, sum.Permits)
}
