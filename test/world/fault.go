package world

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Kind is what goes wrong.
type Kind uint8

const (
	// Slow answers correctly after Fault.Delay.
	Slow Kind = iota + 1
	// Tamper changes the RDATA of the answer after it was signed (of a negative answer: the SOA).
	Tamper
	// StripRRSIG leaves out signatures; the denial records stay.
	StripRRSIG
	// StripDNSSEC leaves out RRSIG, NSEC, NSEC3 and DS: a signed zone answers as an unsigned one would.
	StripDNSSEC
	// StripAnswer leaves the answer section empty; with Type dns.TypeDNSKEY this is a zone without its keys.
	StripAnswer
	// Expired signs the answer anew with the zone's genuine key, for a time that ended a day ago.
	Expired
	// Future signs the answer anew with the zone's genuine key, for a time that starts in a day.
	Future
	// Drop does not answer. Over TCP the connection stays open in silence.
	Drop
	// ServFail, Refused, FormErr and NotImp answer with this response code and nothing else.
	ServFail
	Refused
	FormErr
	NotImp
	// Lame answers without AA.
	Lame
	// Upward answers with a referral to the root, as a server does that does not know the zone.
	Upward
	// Truncate sets TC over UDP; TCP works.
	Truncate
	// TruncateNoTCP sets TC over UDP and closes the connection over TCP.
	TruncateNoTCP
	// WrongID answers with another message identifier.
	WrongID
	// WrongQuestion answers with another name in the question.
	WrongQuestion
	// NoEDNS answers FORMERR to a query with EDNS, and correctly without.
	NoEDNS
	// IgnoreEDNS answers as if the query had no EDNS: no OPT, no DNSSEC records.
	IgnoreEDNS
	// Oversized answers with several kilobytes of additional records, over UDP regardless of the size that the client
	// accepts.
	Oversized
	// Garbage answers with octets that are no DNS message.
	Garbage
	// Rewrite calls Fault.Rewrite with the complete answer.
	Rewrite
	// NoDO answers SERVFAIL to a query with the DO bit, and correctly without.
	NoDO
	// Flood sends the messages of Fault.Flood over UDP before the answer, from the address and port that were asked: what
	// somebody who forges source addresses gets to the client in time.
	Flood
)

// Fault makes some answers go wrong. All conditions that are given must hold for it to strike; none given means always.
// Where several faults strike, they do so in the order in which they were installed.
type Fault struct {
	// Zone is the zone whose answers are concerned: not those of zones below it.
	Zone string
	// Name is the name asked, exactly. Type is the type asked.
	Name string
	Type uint16
	// Server is the address asked, Transport "udp" or "tcp".
	Server    netip.Addr
	Transport string
	// Clients are the clients concerned, by their source address; all where it is empty.
	Clients []netip.Prefix

	// Kind is what goes wrong.
	Kind Kind
	// Delay passes before the answer is sent, whatever the kind.
	Delay time.Duration
	// Rewrite is called by the kind of that name. It must be safe for concurrent use, and keep nothing of the message.
	Rewrite func(*dns.Msg)
	// Flood is called by the kind of that name, with a copy of the complete answer, and gives what is sent before it. It
	// must be safe for concurrent use.
	Flood func(*dns.Msg) []*dns.Msg
}

func (f Fault) normal() (*Fault, error) {
	if f.Zone != "" {
		f.Zone = dns.CanonicalName(f.Zone)
	}
	if f.Name != "" {
		f.Name = dns.CanonicalName(f.Name)
	}
	f.Clients = slices.Clone(f.Clients)
	switch {
	case f.Kind < Slow || f.Kind > Flood:
		return nil, fmt.Errorf("world: %d is no kind of fault", f.Kind)
	case f.Kind == Rewrite && f.Rewrite == nil:
		return nil, errors.New("world: a fault of the kind Rewrite has no function")
	case f.Kind == Flood && f.Flood == nil:
		return nil, errors.New("world: a fault of the kind Flood has no function")
	case f.Transport != "" && f.Transport != "udp" && f.Transport != "tcp":
		return nil, fmt.Errorf("world: %q is no transport of a fault", f.Transport)
	}
	return &f, nil
}

// Inject installs a fault; remove takes it away again, and may be called more than once.
func (w *World) Inject(f Fault) (remove func(), err error) {
	fault, err := f.normal()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errors.New("world: closed")
	}
	w.faults = append(w.faults, fault)
	w.showFaults()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.faults = slices.DeleteFunc(w.faults, func(o *Fault) bool { return o == fault })
		w.showFaults()
	}, nil
}

func (w *World) showFaults() {
	next := *w.state.Load()
	next.faults = slices.Clone(w.faults)
	w.state.Store(&next)
}

func (f *Fault) strikes(e *exchange, zone string) bool {
	q := e.request.Question[0]
	return (f.Zone == "" || f.Zone == zone) &&
		(f.Name == "" || f.Name == dns.CanonicalName(q.Name)) &&
		(f.Type == 0 || f.Type == q.Qtype) &&
		(!f.Server.IsValid() || f.Server == e.server) &&
		(f.Transport == "" || f.Transport == e.transport) &&
		(len(f.Clients) == 0 || contains(f.Clients, e.client))
}

