package auditlog

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Version is the form's. It grows where a field changes its meaning or goes away; fields may be added without.
const Version = 1

// maxLine is how long a line may be, in octets, its newline included. Beyond it lists are cut, and `truncated` says which.
const maxLine = 64 << 10

// head begins each line.
type head struct {
	V    int    `json:"v"`
	Seq  uint64 `json:"seq"`
	Run  string `json:"run"`
	Gate string `json:"gate"`
	Time string `json:"time"`
}

// event is what a line is about. shorten takes something away from a line that is too long, and tells whether it could.
type event interface {
	begin(head)
	shorten() bool
}

// marker is the line of the start and of the end of a log.
type marker struct {
	head
	Event    string `json:"event"`
	Software string `json:"software"`
	Required bool   `json:"required"`
	// Lost is how many lines were lost since the start; at the end alone.
	Lost *uint64 `json:"lost,omitempty"`
}

// attempt is the line of an attempt on record, or of one that could not be recorded.
type attempt struct {
	head
	Event       string        `json:"event"`
	Outcome     string        `json:"outcome"`
	Record      int64         `json:"record"`
	Attempt     string        `json:"attempt"`
	Kind        mpic.Kind     `json:"kind"`
	Shadow      bool          `json:"shadow,omitempty"`
	Started     string        `json:"started"`
	Caller      string        `json:"caller"`
	Trace       string        `json:"trace,omitempty"`
	Try         int           `json:"try,omitempty"`
	Identifier  string        `json:"identifier"`
	Certificate string        `json:"certificate_type,omitempty"`
	ADN         string        `json:"adn,omitempty"`
	Method      string        `json:"method,omitempty"`
	Section     string        `json:"section,omitempty"`
	Account     string        `json:"account_uri,omitempty"`
	Policy      string        `json:"policy,omitempty"`
	DCV         *quorum       `json:"dcv,omitempty"`
	CAA         *quorum       `json:"caa,omitempty"`
	Views       []perspective `json:"perspectives,omitempty"`
	Reasons     []string      `json:"reasons,omitempty"`
	Scope       string        `json:"scope,omitempty"`
	ReuseUntil  string        `json:"reuse_until,omitempty"`
	Software    string        `json:"software"`
	Rules       string        `json:"rules_sha256"`
	Requirement string        `json:"requirements"`
	Truncated   []string      `json:"truncated,omitempty"`
}

// quorum is a count over the remotes.
type quorum struct {
	Quorum  string        `json:"quorum"`
	Allowed int           `json:"allowed"`
	Regions []mpic.Region `json:"regions"`
}

// perspective is what one perspective counted for.
type perspective struct {
	Name    string      `json:"name"`
	Role    mpic.Role   `json:"role"`
	Region  mpic.Region `json:"region"`
	State   string      `json:"state"`
	DCV     string      `json:"dcv,omitempty"`
	DCVCode string      `json:"dcv_code,omitempty"`
	CAA     string      `json:"caa,omitempty"`
	CAACode string      `json:"caa_code,omitempty"`
	// Excused is how many names' failed CAA lookups counted as permission (CAA-06).
	Excused int `json:"caa_excused,omitempty"`
}

// permit is the line of a permit on record.
type permit struct {
	head
	Event     string   `json:"event"`
	Outcome   string   `json:"outcome"`
	Record    int64    `json:"record"`
	Permit    string   `json:"permit"`
	Requested string   `json:"requested"`
	Issued    string   `json:"issued"`
	Expires   string   `json:"expires,omitempty"`
	Caller    string   `json:"caller"`
	Account   string   `json:"account_uri"`
	Names     []name   `json:"names"`
	Count     int      `json:"names_count"`
	Reasons   []string `json:"reasons,omitempty"`
	Software  string   `json:"software"`
	Rules     string   `json:"requirements"`
	Truncated []string `json:"truncated,omitempty"`
}

// name is what a name of a permit rests on: the numbers of the attempts' records.
type name struct {
	Name string `json:"name"`
	DCV  int64  `json:"dcv_record,omitempty"`
	CAA  int64  `json:"caa_record,omitempty"`
	Code string `json:"code,omitempty"`
}

