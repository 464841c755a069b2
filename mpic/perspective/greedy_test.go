package perspective

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/test/greedy"
)

// TestAGateThatTakesNoAnswersKeepsFew: three connections, 250 requests on each, and not one answer is let through. What is more than the gate may have
// is reset, and the other gate is answered.
//
// Holds: D11, MPIC-07
func TestAGateThatTakesNoAnswersKeepsFew(t *testing.T) {
	const streams, most = 250, 1 + spareRequests
	s := serveTwo(t, pass, func(c *Config) { c.Gates[0].InFlight = 1 })
	left := most
	for left >= streams {
		c := greedy.Dial(t, s.address, s.gate.certificate)
		c.Ask("/livez", streams)
		c.Begun(streams)
		left -= streams
	}
	c := greedy.Dial(t, s.address, s.gate.certificate)
	c.Ask("/livez", streams)
	c.Reset(streams - left)
	a := s.remote(t, s.other).Attest(t.Context(), newProbe())
	require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
}
