package mpic

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/va"
)

// Protocol is what a remote speaks. The zero value is our own, whose replies are signed and carry their evidence. The others' replies
// are statements: an outcome, told over an authenticated channel, with little or nothing of how it was come by.
type Protocol string

const (
	// Native is our own (docs/perspective-protocol.md).
	Native Protocol = ""
	// Boulder is the gRPC of Boulder's remoteva.
	Boulder Protocol = "boulder"
	// OpenMPICChecker is a single Open MPIC perspective: POST /dcv and /caa.
	OpenMPICChecker Protocol = "open-mpic-checker"
	// OpenMPICCoordinator is one of several perspectives that stand behind an Open MPIC coordinator: POST /mpic. Its verdict is not
	// believed, nor its counts: only what it passes on of each perspective.
	OpenMPICCoordinator Protocol = "open-mpic-coordinator"
	// Draft00 is draft-westerbaan-alldispatch-mpic, experimental: one of several perspectives behind a service.
	Draft00 Protocol = "draft-westerbaan-mpic-00"
)

// traits are what differs between the protocols.
type traits struct {
	// several: one channel stands for several perspectives, told apart by their codes.
	several bool
	// names: an answer names the perspective that it is of. Where it does not, the channel does.
	names bool
	// regions: an answer names the perspective's region.
	regions bool
	// records: an answer by DNS has the records that were seen.
	records bool
	// types: a question tells the certificate's type, or an answer has all CAA records. Where neither is so, an answer is of a certificate
	// for TLS.
	types bool
	// implicit: a pass is the absence of a problem, so that something must have been seen for it (F6).
	implicit bool
}

var protocols = map[Protocol]traits{
	Boulder:             {names: true, regions: true, implicit: true},
	OpenMPICChecker:     {records: true, types: true},
	OpenMPICCoordinator: {several: true, names: true, records: true, types: true},
	Draft00:             {several: true, names: true, types: true},
}

// Protocols lists those other than our own, in the order of their names.
func Protocols() []Protocol {
	return []Protocol{Boulder, Draft00, OpenMPICChecker, OpenMPICCoordinator}
}

// Statement is what a remote of another protocol answered. It is made of Exchanges by that protocol's package, by a function that is
// pure, so that an auditor makes it again.
type Statement struct {
	// Digest is that of the probe by which the gate asked. None of these protocols repeats it: what binds the answer is the channel.
	Digest string `json:"digest"`
	// DCV and CAA are what was said of each; nil where it was not asked for. Neither speaks for the other.
	DCV *Said `json:"dcv,omitempty"`
	CAA *Said `json:"caa,omitempty"`
	// Exchanges are what was asked and answered.
	Exchanges []Exchange `json:"exchanges"`
}

// Said is what was said of one check.
type Said struct {
	Outcome va.Outcome `json:"outcome"`
	// Problem is nil exactly when Outcome is Pass.
	Problem *va.Problem `json:"problem,omitempty"`
	// Perspective and Region are what the answer says whose it is; empty where it does not say.
	Perspective string `json:"perspective,omitempty"`
	Region      Region `json:"region,omitempty"`
	// Name is the name that was checked, as the answer says; empty where it does not.
	Name string `json:"name,omitempty"`
	// Seen is what the answer says was seen: for DCV by DNS the values of the TXT records, otherwise one line for each page or
	// connection; for CAA the relevant records in presentation format.
	Seen []string `json:"seen,omitempty"`
	// At is when, by the answer; zero where it does not say.
	At time.Time `json:"at,omitzero"`
}

