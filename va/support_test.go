package va

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// TestMain lets this test's binary be the world of benchmarks.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-role" {
		if err := beBenchWorld(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// now is the day of the tests.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const (
	token  = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
	thumb  = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
	secret = token + "." + thumb
)

// request is an admissible one.
func request(method Method) Request {
	return Request{Identifier: "shop.example.com", Method: method, Token: token, KeyAuthorization: secret,
		TokenCreated: now.Add(-time.Minute), AccountURI: "https://ca.example/acct/1", Issuers: []string{"ca.example",
			"ca2.example"}}
}

func probe(req Request) Probe {
	return Probe{Attempt: "attempt", Nonce: "00112233445566778899aabbccddeeff", Deadline: now.Add(time.Minute),
		Request: req}
}

// table gives the answers of a resolver, for what no resolver in its right mind does, and for addresses that no test
// may dial. The tests against real name servers are in world_test.go.
type table struct {
	mu sync.Mutex
	// records are the answers by "name TYPE", name without trailing dot: records in presentation format, without owner.
	records map[string][]string
	// status is for questions whose answer is not insecure.
	status map[string]dnssec.Status
	// answer replaces all that, where it is not nil and gives something.
	answer func(name, qtype string, nth int) *resolver.Answer
	asked  map[string]int
}

func (s *table) lookup(_ context.Context, name string, qtype uint16) *resolver.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	question := strings.TrimSuffix(name, ".") + " " + dns.TypeToString[qtype]
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[question]++
	if s.answer != nil {
		if a := s.answer(strings.TrimSuffix(name, "."), dns.TypeToString[qtype], s.asked[question]); a != nil {
			return a
		}
	}
	l := resolver.Lookup{Name: dns.CanonicalName(name), Type: dns.TypeToString[qtype], Status: dnssec.Insecure,
		Rcode: "NOERROR", Why: "a table says so"}
	if status, ok := s.status[question]; ok {
		l.Status = status
	}
	return answered(l, s.records[question]...)
}

// answered makes an answer of records; those that begin with a name have their own owner.
func answered(l resolver.Lookup, records ...string) *resolver.Answer {
	a := &resolver.Answer{Lookup: l}
	if !l.Status.Usable() {
		return a
	}
	for _, text := range records {
		rr, err := dns.NewRR(l.Name + " 300 IN " + text)
		if err != nil {
			panic(err)
		}
		a.Lookup.TTL = rr.Header().Ttl
		a.Lookup.Answers = append(a.Lookup.Answers, rr.String())
		a.Records = append(a.Records, rr)
	}
	return a
}

// checker makes a Checker over a table.
func checker(t *testing.T, s *table, change ...func(*Config)) *Checker {
	t.Helper()
	r, err := resolver.New(resolver.Config{})
	require.NoError(t, err)
	config := Config{Name: "primary", Software: "quorate/test", Resolver: r, Now: func() time.Time { return now }}
	for _, f := range change {
		f(&config)
	}
	c, err := New(config)
	require.NoError(t, err)
	c.lookup = s.lookup
	return c
}

// lines gives the lines of a file in testdata, without comments, trimmed; empty ones stay.
func lines(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	var out []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// columns splits a line at "|".
func columns(line string) []string {
	parts := strings.Split(line, "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func code(p *Problem) string {
	if p == nil {
		return "ok"
	}
	return p.Code
}
