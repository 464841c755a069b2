package resolver

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Quick servers come first and failed ones last; unknown ones are tried, and now and then any other than the quickest.
//
// Holds: DCV-04
func TestServersAreChosenByRoundTrip(t *testing.T) {
	at := func(n byte) server {
		return server{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53)}
	}
	quick, slow, failed := at(1), at(2), at(3)
	var s stats
	for range 20 {
		s.note(quick.addr, time.Millisecond, true)
		s.note(slow.addr, 300*time.Millisecond, true)
		s.note(failed.addr, time.Second, false)
	}
	const times = 4000
	first := map[server]int{}
	for range times {
		list := []server{failed, slow, quick}
		s.order(list)
		first[list[0]]++
		require.Len(t, list, 3)
		if list[0] == quick {
			require.Equal(t, []server{quick, slow, failed}, list)
		}
	}
	require.Greater(t, first[quick], times*9/10)
	require.Positive(t, first[slow], "else a server that has become quick is never found out")
	require.Positive(t, first[failed])

	fresh, other := at(4), at(5)
	order := map[server]int{}
	for range times {
		list := []server{fresh, other}
		s.order(list)
		order[list[0]]++
	}
	require.Greater(t, order[fresh], times/4, "which of two unknown servers is asked cannot be foreseen")
	require.Greater(t, order[other], times/4)

	s.note(failed.addr, time.Millisecond, true)
	list := []server{slow, failed}
	require.Eventually(t, func() bool { s.order(list); return slices.Index(list, failed) == 0 }, time.Minute,
		time.Microsecond,
		"a server that answers again is a server like any other")
}
