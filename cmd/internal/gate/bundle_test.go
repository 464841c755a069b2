package gate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/va"
)

// Everything that a gate recorded of a real world holds in a bundle: signatures, decisions, and each DNS answer from the anchors down.
// Without its tokens all but what only they show still does.
//
// Holds: REC-04, REC-06, MPIC-12
func TestREC_04_BundlesProveDNSAnswersOffline(t *testing.T) {
	s := newSetup(t)
	key, err := merkle.GenerateLogKey("gate.example/log")
	require.NoError(t, err)
	verifier, err := note.NewVerifier(key.VerifierKey())
	require.NoError(t, err)
	memory, err := merkle.OpenMemory(filepath.Join(t.TempDir(), "memory"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, memory.Close()) })
	signer, err := merkle.NewSigner(merkle.SignerConfig{Key: key, Verifier: verifier, Memory: memory})
	require.NoError(t, err)
	publisher, err := s.gate.Store.NewPublisher(t.Context(), db.PublisherConfig{Signer: signer, Interval: time.Hour})
	require.NoError(t, err)

	var tokens []string
	var attempts int64
	for _, c := range []struct {
		name    string
		method  va.Method
		outcome string
	}{
		{"*.example.com", va.DNS01, "granted"}, {"unsigned.com", va.DNS01, "granted"}, {"example.org", va.HTTP01, "granted"},
		{"example.net", va.HTTP01, "refused"}, {"bogus-caa.com", va.HTTP01, "refused"},
	} {
		req := s.request(c.name, c.method)
		tokens = append(tokens, req.Token)
		if c.method == va.DNS01 {
			require.NoError(t, s.world.Set("_acme-challenge."+strings.TrimPrefix(c.name, "*."), dns.TypeTXT, req.Expected()))
		} else if c.outcome == "granted" {
			defer s.host(c.name).AddToken(req.Token, req.KeyAuthorization)()
		}
		_, reply := s.post(req)
		require.Equal(t, c.outcome, reply["outcome"], "%s: %v", c.name, reply["reasons"])
		attempts++
	}
	require.NoError(t, publisher.Close(t.Context()))

	export := func(c bundle.Config) []byte {
		var out bytes.Buffer
		c.Software, c.Created = "quorate test", time.Unix(1, 0)
		_, err := bundle.Write(t.Context(), s.gate.Store, &out, c)
		require.NoError(t, err)
		return out.Bytes()
	}
	var records []db.Record
	verify := func(file []byte, a audit.Auditor) (db.Verified, []db.Finding) {
		var found []db.Finding
		records = nil
		sum, _, err := bundle.Verify(t.Context(), bytes.NewReader(file), int64(len(file)),
			db.VerifyConfig{Auditor: a, LogKey: verifier, Finding: func(f db.Finding) { found = append(found, f) }, Record: func(r db.Record, v audit.Verdict) {
				records = append(records, r)
				for _, f := range v.Withheld {
					require.NotContains(t, f.Detail, "CAA was", "CAA is judged again without tokens")
				}
			}})
		require.NoError(t, err)
		return sum, found
	}
	whole := export(bundle.Config{})
	sum, found := verify(whole, s.auditor())
	require.Empty(t, found)
	require.Equal(t, attempts, sum.Records)
	require.GreaterOrEqual(t, sum.Replies, 20)
	require.GreaterOrEqual(t, sum.Lookups, 60)
	require.Zero(t, sum.Withheld)
	_, found = verify(whole, audit.Auditor{})
	require.NotEmpty(t, found, "IANA's anchors fit no key of this world")

	withheld := export(bundle.Config{WithoutSecrets: true})
	masked, found := verify(withheld, s.auditor())
	require.Empty(t, found)
	require.Equal(t, attempts, masked.Withheld)
	require.Equal(t, sum.Lookups, masked.Lookups, "DNS answers are proven all the same")
	for _, r := range records {
		if !strings.Contains(string(r.Decision), `"caa":"pass"`) {
			continue
		}
		for said, other := range map[string]string{`"caa":"pass"`: `"caa":"error"`, `"caa":{"quorum":"5/5"`: `"caa":{"quorum":"4/5"`} {
			if !strings.Contains(string(r.Decision), said) {
				continue
			}
			altered := json.RawMessage(strings.Replace(string(r.Decision), said, other, 1))
			require.NotEmpty(t, s.auditor().Verify(r.Evidence, altered, nil).Wrong, "record %d: %s", r.Number, said)
		}
	}
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	texts := [][]byte{withheld}
	for frame := withheld; ; { // each zstd frame begins with its magic number (RFC 8878 section 3.1.1)
		i := bytes.Index(frame, []byte{0x28, 0xb5, 0x2f, 0xfd})
		if i < 0 {
			break
		}
		frame = frame[i:]
		if err := d.Reset(bytes.NewReader(frame)); err == nil {
			var text bytes.Buffer
			_, _ = text.ReadFrom(d) // what follows the frame is none
			require.NotZero(t, text.Len())
			texts = append(texts, text.Bytes())
		}
		frame = frame[4:]
	}
	require.GreaterOrEqual(t, len(texts), int(2*attempts))
	for _, token := range tokens {
		for _, text := range texts {
			require.NotContains(t, string(text), token)
			for shift := range 3 {
				encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + token))
				require.NotContains(t, string(text), encoded[4:len(encoded)-4])
			}
		}
	}
	t.Logf("%d octets a record whole, %d without secrets, in files of %d records", len(whole)/int(attempts), len(withheld)/int(attempts), attempts)
}