// certificate is the line of a certificate on record.
type certificate struct {
	head
	Event          string   `json:"event"`
	Outcome        string   `json:"outcome"`
	Record         int64    `json:"record"`
	Again          bool     `json:"again,omitempty"`
	Permit         string   `json:"permit"`
	Caller         string   `json:"caller"`
	Linked         string   `json:"linked"`
	SHA256         string   `json:"sha256"`
	Serial         string   `json:"serial,omitempty"`
	Issuer         string   `json:"issuer,omitempty"`
	Precertificate bool     `json:"precertificate,omitempty"`
	Names          []string `json:"names,omitempty"`
	Count          int      `json:"names_count"`
	NotBefore      string   `json:"not_before,omitempty"`
	NotAfter       string   `json:"not_after,omitempty"`
	Reasons        []string `json:"reasons,omitempty"`
	Truncated      []string `json:"truncated,omitempty"`
}

func (m *marker) begin(h head)      { m.head = h }
func (a *attempt) begin(h head)     { a.head = h }
func (p *permit) begin(h head)      { p.head = h }
func (c *certificate) begin(h head) { c.head = h }

func (m *marker) shorten() bool      { return false }
func (a *attempt) shorten() bool     { return halve(&a.Views, &a.Truncated, "perspectives") }
func (p *permit) shorten() bool      { return halve(&p.Names, &p.Truncated, "names") }
func (c *certificate) shorten() bool { return halve(&c.Names, &c.Truncated, "names") }

// halve takes the second half of a list away, and says so.
func halve[T any](list *[]T, truncated *[]string, field string) bool {
	if len(*list) == 0 {
		return false
	}
	*list = (*list)[:len(*list)/2]
	if n := len(*truncated); n == 0 || (*truncated)[n-1] != field {
		*truncated = append(*truncated, field)
	}
	return true
}

// encode gives a line with its newline: ASCII without control characters, whatever it tells of.
func encode(e event, h head) ([]byte, error) {
	e.begin(h)
	for {
		text, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		line := append(ascii(text), '\n')
		if len(line) <= maxLine {
			return line, nil
		}
		if !e.shorten() {
			return nil, fmt.Errorf("a line of %d octets; at most %d are written", len(line), maxLine)
		}
	}
}

// Attempt is mpic.AuditLog's.
func (l *Log) Attempt(r mpic.Result) error {
	a, d := r.Evidence.Attempt, r.Decision.Recorded()
	c := cleaner{secrets: secrets(a.Probe.Request)}
	line := newAttempt(&c, a, r.Number)
	line.Event, line.Outcome, line.Policy = "attempt", d.Outcome, d.Policy
	line.ADN = c.text("adn", d.Validated.AuthorizationDomainName, maxName)
	line.Reasons = c.codes(d.Reasons)
	if d.Validated.ReusableUntil != nil {
		line.Scope, line.ReuseUntil = d.Validated.Scope.String(), stamp(*d.Validated.ReusableUntil)
	}
	if len(d.Views) > 0 {
		probe := a.Probe
		line.DCV, line.CAA = counted(d.DCV, !probe.CAAAlone), counted(d.CAA, !probe.DCVAlone)
	}
	line.Views = views(&c, r.Evidence, d.Views)
	line.Truncated = c.truncated
	return l.tell(line)
}

// Unrecorded is mpic.AuditLog's.
func (l *Log) Unrecorded(a mpic.Attempt, number int64) {
	c := cleaner{secrets: secrets(a.Probe.Request)}
	line := newAttempt(&c, a, number)
	line.Event, line.Outcome, line.Truncated = "unrecorded", "refused", c.truncated
	_ = l.tell(line) // the answer is no already
}

func newAttempt(c *cleaner, a mpic.Attempt, number int64) *attempt {
	req := a.Probe.Request
	line := &attempt{Record: number, Attempt: a.ID(), Kind: a.Kind, Shadow: a.Shadow, Started: stamp(a.Started), Try: a.Try,
		Caller: c.text("caller", a.Caller, maxCaller), Trace: c.text("trace", a.Trace, maxCaller),
		Identifier: c.text("identifier", req.Identifier, maxName), Section: req.Method.Section(),
		Account: c.text("account_uri", req.AccountURI, maxAccount), Software: c.text("software", a.Software, maxCaller), Rules: a.Rules,
		Requirement: mpic.Requirements}
	if req.CertificateType != va.TLSServer {
		line.Certificate = req.CertificateType.String()
	}
	if req.Method != 0 {
		line.Method = req.Method.String()
	}
	return line
}

