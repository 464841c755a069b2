package boulder

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// exchanged writes what the Remote would: each question of a probe with its answer.
func exchanged(t testing.TB, p va.Probe, answers ...proto.Message) []mpic.Exchange {
	t.Helper()
	var out []mpic.Exchange
	asked := questions(p, 7)
	require.Len(t, answers, len(asked))
	for i, q := range asked {
		sent, err := written(q.sent)
		require.NoError(t, err)
		received, err := written(answers[i])
		require.NoError(t, err)
		out = append(out, mpic.Exchange{Target: "https://127.0.0.1:9397" + q.method, Sent: sent, Received: received,
			Started: time.Unix(1, 0).UTC(), Finished: time.Unix(2, 0).UTC()})
	}
	return out
}

// Holds: MPIC-08, F6
func TestReadOfWhatPasses(t *testing.T) {
	for _, method := range va.Methods() {
		p := probe(method, mpic.Issuance)
		x := exchanged(t, p, dcvPass(method), caaPass())
		s, err := Read(ashburn(), p, x)
		require.NoError(t, err)
		require.Equal(t, p.Digest(), s.Digest)
		require.Equal(t, va.Pass, s.DCV.Outcome, "%v", s.DCV.Problem)
		require.Equal(t, "example.com", s.DCV.Name)
		require.Equal(t, mpic.RIPE, s.DCV.Region, "Boulder's RIPE is the roster's RIPE NCC")
		require.Equal(t, "dadaist", s.CAA.Perspective)
		require.Equal(t, va.Pass, s.CAA.Outcome)
		require.Len(t, s.DCV.Seen, 1)

		text, err := json.Marshal(s)
		require.NoError(t, err)
		again, err := Read(ashburn(), p, x)
		require.NoError(t, err)
		other, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(text), string(other))
	}
	for kind, answer := range map[mpic.Kind]proto.Message{mpic.DCVAlone: dcvPass(va.DNS01), mpic.CAAAlone: caaPass()} {
		p := probe(va.DNS01, kind)
		s, err := Read(ashburn(), p, exchanged(t, p, answer))
		require.NoError(t, err)
		require.Equal(t, kind == mpic.DCVAlone, s.DCV != nil)
		require.Equal(t, kind == mpic.CAAAlone, s.CAA != nil)
	}
}

// The form is part of the record: it is the same each time, whatever protojson makes of it.
func TestTheFormOfAnExchangeIsFixed(t *testing.T) {
	got, err := written(dcvPass(va.DNS01))
	require.NoError(t, err)
	require.Equal(t, `{"records":[{"hostname":"example.com","resolverAddrs":["10.77.77.77:8343"]}],"perspective":"dadaist","rir":"RIPE"}`, got)
	sent := questions(probe(va.DNS01, mpic.CAAAlone), 7)
	got, err = written(sent[0].sent)
	require.NoError(t, err)
	require.Regexp(t, `^\{"identifier":\{"type":"dns","value":"example.com"\},"validationMethod":"dns-01","accountURIID":"7","authzID":"\d+"\}$`, got)
}

