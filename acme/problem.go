package acme

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// ErrorType is one of the error types of RFC 8555 section 6.7, as a URN.
type ErrorType string

const urn = "urn:ietf:params:acme:error:"

const (
	BadNonce              ErrorType = urn + "badNonce"
	CAA                   ErrorType = urn + "caa"
	Connection            ErrorType = urn + "connection"
	DNS                   ErrorType = urn + "dns"
	IncorrectResponse     ErrorType = urn + "incorrectResponse"
	Malformed             ErrorType = urn + "malformed"
	RejectedIdentifier    ErrorType = urn + "rejectedIdentifier"
	ServerInternal        ErrorType = urn + "serverInternal"
	TLS                   ErrorType = urn + "tls"
	Unauthorized          ErrorType = urn + "unauthorized"
	UnsupportedIdentifier ErrorType = urn + "unsupportedIdentifier"
)

// Status is the HTTP status that goes with the type. For the error of a challenge it is what RFC 7807 calls advisory:
// the response that carries the challenge is 200.
func (t ErrorType) Status() int {
	switch t {
	case Unauthorized, CAA:
		return 403
	case ServerInternal:
		return 500
	default:
		return 400
	}
}

// types maps a va.Problem's code, or else the code's area, to the type that ACME clients know. What is not here is the
// server's own affair (request., perspective., quorum., roster., policy., evidence.): a client cannot mend it.
var types = map[string]ErrorType{
	"dns": DNS, "dnssec": DNS,
	"address": DNS, "address.unreachable": Connection,
	"http": IncorrectResponse, "http.broken": Connection, "http.timeout": Connection,
	"txt": IncorrectResponse,
	"tls": IncorrectResponse, "tls.handshake": TLS, "tls.timeout": TLS, "tls.protocol": TLS,
	"caa": CAA, "caa.bogus": DNS, "caa.lookup": DNS,
	"name":              RejectedIdentifier,
	"request.token-age": Malformed, // the client waited for more than 30 days
	// The account is not authorized for a name of the certificate (RFC 8555 section 7.4), or its owner no longer lets this CA issue.
	"permit": Unauthorized, "permit.caa-stale": CAA, "permit.caa-refused": CAA, "permit.clock": ServerInternal,
}

// TypeOf gives the ACME type of a problem's code.
func TypeOf(code string) ErrorType {
	if t, ok := types[code]; ok {
		return t
	}
	area, _, _ := strings.Cut(code, ".")
	if t, ok := types[area]; ok {
		return t
	}
	return ServerInternal
}

// Identifier is an ACME identifier (RFC 8555 section 7.1.3).
type Identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Problem is a problem document (RFC 8555 section 6.7). Code and Attempt are Quorate's.
type Problem struct {
	Type ErrorType `json:"type"`
	// Detail is for people: Quorate's code, its sentence, and on the outermost document the attempt.
	Detail     string      `json:"detail"`
	Status     int         `json:"status,omitempty"`
	Identifier *Identifier `json:"identifier,omitempty"`
	// Code is the stable code of va.Problem; Attempt is the attempt's identifier, by which the CA finds the record.
	Code    string `json:"code,omitempty"`
	Attempt string `json:"attempt,omitempty"`
	// Subproblems are every reason of the decision, and every finding of a perspective that is not a pass.
	Subproblems []Problem `json:"subproblems,omitempty"`
}

