package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
)

// What an attacker's name servers can make one query cost is bounded in what can be counted, and ends in the outcome due.
// The time that it takes is measured by this program, never asserted.
//
// Holds: DCV-09, C3
func TestAttacksStayWithinTheLimits(t *testing.T) {
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			w, err := world.New(world.Config{Zones: append(top(), a.zones...), Faults: a.faults})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, w.Close()) })
			if a.prepare != nil {
				require.NoError(t, a.prepare(w))
			}
			c := &counter{}
			r, err := newResolver(place{Port: w.Port(), Hints: w.Hints(), Anchors: w.AnchorText()}, c, time.Minute)
			require.NoError(t, err)
			got, err := ask(r, c, a.ask, a.qtype)
			require.NoError(t, err)
			t.Logf("%+v", got)
			require.Equal(t, a.status, got.Status, got.Why)
			require.Equal(t, a.code, got.Code, got.Why)
			require.LessOrEqual(t, got.Packets, 200)
			require.LessOrEqual(t, got.Most, 32)
			require.LessOrEqual(t, got.Checks, int64(64))
		})
	}
}
