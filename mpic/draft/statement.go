package draft

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// question is the body of one request.
type question struct {
	// caa: it is for CAA, and otherwise for domain control.
	caa  bool
	body map[string]any
}

// questions are what is asked for a probe, domain control before CAA. The draft's own combination of both is not used: a perspective's
// success would then not tell which of both it is of. An error: the draft has no way to ask for it.
func questions(p va.Probe) (out []question, err error) {
	req := p.Request
	if !p.CAAAlone {
		var body map[string]any
		switch req.Method {
		case va.HTTP01:
			body = map[string]any{"method": methodHTTP, "domain_or_ip": req.FQDN(), "token": req.Token,
				"key_authorization": req.KeyAuthorization, "caa_check": false}
		case va.DNS01:
			body = map[string]any{"method": methodDNS, "domain": req.FQDN(), "record-type": recordTXT, "prefix": prefixChallenge,
				"expected": req.Expected(), "caa": false}
		default:
			return nil, fmt.Errorf("the draft has no method for %s", req.Method)
		}
		out = append(out, question{body: body})
	}
	if !p.DCVAlone {
		out = append(out, question{caa: true, body: map[string]any{"method": methodCAA, "domain": req.FQDN()}})
	}
	return out, nil
}

func (q question) text() ([]byte, error) { return json.Marshal(q.body) }

// asked tells whether a text is the question. Where tokens were taken out of a record, what stands in their places differs from document
// to document, and what is made of them cannot be worked out: then it is only there.
func (q question) asked(text string, p va.Probe) error {
	got, err := decode([]byte(text))
	if err != nil {
		return err
	}
	req := p.Request
	withheld := strings.HasPrefix(req.Token, commitment) || strings.HasPrefix(req.KeyAuthorizationDigest, commitment)
	for _, name := range slices.Sorted(maps.Keys(q.body)) {
		if withheld && slices.Contains([]string{"token", "key_authorization", "expected"}, name) {
			if s, _ := got[name].(string); s != "" {
				continue
			}
		}
		if got[name] != q.body[name] {
			return fmt.Errorf("what was sent is not what was to be asked: %s", name)
		}
	}
	if len(got) != len(q.body) {
		return fmt.Errorf("what was sent has %d members, and was to have %d", len(got), len(q.body))
	}
	return nil
}

// commitment is how what stands in a record in the place of a token begins: no token has such characters.
const commitment = "[sha256:"

func endpoint(service string) string { return strings.TrimSuffix(service, "/") + Path }

// code is what a member is called by the service.
func code(m mpic.Member) string { return cmp.Or(m.Code, m.Name) }

// Read makes the statement of one member out of what was exchanged with its service. It is pure. An error: the exchanges are not those of
// this probe with this member's service, or an answer is not in the draft's form, or does not tell of the member.
//
// What counts is what the service passes on of the member: `perspectives`. Its own `success` is ignored. Success of the method caa means
// that the perspective saw the records told, not that they permit: the service does not know our issuer domain names. So CAA passes only
// where records are told, if only that there are none, and permit; a service that fails as a whole may leave them out, and then nobody
// behind it passes.
func Read(m mpic.Member, p va.Probe, exchanges []mpic.Exchange) (mpic.Statement, error) {
	asked, err := questions(p)
	if err != nil {
		return mpic.Statement{}, fmt.Errorf("draft: %w", err)
	}
	if len(exchanges) != len(asked) {
		return mpic.Statement{}, fmt.Errorf("draft: %d exchanges, where %d were due", len(exchanges), len(asked))
	}
	s := mpic.Statement{Digest: p.Digest(), Exchanges: exchanges}
	for i, q := range asked {
		x := exchanges[i]
		if x.Target != endpoint(m.URL) || x.Status != http.StatusOK {
			return mpic.Statement{}, fmt.Errorf("draft: %s answered with status %d, where %s was to be asked", front.Cut(x.Target, 200), x.Status, endpoint(m.URL))
		}
		if err := q.asked(x.Sent, p); err != nil {
			return mpic.Statement{}, fmt.Errorf("draft: %w", err)
		}
		r, err := readReply([]byte(x.Received))
		if err != nil {
			return mpic.Statement{}, fmt.Errorf("draft: the answer is not in the draft's form: %w", err)
		}
		success, there := r.perspectives[code(m)]
		if !there {
			return mpic.Statement{}, fmt.Errorf("draft: the answer does not tell of the perspective %q", code(m))
		}
		said := &mpic.Said{Perspective: code(m)}
		if q.caa {
			said.Outcome, said.Problem = r.permits(m, p, success)
			said.Seen, s.CAA = r.records, said
			continue
		}
		said.Outcome, said.Problem = r.controls(m, success)
		s.DCV = said
	}
	return s, nil
}

func (r reply) controls(m mpic.Member, success bool) (va.Outcome, *va.Problem) {
	if success {
		return va.Pass, nil
	}
	return va.Fail, &va.Problem{Code: "perspective.failed", Rules: []string{"MPIC-10"},
		Detail: fmt.Sprintf("%s did not see what was to be seen; of all its perspectives the service says: %q", m.Name, front.Cut(r.text, maxError))}
}

func (r reply) permits(m mpic.Member, p va.Probe, success bool) (va.Outcome, *va.Problem) {
	fqdn := p.Request.FQDN()
	problem := func(code, format string, args ...any) *va.Problem {
		return &va.Problem{Code: code, Rules: []string{"MPIC-11"}, Detail: m.Name + " " + fmt.Sprintf(format, args...)}
	}
	switch {
	case !success:
		return va.Error, problem("perspective.failed", "did not see the CAA records that others saw; of all its perspectives the service says: %q",
			front.Cut(r.text, maxError))
	case !r.caa:
		return va.Error, problem("perspective.no-records", "is said to have succeeded, and the service tells no CAA records, nor that there are none")
	case len(r.records) > 0 && r.domain != fqdn && !strings.HasSuffix(fqdn, "."+r.domain):
		return va.Error, problem("perspective.no-records", "is said to have seen the CAA records of %q, which is not in the climb from %s (RFC 8659 section 3)",
			front.Cut(r.domain, 255), fqdn)
	}
	if _, refusal := va.EvaluateCAA(r.records, p.Request); refusal != nil {
		refusal.Name, refusal.Type = r.domain, "CAA"
		return va.Fail, refusal
	}
	return va.Pass, nil
}
