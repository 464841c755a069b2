package va

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

func later(seconds float64) time.Time { return now.Add(time.Duration(seconds * float64(time.Second))) }

// lookedUp is a lookup with one query for its question, from one second of the test to another.
func lookedUp(name, qtype string, from, to float64, q resolver.Query, change func(*resolver.Lookup)) resolver.Lookup {
	q.Question = name + " " + qtype
	l := resolver.Lookup{Name: name, Type: qtype, Started: later(from), Finished: later(to), Queries: []resolver.Query{q}}
	change(&l)
	return l
}

func chainTo(zones map[string]dnssec.Status, names ...string) []resolver.Link {
	var chain []resolver.Link
	for _, n := range names {
		chain = append(chain, resolver.Link{Zone: n, Result: zones[n]})
	}
	return chain
}

var zones = map[string]dnssec.Status{".": dnssec.Secure, "com.": dnssec.Secure, "example.com.": dnssec.Insecure}

// excused gives a lookup that failed, and what excuses it: SERVFAIL from the only server of the unsigned example.com.
func excused() (resolver.Lookup, LookupFailure) {
	failed := func(l *resolver.Lookup) {
		l.Status, l.Code, l.Chain = dnssec.Failure, "dns.no-server", chainTo(zones, ".", "com.", "example.com.")
	}
	servfail := resolver.Query{Server: "192.0.2.9:53", Transport: "udp", Rcode: "SERVFAIL", Error: "answers with SERVFAIL"}
	answer := func(server string) resolver.Query {
		return resolver.Query{Server: server, Transport: "udp", Rcode: "NOERROR"}
	}
	return lookedUp("shop.example.com.", "CAA", 1, 2, servfail, failed), LookupFailure{Name: "shop.example.com",
		Retry: lookedUp("shop.example.com.", "CAA", 3, 4, servfail, failed),
		DS: lookedUp("example.com.", "DS", 3, 5, answer("192.0.2.2:53"), func(l *resolver.Lookup) {
			l.Status, l.Rcode, l.Chain = dnssec.Secure, "NOERROR", chainTo(zones, ".", "com.")
		}),
		Control: lookedUp(".", "SOA", 3, 5, answer("192.0.2.1:53"), func(l *resolver.Lookup) {
			l.Status, l.Rcode, l.Chain = dnssec.Secure, "NOERROR", chainTo(zones, ".")
			l.Answers = []string{".\t86400\tIN\tSOA\ta.root-servers.net. nstld.verisign-grs.com. 1 1800 900 604800 86400"}
		})}
}

