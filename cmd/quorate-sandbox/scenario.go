package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"github.com/quorate/quorate/acme/pebble"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/test/world"
	"github.com/quorate/quorate/va"
)

// scenario is one application for a certificate, and what must come of it.
type scenario struct {
	title string
	// story says in one or two sentences what happens and why it matters.
	story           string
	name, challenge string
	// clients are who sees the challenge; everybody when it is empty.
	clients []netip.Prefix
	// prepare puts the attack in place, and gives what takes it away. nil: nothing to prepare.
	prepare func(context.Context, *sandbox, *applicant) (undo func() error, err error)
	// code is the problem code that must be the refusal's reason; empty when a certificate must be issued.
	code string
	// apply takes the place of the ACME client, where the gate itself is what the scenario is about; ask likewise, where it is a permit
	// for names, and nothing is validated.
	apply func(context.Context, *sandbox, *applicant) (mpic.Result, error)
	ask   []string
}

// outcome is what came of a scenario. What it has not to do with is nil.
type outcome struct {
	result   *mpic.Result
	issuance *pebble.Issuance
	permit   *mpic.Permit
	issued   bool
	told     error // what the ACME client was told, if it was refused
}

// client is the prefix of one perspective, by its place in sites.
func client(i int) netip.Prefix { return world.Client(sites[i].addr()) }

// remoteClients are all remotes.
func remoteClients() []netip.Prefix {
	var all []netip.Prefix
	for i := range sites[1:] {
		all = append(all, client(i+1))
	}
	return all
}

// scenarios are what the demonstration shows, in this order.
func scenarios() []scenario {
	return []scenario{
		{title: "A certificate by http-01; the zone is signed (ECDSA, NSEC)", name: "shop.example.com", challenge: "http-01",
			story: "The CAA record names this CA, this very account and this method (RFC 8657).", prepare: caaForApplicant("shop.example.com")},
		{title: "A wildcard certificate by dns-01; the zone is signed (ECDSA, NSEC3)", name: "*.example.org", challenge: "dns-01",
			story: "Every perspective proves the TXT record and the CAA record by signatures, from the DNS root down."},
		{title: "A certificate by tls-alpn-01; the zone is signed (RSA)", name: "api.example.net", challenge: "tls-alpn-01",
			story: "No CAA record stands at the name or above it, and signatures prove that: nothing was hidden."},
		{title: "A certificate by http-01; the zone is unsigned", name: "www.example.dev", challenge: "http-01",
			story: "Its answers count only because the signed parent proves that the zone has no keys."},

		{title: "Attack: only the remotes see the token", name: "bank.example.com", challenge: "http-01", clients: remoteClients(),
			story: "All five remotes say yes, and that is not enough. In 2026 two CAs issued on this, and had to revoke over a million.", code: "http.status"},
		{title: "Attack: only the primary sees the token", name: "bank.example.com", challenge: "http-01", clients: []netip.Prefix{client(0)},
			story: "Somebody has hijacked the route near the CA. The rest of the world sees the true server.", code: "quorum.missed"},
		{title: "Attack: two remotes are hijacked", name: "www.example.dev", challenge: "http-01", prepare: hijack(2, 4),
			story: "Forged DNS leads two remotes to another server. One remote may fail to corroborate, two may not.", code: "quorum.missed"},
		{title: "Attack: a zone whose signatures do not hold", name: "www.broken.com", challenge: "http-01",
			story: "The token is there, but the zone's key is not the one that its parent vouches for: nothing in it can be believed.", code: "dnssec.bogus"},
		{title: "Refused by the owner: CAA names another CA", name: "pay.example.com", challenge: "http-01",
			story: "The applicant controls the name; its owner lets only other-ca.example issue.", code: "caa.forbidden"},
		{title: "Refused by the owner: CAA names another account of this CA", name: "blog.example.com", challenge: "http-01", prepare: caaForAnother("blog.example.com"),
			story: "The record permits this CA, but only for the account of somebody else (RFC 8657, accounturi).", code: "caa.account"},
		{title: "Attack: a certificate for more than was validated", ask: []string{"shop.example.com", "*.shop.example.com"},
			story: "The account of the first application has shown control of shop.example.com by http-01. That is good for no wildcard.", code: "permit.scope"},
		{title: "Attack: two perspectives answer with each other's key", name: "shop.example.com", challenge: "http-01", prepare: swapKeys(1, 4),
			story: "A mis-wired load balancer, or a stolen key: what they say may be true, but it is not theirs to say.", code: "quorum.missed"},
		{title: "Mistake of the operator: fewer perspectives than the day's rule asks", name: "shop.example.com", challenge: "http-01", apply: onTheDayOfFive,
			story: "Four remotes were enough when this gate started, on 2026-12-14. From midnight on five are required.", code: "roster.too-few"},
	}
}

