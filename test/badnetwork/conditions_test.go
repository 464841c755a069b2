package badnetwork

import (
	"time"

	"github.com/quorate/quorate/test/delay"
	"github.com/quorate/quorate/test/world"
)

// scope says which name servers are bad ones.
type scope uint8

const (
	nobody   scope = iota
	oneOf          // one of each zone's servers: at least one good one is left
	allBut         // all but one of each zone's servers
	leaves         // all servers of the zones that are no top-level domains
	everyone       // all servers of all zones
)

// condition is one bad network.
type condition struct {
	name string
	// path leads to each server; RTT is 20 ms where it is zero.
	path delay.Path
	// who is bad, and what is bad: of the path, of the server, or of both.
	who   scope
	worse func(*delay.Path)
	fault world.Fault
	expect
	// slow says that lookups wait for what does not come, so that few are measured.
	slow bool
}

// expect is what must hold in a condition, at any speed. In all of them an answer that is used is the right one.
type expect uint8

const (
	// anyEnd lets lookups fail.
	anyEnd expect = iota
	// allSucceed: a good server is left for each zone, and nothing is lost.
	allSucceed
	// signedFail: nothing of a signed leaf zone can be proven, and unsigned ones may be resolved.
	signedFail
	// allFail: nothing can be proven anywhere, least of all that a zone is unsigned.
	allFail
)

func edns(e delay.EDNS) func(*delay.Path) { return func(p *delay.Path) { p.EDNS = e } }

func lossy(loss float64) delay.Path { return delay.Path{Loss: loss} }

// conditions are those of the table and of the test.
func conditions() []condition {
	silentEDNS := func(p *delay.Path) { p.EDNS, p.NoTCP = delay.EDNSDrop, true }
	small := func(p *delay.Path) { p.MaxResponse = 512 }
	noFragments := func(p *delay.Path) { p.MaxResponse = 1232 }
	slow := world.Fault{Kind: world.Slow, Delay: 800 * time.Millisecond}
	large := world.Fault{Kind: world.Oversized, Transport: "udp"}
	return []condition{
		{name: "clean, RTT 20 ms", expect: allSucceed},
		{name: "RTT 300 ms", path: delay.Path{RTT: 300 * time.Millisecond}, expect: allSucceed},
		{name: "jitter up to 100 ms each way", path: delay.Path{Jitter: 100 * time.Millisecond}, expect: allSucceed},
		{name: "5 % loss each way", path: lossy(0.05)},
		{name: "20 % loss each way", path: lossy(0.2)},
		{name: "40 % loss each way", path: lossy(0.4)},
		{name: "one server mute", who: oneOf, fault: world.Fault{Kind: world.Drop}, expect: allSucceed},
		{name: "all servers but one mute", who: allBut, fault: world.Fault{Kind: world.Drop}, expect: allSucceed},
		{name: "one server REFUSED", who: oneOf, fault: world.Fault{Kind: world.Refused}, expect: allSucceed},
		{name: "one server SERVFAIL", who: oneOf, fault: world.Fault{Kind: world.ServFail}, expect: allSucceed},
		{name: "one server without AA", who: oneOf, fault: world.Fault{Kind: world.Lame}, expect: allSucceed},
		{name: "one server refers upward", who: oneOf, fault: world.Fault{Kind: world.Upward}, expect: allSucceed},
		{name: "one server 800 ms slow", who: oneOf, fault: slow, expect: allSucceed},
		{name: "all servers but one REFUSED", who: allBut, fault: world.Fault{Kind: world.Refused}, expect: allSucceed},
		{name: "EDNS dropped at one server", who: oneOf, worse: edns(delay.EDNSDrop), expect: allSucceed},
		{name: "EDNS refused (FORMERR) at one server", who: oneOf, fault: world.Fault{Kind: world.NoEDNS}, expect: allSucceed},
		{name: "EDNS stripped at one server", who: oneOf, worse: edns(delay.EDNSStrip), expect: allSucceed},
		{name: "EDNS dropped at all leaf servers, no TCP", who: leaves, worse: silentEDNS, expect: signedFail},
		{name: "EDNS dropped at all servers, no TCP", who: everyone, worse: silentEDNS, expect: allFail},
		{name: "EDNS refused at all leaf servers", who: leaves, fault: world.Fault{Kind: world.NoEDNS}, expect: signedFail},
		{name: "EDNS ignored at all leaf servers", who: leaves, fault: world.Fault{Kind: world.IgnoreEDNS}, expect: signedFail},
		{name: "EDNS ignored at all servers", who: everyone, fault: world.Fault{Kind: world.IgnoreEDNS}, expect: allFail},
		{name: "UDP above 512 octets dropped at one server", who: oneOf, worse: small, expect: allSucceed},
		{name: "UDP above 512 octets dropped at all", who: everyone, worse: small, slow: true},
		{name: "UDP above 1232 octets dropped at all", who: everyone, worse: noFragments, expect: allSucceed},
		{name: "the same, and one server sends 4 kB over UDP", who: oneOf, worse: noFragments, fault: large, expect: allSucceed},
		{name: "the same, and all servers send 4 kB over UDP", who: everyone, worse: noFragments, fault: large, slow: true},
		{name: "one server mute, and 20 % loss each way", path: lossy(0.2), who: oneOf, fault: world.Fault{Kind: world.Drop}},
	}
}
