package boulder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder/account"
	"github.com/quorate/quorate/va"
)

const (
	// maxRecords is more than the validation records of a remoteva can be: a first connection, ten redirects, and a second try of each.
	maxRecords = 24
	// maxSaid bounds what is kept of a remoteva's own words, in octets.
	maxSaid = 1000
	// saidArea stands before the type of a remoteva's problem in a Problem's code, for example "boulder.unauthorized".
	saidArea = "boulder."
)

// saidTypes are the problem types that a remoteva may give.
func saidTypes() []string {
	return []string{typeCAA, typeConnection, typeDNS, typeInternal, typeMalformed, typeRejected, typeTLS, typeUnauthorized, typeUnsupported}
}

// question is one of the two calls to a remoteva.
type question struct {
	method string
	// sent is what is asked; received is of the kind that is answered.
	sent, received proto.Message
}

// questions gives the calls that a probe asks for, DCV first. id is the account's number.
func questions(probe va.Probe, id int64) []question {
	req, authz := probe.Request, attemptNumber(probe.Attempt)
	var out []question
	if !probe.CAAAlone {
		out = append(out, question{doDCV, &vapb.PerformValidationRequest{Identifier: dnsName(req.Identifier),
			Challenge:                &corepb.Challenge{Type: req.Method.String(), Status: pending, Token: req.Token},
			Authz:                    &vapb.AuthzMeta{Id: authz, RegID: id},
			ExpectedKeyAuthorization: req.KeyAuthorization}, new(vapb.ValidationResult)})
	}
	if !probe.DCVAlone {
		out = append(out, question{doCAA, &vapb.IsCAAValidRequest{Identifier: dnsName(req.Identifier),
			ValidationMethod: req.Method.String(), AccountURIID: id, AuthzID: authz}, new(vapb.IsCAAValidResponse)})
	}
	return out
}

// written gives a message in protobuf's JSON form, always the same: protojson puts spaces in at random.
func written(m proto.Message) (string, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return "", err
	}
	return out.String(), nil
}

// Read makes the statement of what was exchanged with a remoteva about a probe: one exchange for each check that the probe asks for, DCV first. It
// is pure, so that an auditor makes it again. An error says that these are not the exchanges of this probe with this member.
//
// F6: Boulder's pass is the absence of a problem. It counts only in an answer that names its perspective and its region, and for DCV with
// validation records as Boulder itself requires them, of this very name.
func Read(m mpic.Member, probe va.Probe, exchanges []mpic.Exchange) (mpic.Statement, error) {
	s := mpic.Statement{Digest: probe.Digest(), Exchanges: exchanges}
	id, err := accountOf(probe.Request.AccountURI)
	if err != nil {
		return mpic.Statement{}, err
	}
	if probe.Request.CertificateType != va.TLSServer {
		return mpic.Statement{}, fmt.Errorf("boulder: %s looks at CAA for TLS servers alone, and %s was asked", m.Name, probe.Request.CertificateType)
	}
	if !probe.CAAAlone && len(exchanges) > 0 {
		probe.Request = sameWithheld(probe.Request, exchanges[0].Sent)
	}
	asked := questions(probe, id)
	if len(exchanges) != len(asked) {
		return mpic.Statement{}, fmt.Errorf("boulder: %d exchanges with %s, and %d checks were asked for", len(exchanges), m.Name, len(asked))
	}
	for i, q := range asked {
		x := exchanges[i]
		sent := q.sent.ProtoReflect().New().Interface()
		switch {
		case x.Target != target(m, q.method):
			return mpic.Statement{}, fmt.Errorf("boulder: %q was called, and %s is asked at %q", cut(x.Target, 200), m.Name, target(m, q.method))
		case protojson.Unmarshal([]byte(x.Sent), sent) != nil || !proto.Equal(sent, q.sent):
			return mpic.Statement{}, fmt.Errorf("boulder: %s was sent another request than the probe makes", m.Name)
		case x.Status != 0:
			return mpic.Statement{}, fmt.Errorf("boulder: the call of %s ended with the status %d, which is no answer", m.Name, x.Status)
		}
		if err := protojson.Unmarshal([]byte(x.Received), q.received); err != nil {
			return mpic.Statement{}, fmt.Errorf("boulder: the answer of %s cannot be read: %w", m.Name, err)
		}
		switch answer := q.received.(type) {
		case *vapb.ValidationResult:
			s.DCV = saidOfDCV(m, probe.Request, answer)
		case *vapb.IsCAAValidResponse:
			s.CAA = said(m, answer)
		}
	}
	return s, nil
}