// spoil applies the fault to the exchange's answer.
func (f *Fault) spoil(e *exchange, z *signedZone) {
	m := e.answer
	e.delay += f.Delay
	switch f.Kind {
	case Tamper:
		tamper(m)
	case StripRRSIG:
		strip(m, dns.TypeRRSIG)
	case StripDNSSEC:
		strip(m, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeDS)
	case StripAnswer:
		m.Answer = nil
	case Expired:
		e.err = resignAnswer(m, z, Window{Before: 72 * time.Hour, After: -24 * time.Hour}, e.now)
	case Future:
		e.err = resignAnswer(m, z, Window{Before: -24 * time.Hour, After: 72 * time.Hour}, e.now)
	case ServFail, Refused, FormErr, NotImp:
		e.fail(f.rcode())
	case Lame:
		m.Authoritative = false
	case Upward:
		e.fail(dns.RcodeSuccess)
		m.Authoritative = false
		m.Ns = []dns.RR{&dns.NS{Hdr: header(".", dns.TypeNS), Ns: "ns.root-servers.net."}}
	case WrongQuestion:
		m.Question[0].Name = below("wrong", m.Question[0].Name)
	case Rewrite:
		f.Rewrite(m)
	case NoDO:
		if opt := e.request.IsEdns0(); opt != nil && opt.Do() {
			e.fail(dns.RcodeServerFailure)
		}
	default:
		f.spoilTransport(e)
	}
}

// spoilTransport applies the faults that lie in how the answer is sent.
func (f *Fault) spoilTransport(e *exchange) {
	switch f.Kind {
	case Drop:
		e.drop = true
	case Truncate, TruncateNoTCP:
		e.truncate = e.truncate || e.transport == "udp"
		e.hangUp = e.hangUp || f.Kind == TruncateNoTCP && e.transport == "tcp"
	case WrongID:
		e.answer.Id ^= 0x5555
	case NoEDNS:
		if e.request.IsEdns0() != nil {
			e.fail(dns.RcodeFormatError)
			e.noOPT = true
		}
	case IgnoreEDNS:
		e.noOPT = true
		strip(e.answer, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeDS)
	case Oversized:
		e.oversized = true
		for i := range 16 {
			filler := &dns.TXT{Hdr: header(below("filler", "."), dns.TypeTXT), Txt: []string{strings.Repeat("x", 240+i%10)}}
			e.answer.Extra = append(e.answer.Extra, filler)
		}
	case Garbage:
		e.garbage = true
	case Flood:
		if e.transport == "udp" {
			e.flood = append(e.flood, f.Flood(e.answer.Copy())...)
		}
	}
}

func (f *Fault) rcode() int {
	switch f.Kind {
	case Refused:
		return dns.RcodeRefused
	case FormErr:
		return dns.RcodeFormatError
	case NotImp:
		return dns.RcodeNotImplemented
	default:
		return dns.RcodeServerFailure
	}
}

// strip removes records of the types from all sections, but not from the answer to a question for that very type.
func strip(m *dns.Msg, types ...uint16) {
	unwanted := func(rr dns.RR) bool {
		t := rr.Header().Rrtype
		return slices.Contains(types, t) && t != m.Question[0].Qtype
	}
	m.Answer = slices.DeleteFunc(m.Answer, unwanted)
	m.Ns = slices.DeleteFunc(m.Ns, unwanted)
	m.Extra = slices.DeleteFunc(m.Extra, unwanted)
}

// tamper changes the RDATA of the first record that a signature covers.
func tamper(m *dns.Msg) {
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeRRSIG {
				tamperRecord(rr)
				return
			}
		}
	}
}

func tamperRecord(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.A:
		rr.A[len(rr.A)-1] ^= 1
	case *dns.AAAA:
		rr.AAAA[len(rr.AAAA)-1] ^= 1
	case *dns.TXT:
		rr.Txt[0] = "tampered"
	case *dns.CAA:
		rr.Value = "tampered.example.net"
	case *dns.CNAME:
		rr.Target = below("tampered", rr.Target)
	case *dns.DNAME:
		rr.Target = below("tampered", rr.Target)
	case *dns.NS:
		rr.Ns = below("tampered", rr.Ns)
	case *dns.MX:
		rr.Preference ^= 1
	case *dns.SOA:
		rr.Serial ^= 1
	case *dns.DS:
		rr.Digest = strings.Map(rotateHex, rr.Digest)
	case *dns.DNSKEY:
		rr.Flags ^= dns.SEP
	default:
		rr.Header().Name = below("tampered", rr.Header().Name)
	}
}

// resignAnswer replaces the signatures of the answer by others of another validity, by the same keys.
func resignAnswer(m *dns.Msg, z *signedZone, window Window, now time.Time) error {
	if z == nil || z.ring == nil {
		return errors.New("world: an answer from no signed zone cannot be signed for another time")
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			sig, ok := rr.(*dns.RRSIG)
			if !ok {
				continue
			}
			if err := resignOne(sig, section, z, window, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func resignOne(sig *dns.RRSIG, section []dns.RR, z *signedZone, window Window, now time.Time) error {
	k := z.ring.zsk
	if sig.TypeCovered == dns.TypeDNSKEY {
		k = z.ring.ksk
	}
	var set []dns.RR
	for _, rr := range section {
		if rr.Header().Rrtype == sig.TypeCovered && rr.Header().Name == sig.Hdr.Name {
			rr = dns.Copy(rr)
			if n := dns.CountLabel(sig.Hdr.Name) - int(sig.Labels); n > 0 {
				labels := dns.Split(sig.Hdr.Name)
				rr.Header().Name = below("*", sig.Hdr.Name[labels[n]:])
			}
			set = append(set, rr)
		}
	}
	if len(set) == 0 {
		return nil
	}
	made, err := signWith(k, set, window, now)
	if err != nil {
		return err
	}
	made.Hdr = sig.Hdr
	*sig = *made
	return nil
}
