package bundle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/audit"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder"
	"github.com/quorate/quorate/mpic/draft"
	"github.com/quorate/quorate/mpic/openmpic"
	"github.com/quorate/quorate/va"
)

// exchanged is what was exchanged with the remotes of dbtest's roster, each by another protocol but the last, which is ours.
func exchanged(t testing.TB, a mpic.Attempt, m mpic.Member) (sent, received, target []string) {
	t.Helper()
	req, at := a.Probe.Request, a.Started.Add(time.Second).UnixNano()
	add := func(where string, question, answer any) {
		text := func(v any) string {
			if message, ok := v.(proto.Message); ok {
				b, err := protojson.Marshal(message)
				require.NoError(t, err)
				return string(b)
			}
			b, err := json.Marshal(v)
			require.NoError(t, err)
			return string(b)
		}
		sent, received, target = append(sent, text(question)), append(received, text(answer)), append(target, where)
	}
	url := "http://" + req.FQDN() + "/.well-known/acme-challenge/" + req.Token
	page := map[string]any{"validation_method": "acme-http-01", "response_url": url, "response_status_code": 200, "response_page": req.KeyAuthorization}
	record := map[string]any{"caa_record_present": true, "found_at": req.FQDN(), "records_seen": `0 issue "ca.example"`}
	result := func(check string, details any) map[string]any {
		return map[string]any{"check_passed": true, "check_completed": true, "check_type": check, "timestamp_ns": at, "details": details, "errors": []any{}}
	}
	type wishes struct {
		Perspectives int `json:"perspective_count"`
		Attempts     int `json:"max_attempts"`
	}
	type question struct {
		CheckType     string            `json:"check_type"`
		Target        string            `json:"domain_or_ip_target"`
		Orchestration *wishes           `json:"orchestration_parameters,omitempty"`
		DCV           map[string]string `json:"dcv_check_parameters,omitempty"`
		CAA           any               `json:"caa_check_parameters,omitempty"`
		Trace         string            `json:"trace_identifier"`
	}
	dcv := question{CheckType: "dcv", Target: req.FQDN(), Trace: a.ID(),
		DCV: map[string]string{"validation_method": "acme-http-01", "token": req.Token, "key_authorization": req.KeyAuthorization}}
	caa := question{CheckType: "caa", Target: req.Identifier, Trace: a.ID(), CAA: struct {
		Type    string   `json:"certificate_type"`
		Domains []string `json:"caa_domains"`
	}{"tls-server", req.Issuers}}
	switch m.Protocol {
	case mpic.OpenMPICChecker:
		add(m.URL+"/dcv", dcv, result("dcv", page))
		add(m.URL+"/caa", caa, result("caa", record))
	case mpic.OpenMPICCoordinator:
		dcv.Orchestration, caa.Orchestration = &wishes{1, 1}, &wishes{1, 1}
		for _, q := range []struct {
			question
			details any
		}{{dcv, page}, {caa, record}} {
			add(m.URL+"/mpic", q.question, map[string]any{"check_type": q.CheckType, "domain_or_ip_target": q.Target, "is_valid": true,
				"perspectives": []any{map[string]any{"perspective_code": m.Code, "check_response": result(q.CheckType, q.details)}}})
		}
	case mpic.Draft00:
		seen := map[string]any{"success": true, "perspectives": map[string]any{m.Code: map[string]any{"success": true}}}
		add(m.URL+draft.Path, map[string]any{"method": "http-acme", "domain_or_ip": req.FQDN(), "token": req.Token,
			"key_authorization": req.KeyAuthorization, "caa_check": false}, seen)
		seen["caa"] = map[string]any{"domain": req.FQDN(), "records": []string{"AAVpc3N1ZWNhLmV4YW1wbGU="}}
		add(m.URL+draft.Path, map[string]any{"method": "caa", "domain": req.FQDN()}, seen)
	case mpic.Boulder:
		h := fnv.New64a()
		_, err := h.Write([]byte(a.ID()))
		require.NoError(t, err)
		authz, ident := max(1, int64(h.Sum64()&math.MaxInt64)), &corepb.Identifier{Type: "dns", Value: req.Identifier}
		add(m.URL+"/va.VA/DoDCV", &vapb.PerformValidationRequest{Identifier: ident,
			Challenge: &corepb.Challenge{Type: "http-01", Status: "pending", Token: req.Token}, Authz: &vapb.AuthzMeta{Id: authz, RegID: 1},
			ExpectedKeyAuthorization: req.KeyAuthorization}, &vapb.ValidationResult{Perspective: m.Code, Rir: string(m.Place.Region),
			Records: []*corepb.ValidationRecord{{Hostname: req.FQDN(), Port: "80", Url: url, AddressUsed: []byte("192.0.2.80"),
				AddressesResolved: [][]byte{{192, 0, 2, 80}}}}})
		add(m.URL+"/va.CAA/DoCAA", &vapb.IsCAAValidRequest{Identifier: ident, ValidationMethod: "http-01", AccountURIID: 1, AuthzID: authz},
			&vapb.IsCAAValidResponse{Perspective: m.Code, Rir: string(m.Place.Region)})
	}
	return sent, received, target
}

