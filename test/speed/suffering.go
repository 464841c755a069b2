package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/miekg/dns"

	"github.com/quorate/quorate/va/dnssec"
)

const (
	// innocents are the lookups a second of those who are not attacked, attackRate those of the attacker.
	innocents, attackRate = 200, 10
	// rounds is how often the cost of one attack is measured.
	rounds = 5
	// bound is the CPU that one query may cost.
	bound = 100 * time.Millisecond
)

const attackLegend = `
## Attacks

The bounds: below %s of CPU a query; at most 200 packets, 32 for one question, 64 signature checks, 8 of one RRset, and
8 NSEC3 hashes of one proof. Packets, checks and outcomes are asserted by the tests of test/speed, the limits of one
RRset and of one proof by those of va/dnssec.

- CPU is that of Quorate's process alone (getrusage), the largest of %d lookups with an empty memory, the walk from the
  root included; the row "none" is what an ordinary zone costs. Unbound's is the mean of two such lookups, and the
  world's that of its name servers for one lookup by Quorate: what the attacker pays.
- Others' latency: warm lookups of names in a healthy zone, %d a second, while the attack is made %d times a second
  for two seconds. Name servers of all kinds work on the same processors.

Load average before: %s.

| Attack | What it is | Outcome | CPU ms | Packets | Checks | Took ms | Others' p50 ms | p99 ms | Unbound's CPU ms, outcome | World's CPU ms |
|---|---|---|---|---|---|---|---|---|---|---|
`

// attacks writes the table of attacks.
func (b *bench) attacks() error {
	b.printf(attackLegend, bound, rounds, innocents, attackRate, load())
	alone, err := b.beside(nil)
	if err != nil {
		return err
	}
	b.printf("| no lookup beside | | | | | | | %.2f | %.2f | | |\n", alone.at(50), alone.at(99))
	var above []string
	for _, a := range attacks() {
		if !strings.Contains(a.name, b.filter) {
			continue
		}
		progress("attack: %s", a.name)
		worst, err := b.attack(a)
		if err != nil {
			return fmt.Errorf("attack %s: %w", a.name, err)
		}
		if worst >= bound {
			above = append(above, a.name)
		}
	}
	m, err := b.memories()
	if err != nil {
		return err
	}
	b.printf("\nLoad average after: %s. Memory at the most, in the whole run: Quorate's resolver %.0f MiB, Unbound %.0f MiB.\n",
		load(), m[1], m[3])
	if len(above) > 0 {
		b.printf("\n**Above the bound of %s: %s.**\n", bound, strings.Join(above, "; "))
	} else {
		b.printf("\nEach of them stayed below %s of CPU.\n", bound)
	}
	return b.checks()
}

// attack writes one row, and gives the CPU of one lookup by Quorate.
func (b *bench) attack(a attack) (time.Duration, error) {
	var worst account
	world, err := cpu(b.world.PID())
	if err != nil {
		return 0, err
	}
	for range rounds {
		got, err := b.quorate.cold(a.ask, a.qtype)
		if err != nil {
			return 0, err
		}
		if got.Status != a.status || got.Code != a.code { // on a loaded machine the time may be up first
			progress("the outcome is %s %s (%s), and %s %s is due", got.Status, got.Code, got.Why, a.status, a.code)
		}
		if got.CPU > worst.CPU {
			worst = got
		}
	}
	after, err := cpu(b.world.PID())
	if err != nil {
		return 0, err
	}
	others, err := b.beside(&a)
	if err != nil {
		return 0, err
	}
	theirs, outcome, err := b.unboundUnder(a)
	if err != nil {
		return 0, err
	}
	b.printf("| %s | %s | %s | %.1f | %d | %d | %.0f | %.2f | %.2f%s | %.1f, %s | %.1f |\n", a.name, a.what,
		strings.TrimSpace(worst.Status+" "+worst.Code), milliseconds(worst.CPU), worst.Packets, worst.Checks,
		milliseconds(worst.Took), others.at(50), others.at(99), others.failures(),
		milliseconds(theirs), outcome, milliseconds(after-world)/rounds)
	return worst.CPU, nil
}

// beside gives the latency of lookups that have nothing to do with an attack, while it goes on.
func (b *bench) beside(a *attack) (times, error) {
	if err := b.prime(b.quorate, kinds[0]); err != nil {
		return times{}, err
	}
	const long = 2 * time.Second
	var attacker sync.WaitGroup
	if a != nil {
		attacker.Go(func() {
			steadily(b.quorate.address(), attackRate, long, func(conn net.Conn, _ int) (time.Duration, error) {
				_, took, err := query(conn, a.ask, a.qtype, patience)
				return took, err
			})
		})
	}
	t := steadily(b.quorate.address(), innocents, long, func(conn net.Conn, i int) (time.Duration, error) {
		return proven(conn, warm(i), dns.TypeCAA, 1)
	})
	attacker.Wait()
	return t, nil
}