// Refusal tells a client why a decision is not granted: the weightiest reason on top, all reasons and every
// perspective's part in them below it (RFC 8555 section 6.7.1). identifier is the name applied for, with "*." where it
// has one. It answers for a granted decision too, with a refusal: who asks why it was refused must not receive a pass
// by mistake.
func Refusal(identifier string, d mpic.Decision) Problem {
	reasons := d.Reasons()
	if len(reasons) == 0 {
		return Unavailable(identifier)
	}
	ident := &Identifier{Type: "dns", Value: identifier}
	top := from(reasons[0], ident, "")
	top.Status = top.Type.Status()
	top.Attempt = d.Attempt()
	if d.Attempt() != "" {
		top.Detail += fmt.Sprintf(" (attempt %s)", d.Attempt())
	}
	// The quorum's own problem says who failed to corroborate. If one of them saw something that a subscriber can mend, it
	// gives the type; if they were silent or speak for others, it is the server's affair.
	if strings.HasPrefix(top.Code, "quorum.") {
		if t, ok := firstRemote(d.Views()); ok {
			top.Type, top.Status = t, t.Status()
		}
	}
	for _, r := range reasons[1:] {
		top.Subproblems = append(top.Subproblems, from(r, ident, ""))
	}
	for _, v := range d.Views() {
		who := fmt.Sprintf("%s (%s)", v.Perspective, v.Role)
		switch {
		case v.DCVProblem != nil && v.DCVProblem == v.CAAProblem:
			top.Subproblems = append(top.Subproblems, from(v.DCVProblem, ident, who))
			continue
		case v.DCVProblem != nil:
			top.Subproblems = append(top.Subproblems, from(v.DCVProblem, ident, who+", domain control"))
		}
		if v.CAAProblem != nil {
			top.Subproblems = append(top.Subproblems, from(v.CAAProblem, ident, who+", CAA"))
		}
	}
	return top
}

// firstRemote gives the type of the first remote finding that is about the subscriber's name rather than about the
// remote.
func firstRemote(views []mpic.View) (ErrorType, bool) {
	for _, v := range views {
		if v.Role != mpic.RemoteRole {
			continue
		}
		for _, p := range []*va.Problem{v.DCVProblem, v.CAAProblem} {
			if p != nil && !strings.HasPrefix(p.Code, "perspective.") {
				return TypeOf(p.Code), true
			}
		}
	}
	return "", false
}

// RefusedPermit tells a client why no certificate may be issued: one subproblem for each name that lacks something (RFC 8555 section
// 6.7.1). It answers for a granted permit too, with a refusal.
func RefusedPermit(p mpic.Permit) Problem {
	out := NotIssued()
	var first *va.Problem
	for _, n := range p.Names {
		if n.Problem == nil {
			continue
		}
		if first == nil {
			first = n.Problem
		}
		out.Subproblems = append(out.Subproblems, from(n.Problem, &Identifier{Type: "dns", Value: n.Name}, ""))
	}
	switch {
	case p.Problem != nil:
		out.Type, out.Code, out.Detail = TypeOf(p.Problem.Code), p.Problem.Code, p.Problem.Code+": "+p.Problem.Detail
	case first != nil:
		out.Type, out.Code = TypeOf(first.Code), first.Code
		out.Detail = fmt.Sprintf("no certificate may be issued, because of %d of %d names; the first: %s: %s", len(out.Subproblems),
			len(p.Names), first.Code, first.Detail)
	default:
		return out
	}
	out.Status = out.Type.Status()
	if p.ID != "" {
		out.Detail += fmt.Sprintf(" (permit %s)", p.ID)
	}
	return out
}

// NotIssued is what a client is told when there is no certificate for a reason that is the CA's: permit, signature or link could not
// be had or not be recorded (REC-05).
func NotIssued() Problem {
	return Problem{Type: ServerInternal, Status: ServerInternal.Status(), Code: "gate.unavailable",
		Detail: "gate.unavailable: a certificate could not be issued with a record of it, so none is given out; please place a new order"}
}

func from(p *va.Problem, ident *Identifier, who string) Problem {
	detail := p.Code + ": " + p.Detail
	if who != "" {
		detail = who + ": " + detail
	}
	return Problem{Type: TypeOf(p.Code), Detail: detail, Identifier: ident, Code: p.Code}
}

// Unavailable is what a client is told when there is no decision: the gate could not do its work or could not keep the
// record of it (REC-05). The cause is the operator's affair and stands in the log.
func Unavailable(identifier string) Problem {
	return Problem{Type: ServerInternal, Status: ServerInternal.Status(), Code: "gate.unavailable",
		Identifier: &Identifier{Type: "dns", Value: identifier},
		Detail: "gate.unavailable: the validation could not be carried out or not be recorded, so the answer is no; " +
			"please place a new order"}
}