// stated is evidence in which four remotes of other protocols answered, and one of ours.
func stated(t testing.TB, a mpic.Attempt) mpic.Evidence {
	t.Helper()
	e := dbtest.Evidence(t, a)
	read := map[mpic.Protocol]func(mpic.Member, va.Probe, []mpic.Exchange) (mpic.Statement, error){mpic.OpenMPICChecker: openmpic.ReadChecker,
		mpic.OpenMPICCoordinator: openmpic.ReadCoordinator, mpic.Draft00: draft.Read, mpic.Boulder: boulder.Read}
	for i, p := range []mpic.Protocol{mpic.OpenMPICChecker, mpic.OpenMPICCoordinator, mpic.Draft00, mpic.Boulder} {
		m := &e.Roster.Remotes[i]
		m.Protocol, m.SigningKey, m.Code = p, "", fmt.Sprintf("code-%d", i)
		if p == mpic.OpenMPICChecker {
			m.Code = ""
		}
		sent, received, target := exchanged(t, a, *m)
		status := map[bool]int{false: http.StatusOK}[p == mpic.Boulder]
		var all []mpic.Exchange
		for k := range sent {
			all = append(all, mpic.Exchange{Target: target[k], Status: status, Sent: sent[k], Received: received[k], Started: a.Started,
				Finished: a.Started.Add(time.Second)})
		}
		s, err := read[p](*m, a.Probe, all)
		require.NoError(t, err, p)
		x := &e.Remotes[i]
		x.Report, x.Reply, x.Signed, x.Statement = nil, nil, "", &s
	}
	d := mpic.Judge(e)
	require.True(t, d.Granted(), "%v %v", d.Reasons(), d.Views())
	require.Equal(t, 5, d.DCV().Corroborated)
	return e
}

func oneOf(t testing.TB) mpic.Attempt {
	t.Helper()
	return dbtest.Attempt("STATED", "example.com", mpic.Issuance)
}

// TestREC_06_StatementsAreMadeAgainOfWhatWasExchanged: what was judged is what the exchanges give, of each protocol, and whatever of it was
// changed is found.
//
// Holds: REC-06
func TestREC_06_StatementsAreMadeAgainOfWhatWasExchanged(t *testing.T) {
	verify := func(e mpic.Evidence) audit.Verdict {
		recorded, err := json.Marshal(mpic.Judge(e)) // whatever was changed, the decision is made of it
		require.NoError(t, err)
		return audit.Auditor{SkipProofs: true}.Verify(e, recorded, nil)
	}
	v := verify(stated(t, oneOf(t)))
	require.Empty(t, v.Wrong)
	require.Empty(t, v.Withheld)
	require.Equal(t, 4, v.Statements)
	require.Equal(t, 1, v.Replies)

	for name, change := range map[string]func(*mpic.Statement){
		"what was said of control": func(s *mpic.Statement) { s.DCV.Outcome, s.DCV.Problem = va.Fail, &va.Problem{Code: "x", Detail: "x"} },
		"what was said of CAA":     func(s *mpic.Statement) { s.CAA.Outcome, s.CAA.Problem = va.Fail, &va.Problem{Code: "x", Detail: "x"} },
		"what was seen":            func(s *mpic.Statement) { s.CAA.Seen = append(s.CAA.Seen, "x") },
		"the time":                 func(s *mpic.Statement) { s.DCV.At = s.DCV.At.Add(time.Nanosecond) },
		"the digest":               func(s *mpic.Statement) { s.Digest = strings.Repeat("0", 64) },
		"the status":               func(s *mpic.Statement) { s.Exchanges[0].Status = 500 },
		"the place":                func(s *mpic.Statement) { s.Exchanges[0].Target += "x" },
		"the question":             func(s *mpic.Statement) { s.Exchanges[1].Sent = s.Exchanges[0].Sent },
		"the order":                func(s *mpic.Statement) { s.Exchanges[0], s.Exchanges[1] = s.Exchanges[1], s.Exchanges[0] },
		"an exchange less":         func(s *mpic.Statement) { s.Exchanges = s.Exchanges[:1] },
		"an answer that is none":   func(s *mpic.Statement) { s.Exchanges[1].Received = "{" },
		"before the attempt":       func(s *mpic.Statement) { s.Exchanges[0].Started = s.Exchanges[0].Started.Add(-2 * time.Minute) },
		"an end before its start":  func(s *mpic.Statement) { s.Exchanges[1].Finished = s.Exchanges[1].Started.Add(-1) },
		"the answer": func(s *mpic.Statement) {
			s.Exchanges[0].Received = strings.NewReplacer(`"check_passed":true`, `"check_passed":false`, `{"success":true}`, `{"success":false}`,
				`"80"`, `"81"`, `"perspective":"code-3"`, `"perspective":"code-4"`).Replace(s.Exchanges[0].Received)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 4 {
				e := stated(t, oneOf(t))
				change(e.Remotes[i].Statement)
				v := verify(e)
				require.NotEmpty(t, v.Wrong, e.Roster.Remotes[i].Protocol)
				for _, f := range v.Wrong {
					require.Equal(t, e.Roster.Remotes[i].Name, f.Perspective)
				}
			}
		})
	}
	e := stated(t, oneOf(t))
	e.Roster.Remotes[0].Protocol = "x"
	require.Contains(t, fmt.Sprint(verify(e).Wrong), `nothing here reads the protocol "x"`)
	e.Roster.Remotes[0].Name = "y"
	require.Contains(t, fmt.Sprint(verify(e).Wrong), "no such perspective")
}