// run carries the scenario out.
func (sc scenario) run(ctx context.Context, s *sandbox, a *applicant) (out outcome, err error) {
	switch {
	case sc.apply != nil:
		result, err := sc.apply(ctx, s, a)
		return outcome{result: &result}, err
	case sc.ask != nil:
		permit, err := s.permits.Permit(ctx, "sandbox:demo", a.uri(), sc.ask)
		return outcome{permit: &permit}, err
	}
	if sc.prepare != nil {
		undo, failed := sc.prepare(ctx, s, a)
		if undo != nil {
			defer func() { err = errors.Join(err, undo()) }()
		}
		if failed != nil {
			return out, fmt.Errorf("preparing: %w", failed)
		}
	}
	provide, err := s.solver(sc.challenge, sc.clients)
	if err != nil {
		return out, err
	}
	certificate, told := a.obtain(ctx, sc.name, sc.challenge, provide)
	results, issuances, err := s.results.take()
	switch {
	case err != nil:
		return out, err
	case len(results) != 1:
		return out, fmt.Errorf("%d attempts were made for one application (%w)", len(results), told)
	case told == nil && !slices.Equal(certificate.DNSNames, []string{sc.name}):
		return out, fmt.Errorf("the certificate is for %v", certificate.DNSNames)
	case told == nil && (len(issuances) != 1 || !bytes.Equal(issuances[0].Certificate.DER, certificate.Raw)):
		return out, fmt.Errorf("the certificate is not the one that was linked to a permit (%d orders were finalized)", len(issuances))
	}
	out = outcome{result: &results[0], issued: told == nil, told: told}
	if len(issuances) > 0 {
		out.issuance = &issuances[0]
	}
	return out, nil
}

// solver provides challenges in the world: to everybody, or to some clients only.
func (s *sandbox) solver(challenge string, clients []netip.Prefix) (acmez.Solver, error) {
	host, err := s.world.Host(webHost)
	if err != nil {
		return nil, err
	}
	remove := map[string]func(){}
	out := solver{cleanUp: func(c acme.Challenge) error {
		if take := remove[c.Token]; take != nil {
			take()
		}
		return nil
	}}
	switch challenge {
	case "http-01":
		out.present = func(c acme.Challenge) error {
			remove[c.Token] = host.AddToken(c.Token, c.KeyAuthorization, clients...)
			return nil
		}
	case "tls-alpn-01":
		out.present = func(c acme.Challenge) error {
			take, err := host.AddALPN(world.ALPN{Domain: c.Identifier.Value, KeyAuthorization: c.KeyAuthorization, Clients: clients})
			remove[c.Token] = take
			return err
		}
	case "dns-01":
		out.present = func(c acme.Challenge) error {
			return s.world.Add(c.DNS01TXTRecordName(), dns.TypeTXT, c.DNS01KeyAuthorization())
		}
		out.cleanUp = func(c acme.Challenge) error {
			return s.world.Remove(c.DNS01TXTRecordName(), dns.TypeTXT, c.DNS01KeyAuthorization())
		}
	default:
		return nil, fmt.Errorf("no solver for %q", challenge)
	}
	return out, nil
}