// F6: an answer without a problem is no pass by that alone.
//
// Holds: F6, C1, MPIC-10, MPIC-11
func TestF6_AnswersThatAreNoPass(t *testing.T) {
	many := func(n int) *vapb.ValidationResult {
		r := dcvPass(va.HTTP01)
		for len(r.Records) < n {
			r.Records = append(r.Records, r.Records[0])
		}
		return r
	}
	change := func(how func(*corepb.ValidationRecord)) *vapb.ValidationResult {
		r := dcvPass(va.HTTP01)
		how(r.Records[0])
		return r
	}
	told := func(kind, detail string) *vapb.ValidationResult {
		r := dcvPass(va.HTTP01)
		r.Problem = &corepb.ProblemDetails{ProblemType: kind, Detail: detail}
		return r
	}
	for name, c := range map[string]struct {
		answer  *vapb.ValidationResult
		outcome va.Outcome
		code    string
		detail  string
	}{
		"empty":                     {&vapb.ValidationResult{}, va.Error, "perspective.garbage", "no validation record"},
		"a name and a region":       {&vapb.ValidationResult{Perspective: "dadaist", Rir: "RIPE"}, va.Error, "perspective.garbage", "no validation record"},
		"an empty record":           {&vapb.ValidationResult{Records: []*corepb.ValidationRecord{{}}}, va.Error, "perspective.garbage", `is of ""`},
		"another name":              {change(func(r *corepb.ValidationRecord) { r.Hostname = "other.com" }), va.Error, "perspective.garbage", "other.com"},
		"another name's URL":        {change(func(r *corepb.ValidationRecord) { r.Url = "http://other.com/x" }), va.Error, "perspective.garbage", "was to be fetched"},
		"no URL":                    {change(func(r *corepb.ValidationRecord) { r.Url = "" }), va.Error, "perspective.garbage", "URL"},
		"no port":                   {change(func(r *corepb.ValidationRecord) { r.Port = "" }), va.Error, "perspective.garbage", "no port"},
		"no address used":           {change(func(r *corepb.ValidationRecord) { r.AddressUsed = nil }), va.Error, "perspective.garbage", "no address used"},
		"an address that is none":   {change(func(r *corepb.ValidationRecord) { r.AddressUsed = []byte("x") }), va.Error, "perspective.garbage", "no address used"},
		"an unresolved address":     {change(func(r *corepb.ValidationRecord) { r.AddressesResolved = nil }), va.Error, "perspective.garbage", "not resolved"},
		"1000 records":              {many(1000), va.Error, "perspective.garbage", "1000 validation records"},
		"a problem without type":    {told("", "x"), va.Error, "perspective.garbage", "without type"},
		"a problem without detail":  {told("caa", ""), va.Error, "perspective.garbage", "without type or detail"},
		"a problem of another type": {told("lottery", "you won"), va.Error, "perspective.garbage", "lottery"},
		"unauthorized":              {told("unauthorized", "Incorrect TXT record"), va.Fail, "boulder.unauthorized", "ashburn says: Incorrect TXT record"},
		"caa":                       {told("caa", "CAA record prevents"), va.Fail, "boulder.caa", "prevents"},
		"tls":                       {told("tls", "remote error"), va.Fail, "boulder.tls", "remote error"},
		"connection":                {told("connection", "Timeout"), va.Error, "boulder.connection", "Timeout"},
		"dns":                       {told("dns", "SERVFAIL"), va.Error, "boulder.dns", "SERVFAIL"},
		"serverInternal":            {told("serverInternal", "x"), va.Error, "boulder.serverInternal", "x"},
		"a long text":               {told("dns", strings.Repeat("ä", 20000)), va.Error, "boulder.dns", "ää"},
	} {
		t.Run(name, func(t *testing.T) {
			p := probe(va.HTTP01, mpic.Issuance)
			s, err := Read(ashburn(), p, exchanged(t, p, c.answer, caaPass()))
			require.NoError(t, err)
			require.Equal(t, c.outcome, s.DCV.Outcome)
			require.Equal(t, c.code, s.DCV.Problem.Code)
			require.Contains(t, s.DCV.Problem.Detail, c.detail)
			require.Less(t, len(s.DCV.Problem.Detail), 2000)
			require.LessOrEqual(t, len(s.DCV.Seen), maxRecords)
			require.Equal(t, va.Pass, s.CAA.Outcome, "neither answers for the other")
		})
	}
	for _, method := range []va.Method{va.DNS01, va.TLSALPN01} {
		answer := dcvPass(method)
		answer.Records = append(answer.Records, answer.Records[0])
		p := probe(method, mpic.DCVAlone)
		s, err := Read(ashburn(), p, exchanged(t, p, answer))
		require.NoError(t, err)
		require.Contains(t, s.DCV.Problem.Detail, "2 validation records")
		answer = dcvPass(method)
		answer.Records[0].Url = "http://example.com/"
		answer.Records[0].AddressUsed = nil
		s, err = Read(ashburn(), p, exchanged(t, p, answer))
		require.NoError(t, err)
		require.Equal(t, method == va.TLSALPN01, s.DCV.Problem != nil, "dns-01 has a name and nothing else")
	}
}

// An empty answer about CAA has no perspective: Judge takes that for nobody's (F9).
func TestAnEmptyAnswerAboutCAAIsNobodys(t *testing.T) {
	p := probe(va.DNS01, mpic.CAAAlone)
	s, err := Read(ashburn(), p, exchanged(t, p, &vapb.IsCAAValidResponse{}))
	require.NoError(t, err)
	require.Empty(t, s.CAA.Perspective)
	require.Empty(t, s.CAA.Region)
	answer := caaPass()
	answer.Rir = "RIPE NCC and ARIN"
	s, err = Read(ashburn(), p, exchanged(t, p, answer))
	require.NoError(t, err)
	require.NotContains(t, mpic.Regions(), s.CAA.Region)
}

