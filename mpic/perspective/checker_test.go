package perspective

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// A real checker whose only name server does not answer: nothing can be found out, and the report says so. It is complete
// and signed all the same.
//
// Holds: F6
func TestPerspectiveReportsWhatItCouldNotCheck(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	at := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	names, err := resolver.New(resolver.Config{Hints: []resolver.Hint{{Name: "silent.", Addrs: []netip.Addr{at.Addr()}}},
		Port: at.Port(), AllowReserved: true, Timeout: 100 * time.Millisecond})
	require.NoError(t, err)
	checker, err := va.New(va.Config{Name: "another-name", Software: "quorate/test", Resolver: names, Timeout: 200 * time.Millisecond})
	require.NoError(t, err)
	_, err = NewServer(Config{Checker: checker})
	require.ErrorContains(t, err, "no identity")

	w := serve(t, func(ctx context.Context, p va.Probe) va.Report { return checker.Check(ctx, p) }, nil)
	a := w.remote(t, w.gate).Attest(t.Context(), newProbe())
	require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
	require.Equal(t, "fra", a.Perspective, "what a perspective calls itself does not matter")
	report := a.Reply.Report()
	require.Equal(t, "another-name", report.Perspective)
	require.Equal(t, va.Error, report.DCV.Outcome)
	require.Equal(t, va.Error, report.CAA.Outcome)
	require.NotNil(t, report.DCV.Problem)
	require.NotNil(t, report.CAA.Problem)
	require.NotEmpty(t, report.CAA.Lookups)
}
