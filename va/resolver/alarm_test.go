package resolver_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// notes is a log that several lookups may write to.
type notes struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(b)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}

// A key of the root that would take over and is no anchor is told of once, and validation goes on with the anchors.
//
// Holds: DCV-04
func TestUnknownRootKeyRaisesOneAlarm(t *testing.T) {
	w := serve(t, quick())
	log := new(notes)
	var mu sync.Mutex
	now := time.Now()
	r := in(t, w, func(c *resolver.Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		c.CacheCap = time.Minute
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	ask := func() {
		t.Helper()
		l := r.Lookup(context.Background(), "example.com", dns.TypeCAA).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(2 * time.Minute) // beyond the cap: the keys are fetched anew
	}
	ask()
	require.Empty(t, log.String(), "the anchors' key and keys that sign other records are no reason")

	rdata := func(flags uint16) (*dns.DNSKEY, string) {
		k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: flags,
			Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
		_, err := k.Generate(256)
		require.NoError(t, err)
		return k, strings.TrimPrefix(k.String(), k.Hdr.String())
	}
	next, sep := rdata(dns.ZONE | dns.SEP)
	_, revoked := rdata(dns.ZONE | dns.SEP | dns.REVOKE)
	_, zsk := rdata(dns.ZONE)
	require.NoError(t, w.Set(".", dns.TypeDNSKEY, sep, revoked, zsk))
	ask()
	ask()
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
	require.Contains(t, log.String(), "algorithm=ECDSAP256SHA256")
	require.Contains(t, log.String(), fmt.Sprintf("tag=%d ", next.KeyTag()))
}
