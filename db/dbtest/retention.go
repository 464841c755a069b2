package dbtest

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
)

// Calendar is a clock that a test sets.
type Calendar struct{ at atomic.Int64 }

// NewCalendar begins with the attempts made here.
func NewCalendar() *Calendar {
	c := &Calendar{}
	c.Set(started)
	return c
}

// Set sets the clock.
func (c *Calendar) Set(at time.Time) { c.at.Store(at.UnixNano()) }

// Now goes on by a millisecond with each look.
func (c *Calendar) Now() time.Time { return time.Unix(0, c.at.Add(int64(time.Millisecond))).UTC() }

// Segment is how many lines a segment has in Retention.
const Segment = 4

// Retention holds an engine to REC-04. open opens the same empty database: for a gate, or to remove what is due; its clock is the
// calendar's, and its segments are of Segment lines.
func Retention(t *testing.T, calendar *Calendar, open func(retention bool) *db.Store) {
	gate := open(false)
	at := func(id string, years, days int) mpic.Attempt {
		a := Attempt(id, "example.com", mpic.Issuance)
		a.Started = started.AddDate(years, 0, days)
		a.Probe.Deadline = a.Started.Add(20 * time.Second)
		return a
	}
	// Six attempts on the first day, one of them with notices; upon the last a certificate, good for 90 days.
	for i := range 4 {
		Record(t, gate, Evidence(t, at(fmt.Sprintf("A%d", i+1), 0, 0)))
	}
	Forbid(t, gate, "A5")
	Record(t, gate, Evidence(t, at("A6", 0, 0)))
	_, c := Issue(t, gate, started.Add(10*time.Second), "example.com")
	require.Equal(t, started.Add(10*time.Second).AddDate(0, 0, 90).Truncate(time.Second), c.NotAfter)
	due := func(s *db.Store, when time.Time) db.Due {
		calendar.Set(when)
		d, err := s.Due(t.Context(), 0)
		require.NoError(t, err)
		return d
	}
	end := c.NotAfter.AddDate(db.RetentionYears, 0, 0)
	reuse := mpic.ReusableUntil(at("X", 0, 0).Probe.Request.Method, started).AddDate(db.RetentionYears, 0, 0)
	last := end
	if reuse.After(last) {
		last = reuse
	}
	require.True(t, due(gate, started.AddDate(2, 0, 0)).Empty(), "nothing after two years: it could be relied upon until later")
	require.True(t, due(gate, reuse.Add(-time.Hour)).Empty(), "nothing before all reuse has been over for two years")
	require.NoError(t, gate.Close())

	s := open(true)
	d := due(s, last.Add(time.Hour))
	require.EqualValues(t, 0, d.First)
	require.EqualValues(t, 16, d.Past, "whole segments: of eighteen lines the last two stay")
	proven := db.Removed{Due: d, Export: fmt.Sprintf("%064x", 1), Proven: last, By: "test"}
	for name, change := range map[string]func(*db.Removed){
		"not due":      func(r *db.Removed) { r.Past += Segment },
		"not next":     func(r *db.Removed) { r.First += Segment },
		"no export":    func(r *db.Removed) { r.Export = "" },
		"not proven":   func(r *db.Removed) { r.Proven = time.Time{} },
		"an empty one": func(r *db.Removed) { r.Past = r.First },
	} {
		wrong := proven
		change(&wrong)
		_, err := s.Remove(t.Context(), wrong)
		require.ErrorIs(t, err, db.ErrMismatch, name)
	}
	require.Empty(t, verify(t, s), "nothing was removed yet")

	removed, err := s.Remove(t.Context(), proven)
	require.NoError(t, err)
	require.EqualValues(t, 5, removed.Rows["attempts"], "the sixth bears a certificate whose line is beyond the segment")
	require.EqualValues(t, 4, removed.Rows["notices"])
	require.Empty(t, verify(t, s))
	for i := range 6 {
		_, err := s.Attempt(t.Context(), strconv.Itoa(i+1))
		if i < 5 {
			require.ErrorIs(t, err, db.ErrNotFound)
		} else {
			require.NoError(t, err)
		}
	}
	require.True(t, due(s, last.Add(2*time.Hour)).Empty())
	_, err = s.Remove(t.Context(), proven)
	require.ErrorIs(t, err, db.ErrMismatch, "twice")
	require.NoError(t, s.Close())

	// Numbers and lines go on where they were, and the rest goes in its time.
	gate = open(false)
	calendar.Set(last.Add(3 * time.Hour))
	late := at("B1", 0, 0)
	late.Started = last.Add(3 * time.Hour)
	late.Probe.Deadline = late.Started.Add(20 * time.Second)
	late.Probe.Request.TokenCreated = late.Started.Add(-time.Hour)
	n, err := gate.Journal().Open(t.Context(), late, Roster())
	require.NoError(t, err)
	require.EqualValues(t, 7, n)
	require.Empty(t, verify(t, gate))
	require.NoError(t, gate.Close())
}
