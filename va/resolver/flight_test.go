package resolver

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// ending is a context that ends right after it was asked, for the first time since asked is set, whether it has.
type ending struct {
	context.Context
	cancel context.CancelFunc
	asked  atomic.Bool
}

func (e *ending) Err() error {
	err := e.Context.Err()
	if e.asked.Load() {
		e.cancel()
	}
	return err
}

// A query whose time is up in the very moment when the next server would be asked has an outcome like any other, and its socket is
// closed.
//
// Holds: C9, REC-04
func TestNoQueryIsLeftWithoutAnOutcome(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	end := &ending{Context: ctx, cancel: cancel}
	silent, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	require.NoError(t, err)
	defer silent.Close()
	came := make(chan struct{})
	go func() {
		defer close(came)
		_, _, _ = silent.ReadFromUDPAddrPort(make([]byte, maxDatagram))
		end.asked.Store(true)
	}()
	at := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	r, err := New(Config{Hints: []Hint{{Name: "a.", Addrs: []netip.Addr{at.Addr()}}}, Port: at.Port(), AllowReserved: true})
	require.NoError(t, err)
	w := &work{r: r, started: time.Now(), verifier: dnssec.NewVerifier(r.config.Algorithms, r.config.Limits.Limits, time.Now())}
	v := w.ask(end, frame{}, r.root, ".", dns.TypeSOA, func(dnssec.Message) dnssec.Verdict { return usable })
	w.running.Wait()
	<-came
	require.Equal(t, codeTimeout, v.Reason.Code, v.Reason.Text)
	require.Len(t, w.queries, 1)
	require.NotEmpty(t, w.queries[0].Query)
	require.NotEmpty(t, w.queries[0].Error)
}