// Exchange is one question and its answer.
type Exchange struct {
	// Target is the URL or the method that was called.
	Target string `json:"target"`
	// Status is HTTP's or gRPC's, as a number.
	Status int `json:"status"`
	// Sent and Received are the bodies: JSON as it went over the wire, or protobuf in its JSON form. They are UTF-8.
	Sent     string    `json:"sent"`
	Received string    `json:"received"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
}

// recorded gives a statement as it will be read back from the record.
func (s Statement) recorded() (out Statement, err error) {
	for _, x := range s.Exchanges {
		if len(x.Sent)+len(x.Received) > maxStatement {
			return out, fmt.Errorf("an exchange of %d octets; at most %d are kept", len(x.Sent)+len(x.Received), maxStatement)
		}
	}
	text, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// maxStatement is how large an exchange may be that is kept whole, in octets.
const maxStatement = 256 << 10

// judgeStatement says what a statement counts for. There is no evidence to work the outcome out from; what can be held against the
// request and the roster is. F6: neither the absence of a problem nor a name and a region is a pass by itself: the protocol's package
// must have read one.
func judgeStatement(a Attempt, digest string, m Member, s Statement) View {
	if s.Digest == "" || s.Digest != digest {
		return unbelieved(a.Kind, m.Name, RemoteRole, unbound(m.Name))
	}
	v := View{Perspective: m.Name, Role: RemoteRole, DCV: va.NotChecked, CAA: va.NotChecked}
	weigh := func(what string, asked bool, said *Said, seen func(Attempt, traits, Said) error) (va.Outcome, *va.Problem) {
		switch {
		case asked != (said != nil):
			return va.Error, contradiction(m.Name, what, "no check where one was asked for, or one where none was")
		case !asked:
			return va.NotChecked, nil
		default:
			return said.weigh(a, m, what, seen)
		}
	}
	v.DCV, v.DCVProblem = weigh("domain control", a.Kind.dcv(), s.DCV, sawChallenge)
	v.CAA, v.CAAProblem = weigh("CAA", a.Kind.caa(), s.CAA, sawPermission)
	return v
}

func (s Said) weigh(a Attempt, m Member, what string, seen func(Attempt, traits, Said) error) (va.Outcome, *va.Problem) {
	p := protocols[m.Protocol]
	named, placed := s.Perspective != "" || p.names, s.Region != "" || p.regions
	switch {
	case named && s.Perspective != m.code(): // F9
		return va.Error, contradiction(m.Name, what, fmt.Sprintf("the name %q, where %q was asked", s.Perspective, m.code()))
	case placed && s.Region != m.Place.Region:
		return va.Error, contradiction(m.Name, what, fmt.Sprintf("the region %q, where the roster has %q", s.Region, m.Place.Region))
	case s.Outcome != va.Pass:
		return notPassed(s.Outcome, s.Problem, m.Name, what)
	case s.Problem != nil:
		return va.Error, contradiction(m.Name, what, "a pass that carries the problem "+s.Problem.Code)
	case s.Name != "" && s.Name != a.Probe.Request.FQDN() && s.Name != a.Probe.Request.Identifier: // C1
		return va.Error, contradiction(m.Name, what, fmt.Sprintf("a pass for %q, where %q was asked", s.Name, a.Probe.Request.Identifier))
	case !s.At.IsZero() && (s.At.Before(a.Started.Add(-clockSkew)) || s.At.After(a.Probe.Deadline.Add(clockSkew))):
		return va.Error, contradiction(m.Name, what, fmt.Sprintf("the time %s, which is not the attempt's", s.At.UTC().Format(time.RFC3339)))
	}
	if err := seen(a, p, s); err != nil {
		return va.Error, contradiction(m.Name, what, "a pass that what it saw does not give: "+err.Error())
	}
	return va.Pass, nil
}

// sawChallenge: F6, where a pass is no more than the absence of a problem, something was seen. Records that were seen have the value.
func sawChallenge(a Attempt, p traits, s Said) error {
	req := a.Probe.Request
	if p.implicit && len(s.Seen) == 0 {
		return errors.New("nothing was seen")
	}
	if p.records && req.Method == va.DNS01 && !slices.Contains(s.Seen, req.Expected()) {
		return fmt.Errorf("none of the %d TXT records has the value", len(s.Seen))
	}
	return nil
}

// sawPermission evaluates the records that were seen, where the protocol tells them. CAA-10: a permission by issue is none by issuemail.
func sawPermission(a Attempt, p traits, s Said) error {
	if kind := a.Probe.Request.CertificateType; kind != va.TLSServer && !p.types {
		return fmt.Errorf("its protocol asks for certificates of the type %s alone, and not %s", va.TLSServer, kind)
	}
	if len(s.Seen) == 0 {
		return nil
	}
	if _, problem := va.EvaluateCAA(s.Seen, a.Probe.Request); problem != nil {
		return problem
	}
	return nil
}

func unbound(name string) *va.Problem {
	return &va.Problem{Code: "perspective.unbound", Rules: []string{"MPIC-09"},
		Detail: fmt.Sprintf("the report of %s is for another attempt, nonce or request", name)}
}
