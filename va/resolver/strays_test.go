package resolver_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// Sixteen datagrams that answer something else are a flood of guesses: the question goes over TCP at once, and the
// genuine answer
// over UDP, if it still comes, is not waited for. Fifteen are bad luck.
//
// Holds: DCV-04
func TestRFC5452_9_AFloodOfGuessesIsNotWaitedOut(t *testing.T) {
	for guesses, tcp := range map[int]bool{0: false, 15: false, 16: true, 200: true} {
		w := serve(t, quick())
		_, err := w.Inject(world.Fault{Zone: "example.com", Type: dns.TypeTXT, Kind: world.Flood,
			Flood: func(m *dns.Msg) []*dns.Msg {
				var all []*dns.Msg
				for i := range guesses {
					guess := m.Copy()
					guess.Id ^= uint16(i + 1)
					guess.Answer = records(t, `example.com. TXT "guessed"`)
					all = append(all, guess)
				}
				return all
			}})
		require.NoError(t, err)
		l := in(t, w, nil).Lookup(context.Background(), "example.com", dns.TypeTXT).Lookup
		require.Equal(t, dnssec.Secure, l.Status, "%s\n%s", l.Why, trace(l))
		require.NotContains(t, l.Answers, "guessed")
		asked := slices.DeleteFunc(slices.Clone(l.Queries), func(q resolver.Query) bool {
			return q.Question != "example.com. TXT" || !strings.HasPrefix(q.Server, "127.0.53.10:")
		})
		require.Equal(t, "udp", asked[0].Transport)
		require.Equal(t, tcp, asked[0].Error == "too many datagrams that answer another question", trace(l))
		require.Equal(t, tcp, asked[len(asked)-1].Transport == "tcp", trace(l))
	}
}