// caaForApplicant has the owner permit this very account and method.
func caaForApplicant(name string) func(context.Context, *sandbox, *applicant) (func() error, error) {
	return func(_ context.Context, s *sandbox, a *applicant) (func() error, error) {
		err := s.world.Set(name, dns.TypeCAA, fmt.Sprintf(`0 issue "%s; accounturi=%s; validationmethods=http-01"`, issuer, a.uri()))
		return func() error { return s.world.Remove(name, dns.TypeCAA) }, err
	}
}

// caaForAnother has the owner permit another account.
func caaForAnother(name string) func(context.Context, *sandbox, *applicant) (func() error, error) {
	return func(_ context.Context, s *sandbox, a *applicant) (func() error, error) {
		err := s.world.Set(name, dns.TypeCAA, fmt.Sprintf(`0 issue "%s; accounturi=%s0000"`, issuer, a.uri()))
		return func() error { return s.world.Remove(name, dns.TypeCAA) }, err
	}
}

// hijack leads some perspectives to the attacker's web host, by forged answers for an unsigned zone.
func hijack(places ...int) func(context.Context, *sandbox, *applicant) (func() error, error) {
	return func(_ context.Context, s *sandbox, _ *applicant) (func() error, error) {
		if _, err := s.world.Host(attackerHost); err != nil {
			return nil, err
		}
		var victims []netip.Prefix
		for _, i := range places {
			victims = append(victims, client(i))
		}
		view := s.world.View(victims...)
		err := view.Set("www.example.dev", world.ByNobody, dns.TypeA, attackerHost.String())
		return view.Close, err
	}
}

// swapKeys starts two perspectives anew, each with the other's signing key and its own TLS key.
func swapKeys(one, two int) func(context.Context, *sandbox, *applicant) (func() error, error) {
	return func(ctx context.Context, s *sandbox, _ *applicant) (func() error, error) {
		restart := func(i int, keys perspective.Files) error {
			if err := s.agents[i-1].stop(); err != nil {
				return err
			}
			var err error
			s.agents[i-1], err = s.startRemote(ctx, i-1, keys)
			return err
		}
		mine, other := s.keys[one-1], s.keys[two-1]
		mine.SigningKey, other.SigningKey = other.SigningKey, mine.SigningKey
		undo := func() error { return errors.Join(restart(one, s.keys[one-1]), restart(two, s.keys[two-1])) }
		return undo, errors.Join(restart(one, mine), restart(two, other))
	}
}

// onTheDayOfFive runs a gate with four remotes over midnight to 2026-12-15 (MPIC-02), with records of its own that are kept by the
// same clock. The request comes as from an RA.
func onTheDayOfFive(ctx context.Context, s *sandbox, a *applicant) (mpic.Result, error) {
	midnight := time.Date(2026, 12, 15, 0, 0, 0, 0, time.UTC)
	var clock atomic.Pointer[time.Time]
	set := func(t time.Time) { clock.Store(&t) }
	now := func() time.Time { return *clock.Load() }
	set(midnight.Add(-time.Minute))
	records, err := s.openBook(ctx, "december", now)
	if err != nil {
		return mpic.Result{}, err
	}
	four := mpic.Roster{Primary: s.roster.Primary, Remotes: s.roster.Remotes[:4]}
	gate, err := s.coordinator(four, records.store, now)
	if err != nil {
		return mpic.Result{}, err
	}
	set(midnight.Add(time.Second))
	const token = "gDwTdhGVTQWPVxpFLNQtWg8fKcvTnxYx7l1Z0q5m3bc"
	result, err := gate.Validate(ctx, mpic.Issuance, "sandbox:demo", va.Request{Identifier: "shop.example.com", Method: va.HTTP01,
		Token: token, KeyAuthorization: token + ".LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ", TokenCreated: now(), AccountURI: a.uri()})
	return result, errors.Join(err, gate.Close(ctx))
}