// withheld is what stands in a record in the place of a token: no token has this form, and none is admitted.
var withheld = regexp.MustCompile(`^\[sha256:[0-9a-f]{64}\]$`)

// sameWithheld serves records without tokens: their parts have digests of one token under salts of their own, which cannot be compared. The
// request then takes the one that was sent.
func sameWithheld(req va.Request, sent string) va.Request {
	var in vapb.PerformValidationRequest
	if !withheld.MatchString(req.Token) || protojson.Unmarshal([]byte(sent), &in) != nil || !withheld.MatchString(in.GetChallenge().GetToken()) {
		return req
	}
	if rest, ok := strings.CutPrefix(req.KeyAuthorization, req.Token); ok {
		req.Token, req.KeyAuthorization = in.Challenge.Token, in.Challenge.Token+rest
	}
	return req
}

// target is what stands in the record for a call.
func target(m mpic.Member, method string) string { return strings.TrimSuffix(m.URL, "/") + method }

// accountOf gives the number at the end of an account's URI. Which URIs are accounts of the CA, the Remote knows by its prefixes.
func accountOf(uri string) (int64, error) {
	digits := len(uri) - len(strings.TrimRight(uri, "0123456789"))
	id, ok := account.ParseNumber(uri[len(uri)-digits:])
	if !ok {
		return 0, fmt.Errorf("boulder: the account URI %q does not end in a number as Boulder's do", cut(uri, 200))
	}
	return id, nil
}

// reply is what both answers have.
type reply interface {
	GetProblem() *corepb.ProblemDetails
	GetPerspective() string
	GetRir() string
}

// said reads what both answers have: whose it is, and the outcome.
func said(m mpic.Member, r reply) *mpic.Said {
	out := &mpic.Said{Outcome: va.Pass, Perspective: cut(r.GetPerspective(), 200), Region: region(cut(r.GetRir(), 40))}
	p := r.GetProblem()
	if p == nil {
		return out
	}
	out.Outcome = va.Error
	switch t := p.ProblemType; {
	case t == "" || p.Detail == "":
		out.Problem = misread(m, errors.New("a problem without type or detail"))
	case !slices.Contains(saidTypes(), t):
		out.Problem = misread(m, fmt.Errorf("a problem of the type %q: %s", cut(t, 40), cut(p.Detail, maxSaid)))
	default:
		if t == typeUnauthorized || t == typeCAA || t == typeTLS {
			out.Outcome = va.Fail
		}
		out.Problem = &va.Problem{Code: saidArea + t, Rules: []string{"MPIC-10", "MPIC-11"},
			Detail: fmt.Sprintf("%s says: %s", m.Name, cut(p.Detail, maxSaid))}
	}
	return out
}

func saidOfDCV(m mpic.Member, req va.Request, r *vapb.ValidationResult) *mpic.Said {
	out := said(m, r)
	if len(r.Records) > maxRecords {
		out.Outcome, out.Problem = va.Error, misread(m, fmt.Errorf("%d validation records; at most %d are read", len(r.Records), maxRecords))
		return out
	}
	for _, record := range r.Records {
		out.Seen = append(out.Seen, line(record))
	}
	if out.Outcome != va.Pass {
		return out
	}
	if err := sane(req, r.Records); err != nil { // F6
		out.Outcome, out.Problem = va.Error, misread(m, fmt.Errorf("a pass that it does not account for: %w", err))
		return out
	}
	out.Name = r.Records[0].Hostname
	return out
}

func misread(m mpic.Member, err error) *va.Problem {
	return &va.Problem{Code: "perspective.garbage", Rules: []string{"MPIC-10"}, Detail: fmt.Sprintf("%s answered with %v", m.Name, err)}
}

// line tells a validation record in one line.
func line(r *corepb.ValidationRecord) string {
	var b strings.Builder
	what := r.GetUrl()
	if what == "" {
		what = r.GetHostname()
	}
	b.WriteString(cut(what, 400))
	if len(r.GetAddressUsed()) > 0 {
		fmt.Fprintf(&b, " at %s port %s", cut(string(r.AddressUsed), 60), cut(r.Port, 10))
	}
	if n := len(r.GetAddressesResolved()); n > 0 {
		var all []string
		for _, a := range r.AddressesResolved[:min(n, 16)] {
			if addr, ok := netip.AddrFromSlice(a); ok {
				all = append(all, addr.String())
			}
		}
		fmt.Fprintf(&b, " of %s", strings.Join(all, ", "))
	}
	if len(r.GetResolverAddrs()) > 0 {
		fmt.Fprintf(&b, " by %s", cut(strings.Join(r.ResolverAddrs[:min(len(r.ResolverAddrs), 8)], ", "), 300))
	}
	return b.String()
}
