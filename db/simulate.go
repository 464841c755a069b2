package db

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Changed is a record that the rules of another day would have decided otherwise.
type Changed struct {
	Record     int64     `json:"record,omitempty"`
	Permit     int64     `json:"permit,omitempty"`
	Identifier string    `json:"identifier"`
	Started    time.Time `json:"started"`
	// Was and Would are outcomes; Codes say why it would be refused, or was.
	Was   string   `json:"was"`
	Would string   `json:"would"`
	Codes []string `json:"codes"`
}

// Simulation counts what the rules of another day would have decided.
type Simulation struct {
	On time.Time `json:"on"`
	// Attempts are those that were judged again. GrantedThen and GrantedOn count grants by the rules of their own day and of On.
	Attempts    int64 `json:"attempts"`
	GrantedThen int64 `json:"granted_then"`
	GrantedOn   int64 `json:"granted_on"`
	// Codes count attempts that were granted and would not be, by reason.
	Codes map[string]int64 `json:"codes"`
	// Open have no decision. Unjudged are decided records of which Judge does not make the recorded decision: their tokens are kept as
	// digests alone, or they were changed, which audit verify tells.
	Open     int64 `json:"open"`
	Unjudged int64 `json:"unjudged"`
	// Permits are the granted permits that were looked at; Withheld those that would not have been given, PermitCodes why.
	Permits     int64            `json:"permits"`
	Withheld    int64            `json:"permits_withheld"`
	PermitCodes map[string]int64 `json:"permit_codes"`
	// UnknownPermits rest on evidence that cannot be judged again, or was removed.
	UnknownPermits int64 `json:"permits_unknown"`
}

// Simulate judges recorded attempts that c picks again, as if they had started at a time, and looks at the granted permits that rest on
// them: whether their evidence would have been granted, and was young enough for the period of reuse at that time. c.Counted and what
// follows from a perspective's view are for DCV or CAA. changed, if set, gets what would have come out otherwise, in order; progress is told
// how many of how many attempts were judged.
func (s *Store) Simulate(ctx context.Context, c Criteria, on time.Time, changed func(Changed) error, progress func(done, of int64)) (out Simulation, err error) {
	out = Simulation{On: on, Codes: map[string]int64{}, PermitCodes: map[string]int64{}}
	err = s.viewing(ctx, "simulate", func(v *scan) error {
		p, err := v.pick(ctx, c)
		if err != nil {
			return err
		}
		sim := &simulation{scan: v, out: &out, on: on, changed: changed, progress: progress, seen: &numbers{}, refused: &numbers{}, unjudged: &numbers{}}
		sim.chosen = &numbers{}
		if p.dcv == nil {
			if sim.chosen, err = v.set(ctx, `SELECT number FROM attempts`); err != nil {
				return err
			}
		} else {
			for _, part := range []*numbers{p.dcv, p.caa} {
				for n := range part.each {
					sim.chosen.add(n)
				}
			}
		}
		if err := sim.attempts(ctx, sim.chosen, true); err != nil {
			return err
		}
		return sim.permits(ctx)
	})
	return out, err
}

type simulation struct {
	*scan
	out     *Simulation
	on      time.Time
	changed func(Changed) error
	// progress is told of chosen ones.
	progress func(done, of int64)
	// chosen are the records picked. seen were judged again, of which refused would be refused, and unjudged cannot be.
	chosen, seen, refused, unjudged *numbers
}

// judged is what came of one record.
type judged struct {
	record   Record
	was, now mpic.RecordedDecision
	open     bool
	unjudged bool
	err      error
}

// attempts judges records again, some at a time on all processors. count tells whether they are those that are asked about, or only the
// evidence of permits.
func (s *simulation) attempts(ctx context.Context, of *numbers, count bool) error {
	done := int64(0)
	for some := range of.chunks(100) {
		var folders []*folder
		for first := 0; first < len(some); { // runs of consecutive numbers
			past := first + 1
			for past < len(some) && some[past] == some[past-1]+1 {
				past++
			}
			run, err := s.folders(ctx, some[first], some[past-1]+1)
			if err != nil {
				return err
			}
			folders = append(folders, run...)
			first = past
		}
		results := make([]judged, len(folders))
		var group sync.WaitGroup
		workers := runtime.GOMAXPROCS(0)
		for w := range workers {
			group.Go(func() {
				for i := w; i < len(folders); i += workers {
					if folders[i] != nil && folders[i].attempt != nil {
						results[i] = s.again(folders[i])
					}
				}
			})
		}
		group.Wait()
		for i, r := range results {
			if folders[i] == nil || folders[i].attempt == nil {
				continue
			}
			if err := s.take(r, folders[i].number, count); err != nil {
				return err
			}
		}
		if done += int64(len(some)); count && s.progress != nil {
			s.progress(done, of.count)
		}
	}
	return nil
}

func (s *simulation) again(f *folder) (j judged) {
	if j.record, j.err = f.read(); j.err != nil {
		return j
	}
	if j.open = len(j.record.Decision) == 0; j.open {
		return j
	}
	j.was = j.record.said
	then, err := json.Marshal(mpic.Judge(j.record.Evidence))
	if j.unjudged = err != nil || !bytes.Equal(then, j.record.Decision); !j.unjudged {
		j.now = mpic.JudgeOn(j.record.Evidence, s.on)
	}
	j.record = Record{Summary: j.record.Summary} // decoded, a record is large, and a hundred wait for their turn
	return j
}