// TestREC_04_LateRepliesKeepNoTokenEither: where tokens are kept as digests, what a remote said after the decision shows none.
//
// Holds: REC-04
func TestREC_04_LateRepliesKeepNoTokenEither(t *testing.T) {
	s := sqlite(t, func(c *db.Config) { c.TokenDigests = true })
	dbtest.Populate(t, s)
	var out bytes.Buffer
	_, err := bundle.Write(t.Context(), s, &out, bundle.Config{Unsigned: true, Created: created})
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(unpack(t, out.Bytes())), "late")
	require.Empty(t, traces(t, out.Bytes()))

	e := dbtest.Evidence(t, dbtest.Attempt("LATE", "example.com", mpic.Issuance))
	reply := e.Remotes[4]
	dbtest.Silent(&e, 4, mpic.Outstanding)
	dbtest.Record(t, s, e)
	e.Attempt.Probe.Request.Token = "AnotherTokenAnotherTok"
	require.ErrorIs(t, s.Journal().Late(t.Context(), e.Attempt, reply), db.ErrMismatch)
}

// TestREC_04_StatementsWithoutTokens: the database that keeps digests alone, and the bundle without secrets, hold; no token is left in what
// was exchanged; and what does not depend on it is still made again.
//
// Holds: REC-04, REC-06
func TestREC_04_StatementsWithoutTokens(t *testing.T) {
	shadow := dbtest.Alone(dbtest.Attempt("SHADOW", "example.org", mpic.DCVAlone), mpic.DCVAlone)
	shadow.Shadow = true
	attempts := []mpic.Attempt{oneOf(t), dbtest.Alone(dbtest.Attempt("DCV", "example.org", mpic.DCVAlone), mpic.DCVAlone), shadow}
	for i := range attempts {
		attempts[i].Probe.Request.Issuers = []string{"ca.example"}
	}
	for _, digests := range []bool{false, true} {
		t.Run(fmt.Sprintf("digests %v", digests), func(t *testing.T) {
			w := populate(t, sqlite(t, func(c *db.Config) { c.TokenDigests = digests }))
			dbtest.Record(t, w.store, stated(t, attempts[0]))
			dbtest.Record(t, w.store, dbtest.Evidence(t, attempts[1]))
			dbtest.Record(t, w.store, dbtest.Evidence(t, attempts[2]))
			sum, err := w.store.Verify(t.Context(), db.VerifyConfig{Depth: db.DepthDecisions, Finding: func(f db.Finding) { t.Errorf("%+v", f) }})
			require.NoError(t, err)
			require.Equal(t, digests, sum.Withheld > 0)
			require.NoError(t, w.publisher.Publish(t.Context()))
			file, _ := w.export(t, bundle.Config{WithoutSecrets: true})
			require.Empty(t, traces(t, file))
			var last mpic.Evidence
			var decision json.RawMessage
			_, found := w.verify(t, file, func(c *db.VerifyConfig) {
				c.Record = func(r db.Record, v audit.Verdict) {
					if r.Evidence.Attempt.ID() == "STATED" {
						last, decision = r.Evidence, r.Decision
						require.Equal(t, 4, v.Statements)
						require.NotEmpty(t, v.Withheld)
					}
				}
			})
			require.Empty(t, found)

			for i := range 4 {
				require.Empty(t, audit.Auditor{SkipProofs: true}.Verify(last, decision, nil).Wrong)
				said := last.Remotes[i].Statement.CAA
				was := *said
				said.Outcome, said.Problem = va.Fail, &va.Problem{Code: "x", Detail: "x"}
				require.Len(t, audit.Auditor{SkipProofs: true}.Verify(last, decision, nil).Wrong, 2, "the statement, and the decision upon it")
				*said = was
				x := &last.Remotes[i].Statement.Exchanges[1]
				received := x.Received
				x.Received = "{}"
				require.NotEmpty(t, audit.Auditor{SkipProofs: true}.Verify(last, decision, nil).Wrong, "what the token is no part of is read again: %s",
					last.Roster.Remotes[i].Protocol)
				x.Received = received
			}
		})
	}
}