// unboundUnder gives Unbound's CPU for one such query with an empty memory, and its response code.
func (b *bench) unboundUnder(a attack) (time.Duration, string, error) {
	reset, err := resetCost(b.unbound)
	if err != nil {
		return 0, "", err
	}
	conn, err := net.Dial("udp", b.unbound.address())
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	before, err := cpu(b.unbound.pid())
	if err != nil {
		return 0, "", err
	}
	const times, brief = 2, 3 * time.Second
	outcome := ""
	for range times {
		if err := b.unbound.reset(); err != nil {
			return 0, "", err
		}
		m, _, err := query(conn, a.ask, a.qtype, brief)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			outcome = "no answer in " + brief.String()
			continue
		}
		if err != nil {
			return 0, "", err
		}
		if outcome = dns.RcodeToString[m.Rcode]; m.AuthenticatedData {
			outcome += " AD"
		}
	}
	after, err := cpu(b.unbound.pid())
	return max((after-before)/times-reset, 0), outcome, err
}

// checks writes what one signature check costs, and 64 of them.
func (b *bench) checks() error {
	b.printf("\n## Signature checks\n\nOne check of each algorithm, the quickest of 64, on one processor; for RSA up to the " +
		"largest key and exponent that are accepted.\n\n| Algorithm | One check, ms | 64 checks, ms |\n|---|---|---|\n")
	for _, c := range []struct {
		title  string
		number uint8
		make   func() (public, data, signature []byte, err error)
	}{
		{"RSA/SHA-256, 2048 bits, e = 65537", dns.RSASHA256, rsa(2048, 65537)},
		{"RSA/SHA-512, 4096 bits, e = 2^31-1", dns.RSASHA512, rsa(4096, 1<<31-1)},
		{"ECDSA P-256", dns.ECDSAP256SHA256, curve(elliptic.P256())},
		{"ECDSA P-384", dns.ECDSAP384SHA384, curve(elliptic.P384())},
		{"Ed25519", dns.ED25519, func() (public, data, signature []byte, err error) {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			data = []byte("data")
			return public, data, ed25519.Sign(private, data), err
		}},
		{"Ed448", dns.ED448, func() (public, data, signature []byte, err error) {
			public, private, err := ed448.GenerateKey(rand.Reader)
			data = []byte("data")
			return public, data, ed448.Sign(private, data, ""), err
		}},
	} {
		public, data, signature, err := c.make()
		if err != nil {
			return fmt.Errorf("%s: %w", c.title, err)
		}
		verify, err := dnssec.DefaultAlgorithms()[c.number](public)
		if err != nil {
			return fmt.Errorf("%s: %w", c.title, err)
		}
		const times = 64
		var each []time.Duration
		for range times {
			began := time.Now()
			verify(data, signature)
			each = append(each, time.Since(began))
		}
		one := slices.Min(each)
		b.printf("| %s | %.2f | %.0f |\n", c.title, milliseconds(one), 64*milliseconds(one))
	}
	return nil
}

// rsa gives a modulus that nobody has the factors of, whose check costs what that of a good signature does.
func rsa(bits int, exponent uint32) func() (public, data, signature []byte, err error) {
	return func() (public, data, signature []byte, err error) {
		modulus, signature := make([]byte, bits/8), make([]byte, bits/8)
		rand.Read(modulus)
		rand.Read(signature)
		modulus[0], modulus[len(modulus)-1], signature[0] = 0xff, modulus[len(modulus)-1]|1, 0
		public = append([]byte{4, byte(exponent >> 24), byte(exponent >> 16), byte(exponent >> 8), byte(exponent)}, modulus...)
		return public, []byte("data"), signature, nil
	}
}

// curve gives a key and a signature in their form in DNSKEY and RRSIG records.
func curve(c elliptic.Curve) func() (public, data, signature []byte, err error) {
	return func() (public, data, signature []byte, err error) {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			return nil, nil, nil, err
		}
		point, err := key.PublicKey.Bytes()
		size := (c.Params().BitSize + 7) / 8
		signature = make([]byte, 2*size)
		rand.Read(signature)
		signature[0], signature[size] = 0, 0 // below the group's order
		return point[1:], []byte("data"), signature, err
	}
}