func (s *simulation) take(j judged, number int64, count bool) error {
	if j.err != nil {
		return j.err
	}
	s.seen.add(number)
	granted := !j.open && !j.unjudged && j.now.Outcome == mpic.OutcomeGranted
	if !granted {
		s.refused.add(number)
	}
	if j.open || j.unjudged {
		s.unjudged.add(number)
	}
	if !count {
		return nil
	}
	switch {
	case j.open:
		s.out.Open++
		return nil
	case j.unjudged:
		s.out.Unjudged++
		return nil
	}
	s.out.Attempts++
	then := j.was.Outcome == mpic.OutcomeGranted
	if then {
		s.out.GrantedThen++
	}
	if granted {
		s.out.GrantedOn++
	}
	if then == granted {
		return nil
	}
	reasons := j.now.Reasons
	if granted {
		reasons = j.was.Reasons
	}
	c := Changed{Record: number, Identifier: j.record.Identifier, Started: j.record.Started, Was: j.was.Outcome, Would: j.now.Outcome}
	seen := map[string]bool{}
	for _, p := range reasons {
		if !seen[p.Code] {
			seen[p.Code] = true
			c.Codes = append(c.Codes, p.Code)
			if then {
				s.out.Codes[p.Code]++
			}
		}
	}
	return s.tell(c)
}

func (s *simulation) tell(c Changed) error {
	if s.changed == nil {
		return nil
	}
	return s.changed(c)
}

// permits looks at the granted permits that rest on the records picked.
func (s *simulation) permits(ctx context.Context) error {
	permits, err := s.permitsOn(ctx, picked{s.chosen, s.chosen})
	if err != nil {
		return err
	}
	for some := range permits.chunks(chunk) {
		names, err := s.evidence(ctx, some)
		if err != nil {
			return err
		}
		missing := &numbers{}
		for _, n := range names {
			for _, number := range []int64{n.dcv, n.caa} {
				if !s.seen.has(number) {
					missing.add(number)
				}
			}
		}
		if err := s.attempts(ctx, missing, false); err != nil {
			return err
		}
		of := map[int64][]resting{}
		for _, n := range names {
			of[n.permit] = append(of[n.permit], n)
		}
		for _, permit := range some {
			if err := s.permit(permit, of[permit]); err != nil {
				return err
			}
		}
	}
	return nil
}

// resting is a name of a permit with the age of its evidence.
type resting struct {
	relying
	permit          int64
	issued, checked time.Time
	method          string
	removed         bool
}

func (s *simulation) evidence(ctx context.Context, permits []int64) (all []resting, err error) {
	err = s.query(ctx, `SELECT n.permit, n.name, n.attempt, n.caa_attempt, p.issued_at, r.checked_at, coalesce(r.method, '')
		FROM permit_names AS n JOIN permits AS p ON p.number = n.permit LEFT JOIN reliances AS r ON r.attempt = n.attempt
		WHERE `+within("n.permit", permits), nil, func(rows *sql.Rows) error {
		var r resting
		var issued string
		var checked sql.NullString
		err := rows.Scan(&r.permit, &r.name, &r.dcv, &r.caa, &issued, &checked, &r.method)
		if err == nil {
			r.issued, err = parseTime(issued)
		}
		if err == nil {
			r.checked, err = optionalTime(checked)
		}
		r.removed = !checked.Valid
		all = append(all, r)
		return err
	})
	return all, err
}

// permit tells whether a permit would have been given at the time: DCV-03, DCV-01 for the period and the method, MPIC-01 for its evidence.
func (s *simulation) permit(number int64, names []resting) error {
	codes, unknown := map[string]bool{}, false
	c := Changed{Permit: number, Was: mpic.OutcomeGranted, Would: mpic.OutcomeRefused}
	var of []string
	for _, n := range names {
		code, known := s.without(n)
		unknown = unknown || !known
		if code != "" {
			codes[code] = true
			of, c.Started = append(of, n.name), n.issued
		}
	}
	s.out.Permits++
	switch {
	case len(codes) > 0:
		s.out.Withheld++
	case unknown:
		s.out.UnknownPermits++
		return nil
	default:
		return nil
	}
	c.Identifier = strings.Join(of, " ")
	for _, code := range []string{"permit.no-evidence", "permit.method", "permit.expired", "permit.caa-refused"} {
		if codes[code] {
			c.Codes = append(c.Codes, code)
			s.out.PermitCodes[code]++
		}
	}
	return s.tell(c)
}

// without gives the code for which a name would have no permit, in the words of mpic.PermitCodes; known is false where its evidence cannot
// be judged.
func (s *simulation) without(n resting) (code string, known bool) {
	if n.removed || !s.seen.has(n.dcv) || !s.seen.has(n.caa) || s.unjudged.has(n.dcv) || s.unjudged.has(n.caa) {
		return "", false
	}
	if s.refused.has(n.dcv) {
		return "permit.no-evidence", true
	}
	if s.refused.has(n.caa) {
		return "permit.caa-refused", true
	}
	return reusableOn(n, s.on)
}

// reusableOn tells whether evidence was young enough when its permit was issued, by the period of another day.
func reusableOn(n resting, on time.Time) (code string, known bool) {
	var m va.Method
	if err := m.UnmarshalText([]byte(n.method)); err != nil {
		return "", false
	}
	switch period := mpic.ReusePeriod(m, on); {
	case period == 0:
		return "permit.method", true
	case n.issued.Sub(n.checked) > period:
		return "permit.expired", true
	}
	return "", true
}