// TestBR_3_2_2_8_ThreeProofsExcuseAFailure alters one thing at a time in what excuses a failed lookup.
//
// Holds: CAA-06, CAA-07, C6
func TestBR_3_2_2_8_ThreeProofsExcuseAFailure(t *testing.T) {
	type lookups = []*resolver.Lookup // first, retry, DS, control
	both := func(change func(*resolver.Lookup)) func(lookups) {
		return func(l lookups) { change(l[0]); change(l[1]) }
	}
	at := func(i int, change func(*resolver.Lookup)) func(lookups) { return func(l lookups) { change(l[i]) } }
	status := func(s dnssec.Status) func(*resolver.Lookup) { return func(l *resolver.Lookup) { l.Status = s } }
	code := func(c string) func(*resolver.Lookup) { return func(l *resolver.Lookup) { l.Code = c } }
	queries := func(q ...resolver.Query) func(*resolver.Lookup) {
		return func(l *resolver.Lookup) {
			l.Queries = nil
			for _, q := range q {
				if q.Question == "" {
					q.Question = l.Name + " " + l.Type
				}
				l.Queries = append(l.Queries, q)
			}
		}
	}
	links := func(z map[string]dnssec.Status, names ...string) func(*resolver.Lookup) {
		return func(l *resolver.Lookup) { l.Chain = chainTo(z, names...) }
	}
	with := func(zone string, s dnssec.Status) map[string]dnssec.Status {
		return map[string]dnssec.Status{".": dnssec.Secure, "com.": dnssec.Secure, "example.com.": dnssec.Insecure, zone: s}
	}
	timeout := func(took float64) func(*resolver.Lookup) {
		return func(l *resolver.Lookup) {
			l.Code, l.Finished = "dns.timeout", l.Started.Add(time.Duration(took*float64(time.Second)))
		}
	}
	silent := resolver.Query{Server: "192.0.2.9:53", Milliseconds: 1200, Error: "no response within 1.2s"}
	for what, c := range map[string]struct {
		change func(lookups)
		want   string // empty where it is excused
	}{
		"as it is": {func(lookups) {}, ""},

		// The failure is one to get an answer from the name servers.
		"bogus":                       {at(0, status(dnssec.Bogus)), "it is bogus"},
		"bogus in the retry":          {at(1, status(dnssec.Bogus)), "the retry: it is bogus"},
		"no status":                   {at(0, status(0)), "it is no status"},
		"answered":                    {at(0, status(dnssec.Insecure)), "it is insecure"},
		"answered in the retry":       {at(1, status(dnssec.Insecure)), "the retry: it is insecure"},
		"a limit":                     {both(code("dns.limit")), `"dns.limit"`},
		"a limit in the retry":        {at(1, code("dns.limit")), `the retry: it failed with "dns.limit"`},
		"a limit of DNSSEC":           {both(code(dnssec.CodeLimit)), `"dnssec.limit"`},
		"NSEC3 iterations":            {both(code(dnssec.CodeIterations)), `"dnssec.nsec3-iterations"`},
		"a special-use name":          {both(code("dns.special-use")), `"dns.special-use"`},
		"a server that is not asked":  {both(code("dns.reserved-server")), `"dns.reserved-server"`},
		"no anchor":                   {both(code(dnssec.CodeNoAnchor)), `"dnssec.no-anchor"`},
		"a fault of the program":      {both(code("perspective.panic")), `"perspective.panic"`},
		"no code":                     {both(code("")), `""`},
		"no patience":                 {at(1, timeout(4.9)), "the retry: it was given 4.9s"},
		"another name":                {at(0, func(l *resolver.Lookup) { l.Name = "example.com." }), "stands where"},
		"another name in the retry":   {at(1, func(l *resolver.Lookup) { l.Name = "example.com." }), "stands where"},
		"another type in the retry":   {at(1, func(l *resolver.Lookup) { l.Type = "TXT" }), "stands where"},
		"asked of a resolver":         {at(0, func(l *resolver.Lookup) { l.Upstream = "192.0.2.53:53" }), "192.0.2.53:53 was asked, which is the CA's own"},
		"a resolver in the retry":     {at(1, func(l *resolver.Lookup) { l.Upstream = "192.0.2.53:53" }), "the retry: the resolver"},
		"no server was asked":         {both(queries()), "no server of example.com. was reached in vain"},
		"none in the retry":           {at(1, queries()), "the retry: no server"},
		"other zones' servers failed": {both(queries(resolver.Query{Server: "192.0.2.1:53", Question: "ns.example.net. A", Rcode: "SERVFAIL"})), "no server"},
		"a fault on this host":        {both(queries(resolver.Query{Server: "192.0.2.9:53", Error: "network is unreachable", Milliseconds: 1})), "may be the fault of this host"},
		"a fault on this host, slow":  {both(queries(resolver.Query{Server: "192.0.2.9:53", Error: "no route", Milliseconds: 900})), "may be the fault of this host"},
		"one fault of several":        {at(1, queries(silent, resolver.Query{Server: "192.0.2.10:53", Error: "too many open files"})), "the retry: the query to 192.0.2.10:53"},
		"a closed port":               {both(queries(resolver.Query{Server: "192.0.2.9:53", Error: "connection refused"})), "may be the fault of this host"},
		"no account of a failure":     {both(queries(resolver.Query{Server: "192.0.2.9:53"})), "may be the fault of this host"},
		"another server was quicker":  {both(queries(resolver.Query{Server: "192.0.2.9:53", Error: "given up: no longer needed", Milliseconds: 900})), "no server"},
		"a short silence":             {both(queries(resolver.Query{Server: "192.0.2.9:53", Error: "no response within 1.2s", Milliseconds: 499})), "no server"},
		"a long and a short silence":  {both(queries(silent, resolver.Query{Server: "192.0.2.9:53", Error: "no response within 1.2s", Milliseconds: 3})), ""},
		"octets that are no message":  {both(queries(resolver.Query{Server: "192.0.2.9:53", Error: "the response is no DNS message", Response: []byte("garbage")})), "could not read it"},
		"more than is read":           {both(queries(silent, resolver.Query{Server: "192.0.2.9:53", Error: "the response has more than 2000 records", Response: []byte("many")})), "could not read it"},
		"all were answered":           {both(queries(resolver.Query{Server: "192.0.2.9:53", Rcode: "NOERROR"})), "no server"},
		"a query without a question":  {both(queries(resolver.Query{Server: "192.0.2.9:53", Rcode: "SERVFAIL", Question: "x"})), "no server"},
		"a lame server":               {both(queries(resolver.Query{Server: "192.0.2.9:53", Rcode: "NOERROR", Error: "not authoritative"})), ""},
		"a silent server":             {both(queries(silent)), ""},

		// The domain is Insecure.
		"a signed zone":              {both(links(with("example.com.", dnssec.Secure), ".", "com.", "example.com.")), "no zone in its chain"},
		"a bogus zone":               {both(links(with("example.com.", dnssec.Bogus), ".", "com.", "example.com.")), "is bogus"},
		"a zone without keys":        {both(links(with("com.", dnssec.Failure), ".", "com.", "example.com.")), "com. in its chain of trust is failure"},
		"signed again below":         {both(links(with("com.", dnssec.Insecure), ".", "com.", "shop.example.com.")), "is no status"},
		"an insecure root":           {both(links(with(".", dnssec.Insecure), ".", "com.", "example.com.")), ". in its chain of trust is insecure"},
		"no chain":                   {both(links(nil)), "no zone in its chain"},
		"a chain that never started": {both(links(zones, "com.", "example.com.")), "straight"},
		"a chain that turned":        {both(links(zones, ".", "example.com.", "com.")), "straight"},
		"an alias to elsewhere":      {both(links(with("net.", dnssec.Secure), ".", "com.", "example.com.", "net.")), "straight"},
		"a chain that ended higher":  {at(1, links(with("com.", dnssec.Insecure), ".", "com.", "example.com.")), "and in the retry at com."},
		"an unsigned zone below": {both(links(with("shop.example.com.", dnssec.Insecure), ".", "com.", "example.com.",
			"shop.example.com.")), ""},
		"DS of another name":       {at(2, func(l *resolver.Lookup) { l.Name = "com." }), "stands where that of example.com. DS"},
		"another type than DS":     {at(2, func(l *resolver.Lookup) { l.Type = "NS" }), "stands where that of example.com. DS"},
		"DS failed":                {at(2, status(dnssec.Failure)), "DS is failure"},
		"DS bogus":                 {at(2, status(dnssec.Bogus)), "DS is bogus"},
		"DS unproven":              {at(2, status(dnssec.Insecure)), "DS is insecure"},
		"DS in an opt-out span":    {at(2, func(l *resolver.Lookup) { l.Status, l.Code = dnssec.Insecure, dnssec.CodeOptOut }), ""},
		"DS exists":                {at(2, func(l *resolver.Lookup) { l.Answers = []string{"example.com. DS"} }), "1 records"},
		"the zone is not there":    {at(2, func(l *resolver.Lookup) { l.Rcode = "NXDOMAIN" }), "(NXDOMAIN)"},
		"DS by another zone":       {at(2, links(with("org.", dnssec.Secure), ".", "org.")), "another chain of trust"},
		"DS by the root":           {at(2, links(zones, ".")), "not its parent zone's"},
		"DS by the child":          {at(2, links(zones, ".", "com.", "example.com.")), "not its parent zone's"},
		"DS by an unsigned parent": {at(2, links(with("com.", dnssec.Insecure), ".", "com.")), "another chain of trust"},
		"DS was not asked for":     {at(2, queries()), "no server was asked for example.com. DS"},

		// The failure lies outside.
		"another control":         {at(3, func(l *resolver.Lookup) { l.Name = "com." }), "stands where that of . SOA"},
		"another control's type":  {at(3, func(l *resolver.Lookup) { l.Type = "NS" }), "stands where that of . SOA"},
		"control failed":          {at(3, status(dnssec.Failure)), "nothing shows that the network works"},
		"control unsigned":        {at(3, status(dnssec.Insecure)), "nothing shows"},
		"control without answer":  {at(3, func(l *resolver.Lookup) { l.Answers = nil }), "nothing shows"},
		"control with an error":   {at(3, func(l *resolver.Lookup) { l.Rcode = "SERVFAIL" }), "nothing shows"},
		"control was not asked":   {at(3, queries()), "no other server"},
		"control by those failed": {at(3, queries(resolver.Query{Server: "192.0.2.9:53", Rcode: "NOERROR"})), "no other server"},

		// One after the other.
		"before the check":         {at(0, func(l *resolver.Lookup) { l.Started = later(-1) }), "not looked up between"},
		"without times":            {at(0, func(l *resolver.Lookup) { l.Started = time.Time{} }), "not looked up between"},
		"ended before it began":    {at(0, func(l *resolver.Lookup) { l.Finished = later(0.5) }), "not looked up between"},
		"a retry before the end":   {at(1, func(l *resolver.Lookup) { l.Started = later(1.5) }), "shop.example.com. CAA does not lie between"},
		"a retry beyond the check": {at(1, func(l *resolver.Lookup) { l.Finished = later(31) }), "shop.example.com. CAA does not lie between"},
		"DS before the failure":    {at(2, func(l *resolver.Lookup) { l.Started = later(1.5) }), "example.com. DS does not lie between"},
		"DS beyond the check":      {at(2, func(l *resolver.Lookup) { l.Finished = later(31) }), "example.com. DS does not lie between"},
		"control before":           {at(3, func(l *resolver.Lookup) { l.Started = later(1.5) }), ". SOA does not lie between"},
		"control backwards":        {at(3, func(l *resolver.Lookup) { l.Finished = later(2.5) }), ". SOA does not lie between"},
		"control much later":       {at(3, func(l *resolver.Lookup) { l.Started, l.Finished = later(10), later(11) }), ". SOA was not made beside"},
		"DS much later":            {at(2, func(l *resolver.Lookup) { l.Started, l.Finished = later(10), later(11) }), "DS was not made beside"},
	} {
		t.Run(what, func(t *testing.T) {
			first, f := excused()
			c.change(lookups{&first, &f.Retry, &f.DS, &f.Control})
			err := f.Excuse(first, now, later(30))
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
	t.Run("another name in the proof", func(t *testing.T) {
		first, f := excused()
		f.Name = "example.com"
		require.ErrorContains(t, f.Excuse(first, now, later(30)), "stands where that of example.com. CAA")
	})
	t.Run("servers that are silent for long", func(t *testing.T) {
		first, f := excused()
		for i, l := range []*resolver.Lookup{&first, &f.Retry} {
			l.Started = later(float64(1 + 7*i))
			timeout(6)(l)
			queries(silent)(l)
		}
		f.DS.Started, f.DS.Finished = later(8), later(9)
		f.Control.Started, f.Control.Finished = later(8), later(9)
		require.NoError(t, f.Excuse(first, now, later(30)))
	})
}

// Holds: CAA-06
func TestARuleForFailuresIsExplicit(t *testing.T) {
	require.Equal(t, DenyFailure, Probe{}.CAALookupFailure, "what is missing denies")
	for _, r := range []FailureRule{DenyFailure, PermitProvenFailure} {
		text, err := json.Marshal(r)
		require.NoError(t, err)
		var again FailureRule
		require.NoError(t, json.Unmarshal(text, &again))
		require.Equal(t, r, again)
		require.Equal(t, `"`+r.String()+`"`, string(text))
	}
	for _, r := range []FailureRule{2, 255} {
		_, err := json.Marshal(r)
		require.Error(t, err)
		require.Equal(t, "no rule", r.String())
		require.Empty(t, Probe{CAALookupFailure: r, Request: Request{Method: HTTP01}}.Digest())
	}
	for _, text := range []string{`""`, `"permit"`, `"Deny"`, `"no rule"`, `1`, `true`, `{}`} {
		var r FailureRule
		require.Error(t, json.Unmarshal([]byte(text), &r), text)
		require.Equal(t, DenyFailure, r)
	}
}

// TestTheRuleForFailuresIsInTheDigest: a perspective acts on the rule that its gate has, and on no other; the probes of old
// records keep their digests.
//
// Holds: CAA-06, MPIC-09
func TestTheRuleForFailuresIsInTheDigest(t *testing.T) {
	p := probe(request(HTTP01))
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.NotContains(t, string(text), "caa_lookup_failure")
	strict := p.Digest()
	p.CAALookupFailure = PermitProvenFailure
	require.NotEqual(t, strict, p.Digest())
	text, err = json.Marshal(p)
	require.NoError(t, err)
	require.Contains(t, string(text), `"caa_lookup_failure":"permit-when-proven"`)
}

// failureCase is a zone that fails in some way, and what becomes of it under each rule.
type failureCase struct {
	name   string
	faults []world.Fault
	// want is what comes of it under PermitProvenFailure, excused how many failures are excused on the way.
	want    string
	excused int
	detail  string
}

// TestBR_3_2_2_8_FailuresInTheWorld goes the whole way, with name servers that fail. Under DenyFailure none of it is
// permission.
//
// Holds: CAA-06, CAA-07, C6
func TestBR_3_2_2_8_FailuresInTheWorld(t *testing.T) {
	w := startWorld(t)
	require.NoError(t, w.Set("alias.unsigned.com", dns.TypeCNAME, "other.unsigned.com."))
	failing := func(zone string, kind world.Kind) []world.Fault {
		return []world.Fault{{Zone: zone, Type: dns.TypeCAA, Kind: kind}}
	}
	and := func(faults []world.Fault, more ...world.Fault) []world.Fault { return append(faults, more...) }
	for what, c := range map[string]failureCase{
		"below NSEC":            {"unsigned.com", failing("unsigned.com", world.ServFail), "ok", 1, ""},
		"and a name in it":      {"a.www.unsigned.com", failing("unsigned.com", world.ServFail), "ok", 3, ""},
		"an alias in it":        {"alias.unsigned.com", failing("unsigned.com", world.ServFail), "ok", 2, ""},
		"below NSEC3":           {"unsigned.org", failing("unsigned.org", world.Refused), "ok", 1, ""},
		"in an opt-out span":    {"unsigned.net", failing("unsigned.net", world.Lame), "ok", 1, ""},
		"below an unsigned TLD": {"plain.info", failing("plain.info", world.NotImp), "ok", 1, ""},
		"signed, without DS":    {"island.com", failing("island.com", world.Refused), "ok", 1, ""},
		"truncated, and no TCP": {"unsigned.com", failing("unsigned.com", world.TruncateNoTCP), "caa.lookup", 0, "may be the fault of this host"},
		// The resolver comes to know of this cut by an answer of the child alone: the chain ends at the signed parent.
		"on the parent's servers":     {"open.example.com", failing("open.example.com", world.ServFail), "caa.lookup", 0, "it is not excused: "},
		"signed":                      {"servfail-caa.com", nil, "caa.lookup", 0, "it is not excused: "},
		"signed, refused":             {"refused.com", nil, "caa.lookup", 0, ""},
		"signed, lame":                {"lame.com", nil, "caa.lookup", 0, ""},
		"bogus":                       {"bogus-caa.com", nil, "caa.bogus", 0, ""},
		"bogus by its DS":             {"www.bogus-ds.com", nil, "caa.bogus", 0, ""},
		"a signed alias to it":        {"open.alias.com", failing("unsigned.net", world.ServFail), "caa.lookup", 0, "straight"},
		"its parent fails":            {"example.com", failing("com", world.ServFail), "caa.lookup", 0, "it is not excused: "},
		"the TLD fails, and unsigned": {"plain.info", []world.Fault{{Zone: "info", Name: "info", Type: dns.TypeCAA, Kind: world.ServFail}}, "ok", 1, ""},
		"no proof that it has no DS": {"unsigned.com", and(failing("unsigned.com", world.ServFail),
			world.Fault{Zone: "com", Type: dns.TypeDS, Kind: world.ServFail}), "caa.lookup", 0, "unsigned.com. DS is failure"},
		"a bogus proof that it has no DS": {"unsigned.com", and(failing("unsigned.com", world.ServFail),
			world.Fault{Zone: "com", Type: dns.TypeDS, Kind: world.StripRRSIG}), "caa.lookup", 0, "unsigned.com. DS is bogus"},
		"the root does not answer": {"unsigned.com", and(failing("unsigned.com", world.ServFail),
			world.Fault{Zone: ".", Type: dns.TypeSOA, Kind: world.ServFail}), "caa.lookup", 0, "nothing shows that the network works"},
		"the root's answer is bogus": {"unsigned.com", and(failing("unsigned.com", world.ServFail),
			world.Fault{Zone: ".", Type: dns.TypeSOA, Kind: world.StripRRSIG}), "caa.lookup", 0, "it is not excused: "},
	} {
		t.Run(what, func(t *testing.T) {
			for _, f := range c.faults {
				remove, err := w.Inject(f)
				require.NoError(t, err)
				defer remove()
			}
			p := live(c.name, DNS01)
			f := perspective(t, w, "127.0.9.1").Check(t.Context(), p).CAA
			require.Equal(t, Error, f.Outcome, "by default nothing changes")
			require.Empty(t, f.Failures)
			require.NotContains(t, f.Problem.Detail, "excused")

			p.CAALookupFailure = PermitProvenFailure
			f = perspective(t, w, "127.0.9.1").Check(t.Context(), p).CAA
			require.Equal(t, c.want, code(f.Problem), "%v", f.Problem)
			require.Equal(t, c.want == "ok", f.Outcome == Pass)
			if c.want != "ok" {
				require.Equal(t, Error, f.Outcome)
				require.Contains(t, f.Problem.Detail, c.detail)
				return
			}
			require.Len(t, f.Failures, c.excused)
			require.Empty(t, f.Found)
			for _, failure := range f.Failures {
				i := slices.IndexFunc(f.Lookups, func(l resolver.Lookup) bool { return l.Name == failure.Name+"." })
				require.NoError(t, failure.Excuse(f.Lookups[i], f.Started, f.Finished))
			}
		})
	}
}

// TestALimitOfOursExcusesNothing: what was not read, because there was so much, could forbid.
//
// Holds: CAA-06
func TestALimitOfOursExcusesNothing(t *testing.T) {
	w := startWorld(t)
	_, err := w.Inject(world.Fault{Zone: "unsigned.com", Type: dns.TypeCAA, Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
		for range 2001 {
			m.Answer = append(m.Answer, &dns.RFC3597{Hdr: dns.RR_Header{Name: "unsigned.com.", Rrtype: 65280, Class: dns.ClassINET}})
		}
	}})
	require.NoError(t, err)
	p := live("unsigned.com", DNS01)
	p.CAALookupFailure = PermitProvenFailure
	f := perspective(t, w, "127.0.9.1").Check(t.Context(), p).CAA
	require.Equal(t, Error, f.Outcome)
	require.Equal(t, "caa.lookup", code(f.Problem))
	require.Contains(t, f.Problem.Detail, "could not read it")
}

// TestTheClimbGoesOnAboveAnExcusedFailure: a parent's records count, whatever they say.
//
// Holds: CAA-01, CAA-06
func TestTheClimbGoesOnAboveAnExcusedFailure(t *testing.T) {
	w := startWorld(t)
	_, err := w.Inject(world.Fault{Name: "www.unsigned.com", Type: dns.TypeCAA, Kind: world.ServFail})
	require.NoError(t, err)
	for record, want := range map[string]string{`0 issue "other.example"`: "caa.forbidden", `0 issue "ca.example.net"`: "ok"} {
		require.NoError(t, w.Set("unsigned.com", dns.TypeCAA, record))
		p := live("www.unsigned.com", DNS01)
		p.CAALookupFailure = PermitProvenFailure
		f := perspective(t, w, "127.0.9.1").Check(t.Context(), p).CAA
		require.Equal(t, want, code(f.Problem))
		require.Equal(t, "unsigned.com", f.Found)
		require.Len(t, f.Failures, 1)
	}
}

// TestAnAnswerToTheRetryCounts: whatever it says.
//
// Holds: CAA-06
func TestAnAnswerToTheRetryCounts(t *testing.T) {
	w := startWorld(t)
	for record, want := range map[string]string{`0 issue "other.example"`: "caa.forbidden", `0 issue "ca.example.net"`: "ok"} {
		require.NoError(t, w.Set("unsigned.com", dns.TypeCAA, record))
		p := live("unsigned.com", DNS01)
		p.CAALookupFailure = PermitProvenFailure
		c := perspective(t, w, "127.0.9.1")
		c.Check(t.Context(), p) // what is remembered is asked anew once before a lookup fails
		var asked atomic.Int32
		remove, err := w.Inject(world.Fault{Zone: "unsigned.com", Type: dns.TypeCAA, Kind: world.Rewrite, Rewrite: func(m *dns.Msg) {
			if asked.Add(1) <= 2 {
				m.Rcode, m.Answer = dns.RcodeServerFailure, nil
			}
		}})
		require.NoError(t, err)
		f := c.Check(t.Context(), p).CAA
		remove()
		require.Equal(t, want, code(f.Problem), "%v", f.Problem)
		require.Equal(t, "unsigned.com", f.Found)
		require.Len(t, f.Failures, 1)
		require.Equal(t, dnssec.Failure, f.Lookups[0].Status)
		require.Error(t, f.Failures[0].Excuse(f.Lookups[0], f.Started, f.Finished))
		require.Equal(t, f.Failures[0].Retry.TTL, f.TTL)
	}
}

// TestABogusRetryIsBogus: what follows a failure is judged as if it had come first.
//
// Holds: CAA-07
func TestABogusRetryIsBogus(t *testing.T) {
	first, proofs := excused()
	s := &table{answer: func(name, qtype string, nth int) *resolver.Answer {
		l := map[string]resolver.Lookup{"CAA": first, "DS": proofs.DS, "SOA": proofs.Control}[qtype]
		if name == "shop.example.com" && qtype == "CAA" && nth > 1 {
			l.Status, l.Code = dnssec.Bogus, dnssec.CodeSignatureInvalid
		}
		return &resolver.Answer{Lookup: l}
	}}
	p := probe(request(HTTP01))
	p.CAALookupFailure = PermitProvenFailure
	f := checker(t, s).Check(t.Context(), p).CAA
	require.Equal(t, "caa.bogus", code(f.Problem))
	require.Equal(t, Error, f.Outcome)
}

// TestSilenceMustLast: servers that are mute. A lookup that was given less time than a slow server needs excuses nothing.
//
// Holds: CAA-06
func TestSilenceMustLast(t *testing.T) {
	w := startWorld(t)
	_, err := w.Inject(world.Fault{Zone: "unsigned.com", Type: dns.TypeCAA, Kind: world.Drop})
	require.NoError(t, err)
	hasty := func(c *resolver.Config) { c.Timeout = 700 * time.Millisecond }
	p := live("unsigned.com", DNS01)
	p.CAALookupFailure = PermitProvenFailure

	f := perspective(t, w, "127.0.9.1", hasty).Check(t.Context(), p).CAA
	require.Equal(t, "caa.lookup", code(f.Problem))
	require.Empty(t, f.Failures)

	c := perspective(t, w, "127.0.9.1", hasty)
	c.patience = 600 * time.Millisecond
	f = c.Check(t.Context(), p).CAA
	require.Equal(t, "ok", code(f.Problem), "%v", f.Problem)
	require.Len(t, f.Failures, 1)
	require.ErrorContains(t, f.Failures[0].Excuse(f.Lookups[0], f.Started, f.Finished), "a server that is slow has 5s")
}

// TestADeadNetworkExcusesNothing: the perspective knew that the zone is unsigned, and then nobody answers any more.
//
// Holds: CAA-06
func TestADeadNetworkExcusesNothing(t *testing.T) {
	w := startWorld(t)
	c := perspective(t, w, "127.0.9.1", func(c *resolver.Config) { c.Timeout = 700 * time.Millisecond })
	c.patience = 600 * time.Millisecond
	p := live("unsigned.com", DNS01)
	p.CAALookupFailure = PermitProvenFailure
	require.Equal(t, "ok", code(c.Check(t.Context(), p).CAA.Problem))
	_, err := w.Inject(world.Fault{Kind: world.Drop})
	require.NoError(t, err)
	f := c.Check(t.Context(), p).CAA
	require.Equal(t, "caa.lookup", code(f.Problem))
	require.Equal(t, Error, f.Outcome)
	for _, failure := range f.Failures { // where the failure came so early that it was looked into
		require.Equal(t, dnssec.Failure, failure.Control.Status)
		require.Equal(t, dnssec.Failure, failure.DS.Status)
		require.Error(t, failure.Excuse(f.Lookups[0], f.Started, f.Finished))
	}
}

// TestAProbeThatEndsExcusesNothing: what could be proven in time is not proven.
//
// Holds: CAA-06
func TestAProbeThatEndsExcusesNothing(t *testing.T) {
	w := startWorld(t)
	_, err := w.Inject(world.Fault{Zone: "unsigned.com", Type: dns.TypeCAA, Kind: world.ServFail})
	require.NoError(t, err)
	_, err = w.Inject(world.Fault{Zone: ".", Type: dns.TypeSOA, Kind: world.Drop})
	require.NoError(t, err)
	p := live("unsigned.com", DNS01)
	p.CAALookupFailure, p.Deadline = PermitProvenFailure, time.Now().Add(1500*time.Millisecond)
	f := perspective(t, w, "127.0.9.1").Check(t.Context(), p).CAA
	require.Equal(t, "caa.lookup", code(f.Problem))
	require.Contains(t, f.Problem.Detail, "it is not excused: ")
	require.False(t, f.Finished.After(p.Deadline.UTC().Add(time.Second)))
}