func counted(q mpic.Quorum, asked bool) *quorum {
	if !asked {
		return nil
	}
	return &quorum{Quorum: q.String(), Allowed: q.Allowed, Regions: q.Regions}
}

// views has the primary first; who is who comes from the roster and the role (F2).
func views(c *cleaner, e mpic.Evidence, decided []mpic.View) []perspective {
	state := mpic.NotAsked
	if e.Primary != nil {
		state = mpic.Answered
	}
	out := []perspective{{Name: e.Roster.Primary.Name, Role: mpic.Primary, Region: e.Roster.Primary.Place.Region, State: state.String()}}
	for _, m := range e.Roster.Remotes {
		p := perspective{Name: m.Name, Role: mpic.RemoteRole, Region: m.Place.Region, State: mpic.NotAsked.String()}
		for _, a := range e.Remotes {
			if a.Perspective == m.Name {
				p.State = a.State.String()
			}
		}
		out = append(out, p)
	}
	for i := range out {
		for _, v := range decided {
			if v.Role != out[i].Role || v.Perspective != out[i].Name {
				continue
			}
			out[i].DCV, out[i].DCVCode = outcome(v.DCV), c.code(v.DCVProblem)
			out[i].CAA, out[i].CAACode = outcome(v.CAA), c.code(v.CAAProblem)
			out[i].Excused = len(v.CAAExcused)
		}
	}
	return out
}

// outcome leaves out what was not asked for.
func outcome(o va.Outcome) string {
	if o == va.NotChecked {
		return ""
	}
	return o.String()
}

// Permit is mpic.AuditLog's.
func (l *Log) Permit(r mpic.PermitRecord) error {
	c := cleaner{}
	line := &permit{Event: "permit", Outcome: r.Outcome, Record: r.Number, Permit: r.ID, Requested: stamp(r.Requested),
		Issued: stamp(r.Issued), Caller: c.text("caller", r.Caller, maxCaller), Account: c.text("account_uri", r.Account, maxAccount),
		Names: []name{}, Count: len(r.Names), Software: c.text("software", r.Software, maxCaller), Rules: r.Requirements}
	if !r.Expires.IsZero() {
		line.Expires = stamp(r.Expires)
	}
	if r.Problem != nil {
		line.Reasons = append(line.Reasons, c.code(r.Problem))
	}
	for _, n := range r.Names {
		one := name{Name: c.text("names", n.Name, maxName), Code: c.code(n.Problem)}
		if n.DCV != nil {
			one.DCV = n.DCV.Number
		}
		if n.CAA != nil {
			one.CAA = n.CAA.Number
		}
		line.Names = append(line.Names, one)
		line.Reasons = c.add(line.Reasons, n.Problem)
	}
	line.Truncated = c.truncated
	return l.tell(line)
}

// Certificate is mpic.AuditLog's.
func (l *Log) Certificate(r mpic.CertificateRecord, number int64, again bool) error {
	c := cleaner{}
	line := &certificate{Event: "certificate", Outcome: r.Outcome, Record: number, Again: again, Permit: r.Permit,
		Caller: c.text("caller", r.Caller, maxCaller), Linked: stamp(r.Linked), SHA256: r.SHA256, Serial: c.text("serial", r.Serial, maxCaller),
		Issuer: c.text("issuer", r.Issuer, maxAccount), Precertificate: r.Precertificate, Count: len(r.Names), Reasons: c.codes(r.Problems)}
	for _, n := range r.Names[:min(len(r.Names), mpic.MaxPermitNames)] {
		line.Names = append(line.Names, c.text("names", n, maxName))
	}
	if len(r.Names) > len(line.Names) {
		c.cut("names")
	}
	if !r.NotBefore.IsZero() {
		line.NotBefore, line.NotAfter = stamp(r.NotBefore), stamp(r.NotAfter)
	}
	line.Truncated = c.truncated
	return l.tell(line)
}

// stamp gives a time of RFC 3339 in UTC with nanoseconds where there are any: as the record has it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
