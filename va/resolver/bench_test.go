package resolver_test

import (
	"context"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
)

// A cold lookup starts with an empty resolver; a warm one knows the zone and its keys.
func BenchmarkLookup(b *testing.B) {
	w := serve(b, world.Default())
	ctx := context.Background()
	for _, name := range []string{"example.com", "example.org"} {
		b.Run("cold/"+name, func(b *testing.B) {
			for b.Loop() {
				require.Equal(b, dnssec.Secure, in(b, w, nil).Lookup(ctx, name, dns.TypeCAA).Lookup.Status)
			}
		})
		b.Run("warm/"+name, func(b *testing.B) {
			r := in(b, w, nil)
			for b.Loop() {
				require.Equal(b, dnssec.Secure, r.Lookup(ctx, name, dns.TypeCAA).Lookup.Status)
			}
		})
	}
}