// Holds: F5, F9, MPIC-09
func TestReadRefusesWhatWasNotExchangedAboutThisProbe(t *testing.T) {
	p := probe(va.HTTP01, mpic.Issuance)
	for name, c := range map[string]struct {
		change func(*va.Probe, []mpic.Exchange) []mpic.Exchange
		want   string
	}{
		"one is missing":   {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange { return x[:1] }, "1 exchanges"},
		"one too many":     {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange { return append(x, x[0]) }, "3 exchanges"},
		"in another order": {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange { x[0], x[1] = x[1], x[0]; return x }, "was called"},
		"with another": {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			x[0].Target = "https://127.0.0.1:1" + doDCV
			return x
		}, "was called"},
		"another token": {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			x[0].Sent = strings.ReplaceAll(x[0].Sent, "DGy", "DGx")
			return x
		}, "another request"},
		"another name": {func(p *va.Probe, x []mpic.Exchange) []mpic.Exchange { p.Request.Identifier = "other.com"; return x }, "another request"},
		"another account": {func(p *va.Probe, x []mpic.Exchange) []mpic.Exchange {
			p.Request.AccountURI = accounts[0] + "8"
			return x
		}, "another request"},
		"another attempt":   {func(p *va.Probe, x []mpic.Exchange) []mpic.Exchange { p.Attempt = "ATTEMPT2"; return x }, "another request"},
		"no account":        {func(p *va.Probe, x []mpic.Exchange) []mpic.Exchange { p.Request.AccountURI = "urn:x"; return x }, "does not end in a number"},
		"for S/MIME":        {func(p *va.Probe, x []mpic.Exchange) []mpic.Exchange { p.Request.CertificateType = va.SMIME; return x }, "TLS servers alone"},
		"an error":          {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange { x[1].Status = 14; return x }, "status 14"},
		"no JSON":           {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange { x[1].Received = "{"; return x }, "cannot be read"},
		"an unknown field":  {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange { x[1].Received = `{"passed":true}`; return x }, "cannot be read"},
		"the other's reply": {func(_ *va.Probe, x []mpic.Exchange) []mpic.Exchange { x[1].Received = x[0].Received; return x }, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			q := p
			x := c.change(&q, exchanged(t, p, dcvPass(va.HTTP01), caaPass()))
			_, err := Read(ashburn(), q, x)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestAttemptsHaveANumber(t *testing.T) {
	require.Positive(t, attemptNumber("ATTEMPT1"))
	require.NotEqual(t, attemptNumber("ATTEMPT1"), attemptNumber("ATTEMPT2"))
}

// A record that keeps tokens as digests has the same text in their place everywhere: what is left is read as before.
//
// Holds: REC-06
func TestReadWhereTheTokenIsWithheld(t *testing.T) {
	p := probe(va.HTTP01, mpic.Issuance)
	text, err := json.Marshal(struct {
		Probe     va.Probe
		Exchanges []mpic.Exchange
	}{p, exchanged(t, p, dcvPass(va.HTTP01), caaPass())})
	require.NoError(t, err)
	var kept struct {
		Probe     va.Probe
		Exchanges []mpic.Exchange
	}
	require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(string(text), token, "[sha256:"+strings.Repeat("ab", 32)+"]")), &kept))
	other := strings.ReplaceAll(kept.Probe.Request.KeyAuthorization, "ab", "cd") // the attempt's part of a record has a salt of its own
	for _, key := range []string{kept.Probe.Request.KeyAuthorization, other} {
		kept.Probe.Request.Token, kept.Probe.Request.KeyAuthorization = key[:73], key
		s, err := Read(ashburn(), kept.Probe, kept.Exchanges)
		require.NoError(t, err)
		require.Equal(t, kept.Probe.Digest(), s.Digest)
		require.Equal(t, va.Pass, s.DCV.Outcome, "%v", s.DCV.Problem)
		require.Equal(t, va.Pass, s.CAA.Outcome)
	}
	kept.Probe.Request.KeyAuthorization = other[:73] + ".another"
	_, err = Read(ashburn(), kept.Probe, kept.Exchanges)
	require.ErrorContains(t, err, "another request")
}

// FuzzRead: whatever a remoteva answers, reading it ends, and nothing passes but what accounts for this very name.
func FuzzRead(f *testing.F) {
	for _, m := range []proto.Message{dcvPass(va.HTTP01), caaPass(), &vapb.ValidationResult{}} {
		text, err := written(m)
		require.NoError(f, err)
		f.Add(text, text)
	}
	f.Add(`{"records":[null]}`, `{"problem":{}}`)
	p := probe(va.HTTP01, mpic.Issuance)
	f.Fuzz(func(t *testing.T, dcv, caa string) {
		x := exchanged(t, p, &vapb.ValidationResult{}, &vapb.IsCAAValidResponse{})
		x[0].Received, x[1].Received = dcv, caa
		s, err := Read(ashburn(), p, x)
		if err != nil {
			return
		}
		require.Equal(t, s.DCV.Outcome == va.Pass, s.DCV.Problem == nil)
		require.Equal(t, s.CAA.Outcome == va.Pass, s.CAA.Problem == nil)
		if s.DCV.Outcome == va.Pass {
			require.Equal(t, "example.com", s.DCV.Name)
			require.NotEmpty(t, s.DCV.Seen)
		}
		_, err = json.Marshal(s)
		require.NoError(t, err)
	})
}
