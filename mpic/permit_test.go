package mpic

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va"
)

// book is a Ledger in memory over what a coordinator had recorded.
type book struct {
	journal      *ledger
	permits      []PermitRecord
	certificates []CertificateRecord
	asked        int
	// lie changes what is given as evidence.
	lie                                          func([]Relied) []Relied
	failEvidence, failPermit, failFind, failCert error
	// failConfirm is what Confirm says of the record with this number.
	failConfirm map[int64]error
	// another is what FindPermit gives in the place of the permit asked for.
	another *PermitRecord
}

func (b *book) Evidence(_ context.Context, account string, names []string) (out []Relied, err error) {
	b.journal.mu.Lock()
	defer b.journal.mu.Unlock()
	b.asked++
	for i, a := range b.journal.opened {
		k, closed := b.journal.closed[a.ID()]
		if !closed || a.Probe.Request.AccountURI != account || !slices.Contains(names, a.Probe.Request.Identifier) {
			continue
		}
		document, err := json.Marshal(k.decision)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(document)
		if r, ok := Reliable(k.evidence, k.decision.Recorded(), int64(i+1), hex.EncodeToString(sum[:])); ok {
			out = append(out, r)
		}
	}
	slices.Reverse(out)
	if b.lie != nil {
		out = b.lie(out)
	}
	return out, b.failEvidence
}

func (b *book) Confirm(_ context.Context, r Relied) error { return b.failConfirm[r.Number] }

func (b *book) RecordPermit(ctx context.Context, p PermitRecord) (int64, error) {
	if err := errors.Join(ctx.Err(), b.failPermit); err != nil {
		return 0, err
	}
	b.permits = append(b.permits, p)
	return int64(len(b.permits)), nil
}

func (b *book) FindPermit(_ context.Context, id string) (PermitRecord, error) {
	if b.another != nil || b.failFind != nil {
		return *cmpOr(b.another), b.failFind
	}
	i := slices.IndexFunc(b.permits, func(p PermitRecord) bool { return p.ID == id })
	if i < 0 {
		return PermitRecord{}, ErrNoPermit
	}
	p := b.permits[i]
	p.Number = int64(i + 1)
	return p, nil
}

func cmpOr(p *PermitRecord) *PermitRecord {
	if p == nil {
		return &PermitRecord{}
	}
	return p
}

func (b *book) RecordCertificate(ctx context.Context, c CertificateRecord) (number int64, again bool, err error) {
	if err := errors.Join(ctx.Err(), b.failCert); err != nil {
		return 0, false, err
	}
	i := slices.IndexFunc(b.certificates, func(o CertificateRecord) bool {
		return o.Permit == c.Permit && o.SHA256 == c.SHA256 && o.Outcome == c.Outcome
	})
	if i >= 0 {
		return int64(i + 1), true, nil
	}
	b.certificates = append(b.certificates, c)
	return int64(len(b.certificates)), false, nil
}

var permitKey = ed25519.NewKeyFromSeed([]byte("a seed of thirty-two octets here"))

// counter is a scene with permits.
type counter struct {
	*scene
	c       *Coordinator
	book    *book
	permits *Permits
}

func newCounter(t testing.TB, change ...func(*PermitsConfig)) *counter {
	s := newScene(t, fiveRegions(), december)
	n := &counter{scene: s, c: s.coordinator(), book: &book{journal: s.ledger}}
	config := PermitsConfig{Coordinator: n.c, Ledger: n.book, Signer: permitKey, Now: s.config.Now}
	for _, f := range change {
		f(&config)
	}
	var err error
	n.permits, err = NewPermits(config)
	require.NoError(t, err)
	return n
}

// show has an account validate a name.
func (n *counter) show(identifier string, m va.Method, account string) Result {
	n.t.Helper()
	req := request(m, n.config.Now())
	req.Identifier, req.AccountURI = identifier, account
	r, err := n.c.Validate(context.Background(), Issuance, "test:1", req)
	require.NoError(n.t, err)
	require.True(n.t, r.Decision.Granted(), "%v", r.Decision.Reasons())
	return r
}

// permit asks for one, and holds the answer to its record and its token.
func (n *counter) permit(names ...string) Permit {
	n.t.Helper()
	p, err := n.permits.Permit(context.Background(), "test:1", acct1, names)
	require.NoError(n.t, err)
	record := n.book.permits[len(n.book.permits)-1]
	record.Number = p.Number
	require.Equal(n.t, record, p.PermitRecord, "what is answered is on record")
	require.Equal(n.t, p.Outcome == OutcomeGranted, p.Token != "")
	require.Equal(n.t, p.Outcome == OutcomeGranted, !p.Expires.IsZero())
	if p.Token == "" {
		return p
	}
	claims, err := VerifyPermit(p.Token, permitKey.Public())
	require.NoError(n.t, err)
	require.Equal(n.t, Claims{ID: p.ID, Account: acct1, Issued: p.Issued.Unix(), Expires: p.Expires.Unix(), Names: p.Names}, claims)
	require.True(n.t, sameNames(names, claims.Names)) // C1
	return p
}

func nameCodes(p Permit) []string {
	out := make([]string, len(p.Names))
	for i, n := range p.Names {
		if n.Problem != nil {
			out[i] = n.Problem.Code
		}
	}
	return out
}

// inScene runs a test on a clock of its own.
func inScene(t *testing.T, run func(*counter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newCounter(t)
		run(n)
		n.close(n.c)
	})
}

func (n *counter) attempts(k Kind) (names []string) {
	for _, a := range n.ledger.opened {
		if a.Kind == k {
			names = append(names, a.Probe.Request.Identifier)
		}
	}
	slices.Sort(names)
	return names
}

// Holds: DCV-03, CAA-05, REC-05, C1, D5
func TestAPermitBindsNamesAccountAndEvidence(t *testing.T) {
	inScene(t, func(n *counter) {
		one := n.show("example.com", va.HTTP01, acct1)
		two := n.show("www.example.org", va.TLSALPN01, acct1)
		time.Sleep(time.Hour + 300*time.Millisecond)
		p := n.permit("www.example.org", "example.com")
		require.Equal(t, OutcomeGranted, p.Outcome)
		require.Equal(t, december.Add(time.Hour), p.Issued, "in whole seconds")
		require.Equal(t, december.Add(2*time.Hour), p.Expires)
		require.Empty(t, n.attempts(CAARecheck), "CAA is fresh")
		for i, want := range []Result{two, one} {
			d, a := p.Names[i].DCV, p.Names[i].CAA
			require.Equal(t, want.Evidence.Attempt.ID(), d.Attempt)
			require.Equal(t, want.Number, d.Number)
			document, err := json.Marshal(want.Decision)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(document)), d.SHA256)
			require.Equal(t, want.Evidence.Attempt.Probe.Request.Method, d.Method)
			require.Equal(t, december, d.Validated)
			require.Equal(t, *want.Decision.Recorded().Validated.ReusableUntil, d.ReusableUntil)
			require.Equal(t, PermitCAA{d.Attempt, d.Number, d.SHA256, december, december.Add(8 * time.Hour)}, *a)
		}
		require.Equal(t, "quorate/test", p.Software)
		require.Equal(t, n.permits.Key(), p.Key)
		found, err := n.permits.Find(context.Background(), "test:1", p.ID)
		require.NoError(t, err)
		require.Equal(t, p.PermitRecord, found.PermitRecord)
		require.Empty(t, found.Token, "the token is given once")
	})
}

// Holds: CAA-05, MPIC-01, MPIC-13, C8
func TestStaleCAAIsCheckedAgainWithQuorum(t *testing.T) {
	inScene(t, func(n *counter) {
		n.show("example.com", va.HTTP01, acct1)
		n.show("a.example.org", va.DNS01, acct1)
		time.Sleep(9 * time.Hour)
		n.show("b.example.org", va.HTTP01, acct1)
		p := n.permit("example.com", "a.example.org", "b.example.org")
		require.Equal(t, OutcomeGranted, p.Outcome, "%v", p.Names)
		require.Equal(t, []string{"a.example.org", "example.com"}, n.attempts(CAARecheck), "what was stale, and no other")
		for i, number := range []int64{1, 2, 3} {
			require.Equal(t, number, p.Names[i].DCV.Number)
		}
		require.NotEqual(t, p.Names[0].CAA.Number, p.Names[1].CAA.Number, "each name has its own")
		require.Greater(t, p.Names[0].CAA.Number, int64(3))
		require.Equal(t, int64(3), p.Names[2].CAA.Number)
		for _, a := range n.ledger.opened[3:] {
			require.Equal(t, CAARecheck, a.Kind)
			require.True(t, a.Probe.CAAAlone)
			require.Equal(t, "test:1", a.Caller)
			require.Empty(t, a.Probe.Request.Token)
			require.Equal(t, acct1, a.Probe.Request.AccountURI)
			require.Equal(t, []string{"ca.example"}, a.Probe.Request.Issuers)
		}
		require.Equal(t, va.DNS01, n.ledger.opened[slices.IndexFunc(n.ledger.opened, func(a Attempt) bool {
			return a.Kind == CAARecheck && a.Probe.Request.Identifier == "a.example.org"
		})].Probe.Request.Method, "CAA is asked for the method of the evidence")

		opened := len(n.ledger.opened)
		require.Equal(t, OutcomeGranted, n.permit("a.example.org").Outcome)
		require.Len(t, n.ledger.opened, opened, "a recheck is good for 8 hours too")
	})
}

// A recheck runs in a goroutine of its own, where no front could recover: a fault in one ends neither the gate nor the others' turns.
//
// Holds: CAA-05, REC-05
func TestARecheckThatBreaksDownGivesNoPermit(t *testing.T) {
	inScene(t, func(n *counter) {
		n.show("example.com", va.HTTP01, acct1)
		time.Sleep(9 * time.Hour)
		n.check = func(_ context.Context, p va.Probe) va.Report { return withOutcomes(n.t, p, "zurich", va.Pass, va.Fail) }
		n.c.config.Refused = func(Result) { panic("a fault") }
		_, err := n.permits.Permit(context.Background(), "test:1", acct1, []string{"example.com"})
		require.ErrorContains(t, err, "checking CAA of example.com again broke down: a fault")
		require.Empty(t, n.book.permits)
		require.Empty(t, n.c.slots)
	})
}

// Holds: CAA-05, CAA-08, MPIC-01, MPIC-03
func TestARecheckThatIsRefusedRefusesThePermit(t *testing.T) {
	for name, spoil := range map[string]func(*counter){
		"at the primary": func(n *counter) {
			n.check = func(_ context.Context, p va.Probe) va.Report {
				r := passing(n.t, p, "zurich")
				if p.Request.Identifier == "example.com" {
					r.CAA = va.CAAFinding{Outcome: va.Fail, Problem: forbidden}
				}
				return r
			}
		},
		"at two remotes": func(n *counter) {
			for _, f := range n.remotes[:2] {
				f.attest = func(_ context.Context, p va.Probe) Attestation {
					r := passing(n.t, p, f.member.Name)
					if p.Request.Identifier == "example.com" {
						r.CAA = va.CAAFinding{Outcome: va.Fail, Problem: forbidden}
					}
					return answered(f.member.Name, r)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(n *counter) {
				n.show("example.com", va.HTTP01, acct1)
				n.show("www.example.org", va.HTTP01, acct1)
				time.Sleep(9 * time.Hour)
				spoil(n)
				p := n.permit("example.com", "www.example.org")
				require.Equal(t, []string{"permit.caa-refused", ""}, nameCodes(p))
				require.Contains(t, p.Names[0].Problem.Detail, "record ")
				require.Nil(t, p.Names[0].CAA)
				require.Equal(t, []string{"example.com", "www.example.org"}, n.attempts(CAARecheck), "on record in full")
			})
		})
	}
}

// Holds: CAA-02, CAA-05, C2
func TestAWildcardAndItsBaseAreTwoQuestionsToCAA(t *testing.T) {
	inScene(t, func(n *counter) {
		n.show("*.example.org", va.DNS01, acct1)
		p := n.permit("example.org", "*.example.org")
		require.Equal(t, OutcomeGranted, p.Outcome)
		require.Equal(t, []string{"example.org"}, n.attempts(CAARecheck))
		require.Equal(t, int64(1), p.Names[0].DCV.Number)
		require.Equal(t, int64(2), p.Names[0].CAA.Number)
		require.Equal(t, int64(1), p.Names[1].CAA.Number)
		require.Equal(t, "example.org", p.Names[1].DCV.AuthorizationDomainName)
	})
}

// Holds: DCV-03, D4, D5
func TestWhereEvidenceIsMissingNothingIsAsked(t *testing.T) {
	inScene(t, func(n *counter) {
		n.show("example.com", va.HTTP01, acct1)
		n.show("a.example.org", va.HTTP01, acct2)
		opened := len(n.ledger.opened)
		p := n.permit("example.com", "www.example.com", "*.example.com", "a.example.org", "example.net")
		require.Equal(t, []string{"", "permit.scope", "permit.scope", "permit.no-evidence", "permit.no-evidence"}, nameCodes(p))
		time.Sleep(9 * time.Hour)
		require.Equal(t, []string{"permit.caa-stale", "permit.no-evidence"}, nameCodes(n.permit("example.com", "example.net")))
		time.Sleep(100 * oneDay)
		require.Equal(t, []string{"permit.expired"}, nameCodes(n.permit("example.com")), "after 2027-03-15 for 100 days")
		require.Len(t, n.ledger.opened, opened, "no CAA changes any of these answers")
		for _, p := range n.book.permits {
			require.Equal(t, OutcomeRefused, p.Outcome)
		}
		require.Len(t, n.book.permits, 3, "refusals are on record")
	})
}

// Holds: CAA-05, DCV-03
func TestAPermitEndsWithTheFirstOfItsEvidence(t *testing.T) {
	inScene(t, func(n *counter) {
		n.show("example.com", va.HTTP01, acct1)
		time.Sleep(7*time.Hour + 30*time.Minute + 1)
		require.Equal(t, december.Add(8*time.Hour), n.permit("example.com").Expires)
		time.Sleep(29*time.Minute - 1)
		require.Equal(t, december.Add(8*time.Hour), n.permit("example.com").Expires, "a minute before")
		require.Empty(t, n.attempts(CAARecheck))
		time.Sleep(1 * time.Nanosecond)
		require.Equal(t, december.Add(9*time.Hour-time.Minute), n.permit("example.com").Expires, "with less than a minute left it is checked again")
		require.Len(t, n.attempts(CAARecheck), 1)

		time.Sleep(december.Add(100*oneDay - 10*time.Minute).Sub(n.config.Now()))
		require.Equal(t, december.Add(100*oneDay), n.permit("example.com").Expires)
		time.Sleep(9*time.Minute + 1)
		require.Equal(t, []string{"permit.expired"}, nameCodes(n.permit("example.com")))
	})
}

// Holds: DCV-27, DCV-28, C1
func TestRequestsThatNoPermitCanAnswer(t *testing.T) {
	inScene(t, func(n *counter) {
		n.show("example.com", va.HTTP01, acct1)
		for name, c := range map[string]struct {
			names []string
			want  []string
		}{
			"twice":        {[]string{"example.com", "example.com"}, []string{"", "permit.duplicate"}},
			"upper case":   {[]string{"Example.com"}, []string{"name.syntax"}},
			"a dot":        {[]string{"example.com."}, []string{"name.syntax"}},
			"a suffix":     {[]string{"*.co.uk", "example.com"}, []string{"name.public-suffix", ""}},
			"an address":   {[]string{"192.0.2.1"}, []string{"name.address"}},
			"internal":     {[]string{"host.internal"}, []string{"name.internal"}},
			"an asterisk":  {[]string{"a*.example.com"}, []string{"name.wildcard"}},
			"nothing":      {[]string{""}, []string{"name.syntax"}},
			"a very long":  {[]string{strings.Repeat("a.", 5000) + "com"}, []string{"name.syntax"}},
			"not in UTF-8": {[]string{"\xff.com"}, []string{"name.syntax"}},
		} {
			p, err := n.permits.Permit(context.Background(), "test:1", acct1, c.names)
			require.NoError(t, err)
			require.Equal(t, OutcomeRefused, p.Outcome, name)
			require.Equal(t, c.want, nameCodes(p), name)
			require.Empty(t, p.Token)
			text, err := json.Marshal(n.book.permits[len(n.book.permits)-1])
			require.NoError(t, err)
			require.Less(t, len(text), 4096)
		}
		for _, account := range []string{"", "acct", strings.Repeat("x", 1<<20)} {
			p, err := n.permits.Permit(context.Background(), "test:1", account, []string{"example.com"})
			require.NoError(t, err)
			require.Equal(t, "request.account", p.Problem.Code)
			require.Equal(t, OutcomeRefused, n.book.permits[len(n.book.permits)-1].Outcome)
			require.Empty(t, p.Token)
			require.LessOrEqual(t, len(p.Account), maxAccount)
		}
		require.Zero(t, n.book.asked, "nobody looked for evidence")
		recorded := len(n.book.permits)
		for _, names := range [][]string{nil, {}, make([]string, MaxPermitNames+1)} {
			_, err := n.permits.Permit(context.Background(), "test:1", acct1, names)
			require.ErrorIs(t, err, ErrRequest)
		}
		_, err := n.permits.Permit(context.Background(), "", acct1, []string{"example.com"})
		require.ErrorIs(t, err, ErrRequest)
		require.Len(t, n.book.permits, recorded)
	})
}

// Holds: REC-05, C8
func TestWithoutRecordsThereIsNoPermit(t *testing.T) {
	full := errors.New("disk full")
	ask := func(n *counter) (Permit, error) {
		return n.permits.Permit(context.Background(), "test:1", acct1, []string{"example.com"})
	}
	for name, c := range map[string]struct {
		fail func(*counter)
		want error
	}{
		"evidence cannot be read":     {func(n *counter) { n.book.failEvidence = full }, ErrUnread},
		"the permit is not recorded":  {func(n *counter) { n.book.failPermit = full }, ErrRecord},
		"the recheck is not recorded": {func(n *counter) { time.Sleep(9 * time.Hour); n.ledger.failOpen = full }, ErrRecord},
		"nor its decision":            {func(n *counter) { time.Sleep(9 * time.Hour); n.ledger.failClose = full }, ErrRecord},
		"the evidence anew": {func(n *counter) {
			time.Sleep(9 * time.Hour)
			n.book.lie = func(r []Relied) []Relied {
				if n.book.asked == 2 {
					n.book.failEvidence = full
				}
				return r
			}
		}, ErrUnread},
		"the coordinator is closed": {func(n *counter) { time.Sleep(9 * time.Hour); n.close(n.c) }, ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(n *counter) {
				n.show("example.com", va.HTTP01, acct1)
				c.fail(n)
				p, err := ask(n)
				require.ErrorIs(t, err, c.want)
				require.Equal(t, Permit{}, p)
				require.Empty(t, n.book.permits)
			})
		})
	}
	t.Run("a caller that goes away is answered on record", func(t *testing.T) {
		inScene(t, func(n *counter) {
			n.show("example.com", va.HTTP01, acct1)
			gone, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := n.permits.Permit(gone, "test:1", acct1, []string{"example.com"})
			require.NoError(t, err)
			require.Len(t, n.book.permits, 1)
		})
	})
	t.Run("a key that does not sign", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newCounter(t, func(c *PermitsConfig) { c.Signer = brokenKey{permitKey.Public()} })
			n.show("example.com", va.HTTP01, acct1)
			p, err := ask(n)
			require.Error(t, err)
			require.Equal(t, Permit{}, p)
			n.close(n.c)
		})
	})
}

type brokenKey struct{ public crypto.PublicKey }

func (b brokenKey) Public() crypto.PublicKey { return b.public }
func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the key is gone")
}

// What a Ledger gives that it should not is not believed.
//
// Holds: CAA-05, C1, D5
func TestALedgerIsHeldToWhatItGives(t *testing.T) {
	for name, c := range map[string]struct {
		lie  func([]Relied) []Relied
		want string
	}{
		"another account's": {func(r []Relied) []Relied { r[0].Account = acct2; return r }, "permit.account"},
		"another name's": {func(r []Relied) []Relied {
			r[0].AuthorizationDomainName, r[0].Identifier = "example.net", "example.net"
			return r
		}, "permit.no-evidence"},
		"no scope":        {func(r []Relied) []Relied { r[0].Scope = 0; return r }, "permit.scope"},
		"not the recheck": {func(r []Relied) []Relied { r = r[len(r)-1:]; r[0].CAAFreshUntil = december; return r }, "permit.caa-stale"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(n *counter) {
				n.show("example.com", va.HTTP01, acct1)
				n.book.lie = c.lie
				require.Equal(t, []string{c.want}, nameCodes(n.permit("example.com")))
			})
		})
	}
	t.Run("a record that cannot be named", func(t *testing.T) { // found out before anything is signed
		inScene(t, func(n *counter) {
			n.show("example.com", va.HTTP01, acct1)
			n.book.lie = func(r []Relied) []Relied { r[0].SHA256 = "?"; return r }
			_, err := n.permits.Permit(context.Background(), "test:1", acct1, []string{"example.com"})
			require.ErrorContains(t, err, "not named in full")
		})
	})
	n := newCounter(t)
	for i, names := range [][]PermitName{goodClaims().Names, goodClaims().Names[:1], {goodClaims().Names[1], goodClaims().Names[0]}, nil} {
		r := PermitRecord{Names: names}
		n.permits.close(&r, []string{"example.com", "*.example.com"}, december.Add(time.Hour))
		require.Equal(t, i == 0, r.Outcome == OutcomeGranted, "C1: the set asked for, and no other")
		require.Equal(t, i != 0, r.Outcome == OutcomeRefused && r.Expires.IsZero())
	}
	n.close(n.c)
	require.True(t, sameNames([]string{"a", "b"}, []PermitName{{Name: "a"}, {Name: "b"}}))
	for _, names := range [][]PermitName{nil, {{Name: "a"}}, {{Name: "b"}, {Name: "a"}}, {{Name: "a"}, {Name: "a"}}, {{Name: "a"}, {Name: "b"}, {Name: "c"}}} {
		require.False(t, sameNames([]string{"a", "b"}, names))
	}
}

// Holds: C8
func TestRechecksOfOnePermitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCounter(t, func(c *PermitsConfig) { c.Rechecks = 3 })
		var names []string
		for i := range 10 {
			names = append(names, fmt.Sprintf("h%d.example.org", i))
			n.show(names[i], va.HTTP01, acct1)
		}
		time.Sleep(9 * time.Hour)
		var at, most atomic.Int32
		n.check = func(_ context.Context, p va.Probe) va.Report {
			if now := at.Add(1); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(time.Second)
			at.Add(-1)
			return passing(t, p, "zurich")
		}
		began := time.Now()
		require.Equal(t, OutcomeGranted, n.permit(names...).Outcome)
		require.EqualValues(t, 3, most.Load())
		require.Equal(t, 4*time.Second, time.Since(began))
		require.Equal(t, names, n.attempts(CAARecheck), "C1: each name once")
		n.close(n.c)
	})
}

// TestRechecksBeyondTheFirstTakePlaces: a permit for a hundred names is one request of its caller's, and must not have eight attempts run for it where
// the caller may have two.
//
// Holds: C8
func TestRechecksBeyondTheFirstTakePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCounter(t)
		var names []string
		for i := range 10 {
			names = append(names, fmt.Sprintf("h%d.example.org", i))
			n.show(names[i], va.HTTP01, acct1)
		}
		time.Sleep(9 * time.Hour)
		var at, most atomic.Int32
		n.check = func(_ context.Context, p va.Probe) va.Report {
			if now := at.Add(1); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(time.Second)
			at.Add(-1)
			return passing(t, p, "zurich")
		}
		places := make(chan struct{}, 1)
		p, err := n.permits.PermitWithin(context.Background(), "test:1", acct1, names, func() (func(), bool) {
			select {
			case places <- struct{}{}:
				return func() { <-places }, true
			default:
				return nil, false
			}
		})
		require.NoError(t, err)
		require.Equal(t, OutcomeGranted, p.Outcome)
		require.EqualValues(t, 2, most.Load())
		require.Empty(t, places, "given back")
		require.Equal(t, names, n.attempts(CAARecheck), "C1: each name once")
		n.close(n.c)
	})
}

func TestPermitsAreTheirCallersAlone(t *testing.T) {
	inScene(t, func(n *counter) {
		n.show("example.com", va.HTTP01, acct1)
		p := n.permit("example.com")
		for _, c := range []struct{ caller, id string }{{"test:2", p.ID}, {"", p.ID}, {"test:1", "OTHER"}, {"test:1", ""}} {
			_, err := n.permits.Find(context.Background(), c.caller, c.id)
			require.ErrorIs(t, err, ErrNoPermit)
		}
		n.book.another = &p.PermitRecord
		_, err := n.permits.Find(context.Background(), "test:1", "OTHER")
		require.ErrorIs(t, err, ErrNoPermit, "C1: not the one that was asked for")
		n.book.failFind = errors.New("disk")
		_, err = n.permits.Find(context.Background(), "test:1", p.ID)
		require.ErrorIs(t, err, ErrUnread)
	})
}

func TestNewPermitsRefuses(t *testing.T) {
	n := newCounter(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for name, change := range map[string]func(*PermitsConfig){
		"no coordinator":  func(c *PermitsConfig) { c.Coordinator = nil },
		"no ledger":       func(c *PermitsConfig) { c.Ledger = nil },
		"no key":          func(c *PermitsConfig) { c.Signer = nil },
		"another key":     func(c *PermitsConfig) { c.Signer = p384 },
		"no kind of key":  func(c *PermitsConfig) { c.Signer = brokenKey{"key"} },
		"short":           func(c *PermitsConfig) { c.Lifetime = time.Minute - 1 },
		"long":            func(c *PermitsConfig) { c.Lifetime = 8*time.Hour + 1 },
		"negative":        func(c *PermitsConfig) { c.Lifetime = -time.Hour },
		"no recheck":      func(c *PermitsConfig) { c.Rechecks = -1 },
		"endless recheck": func(c *PermitsConfig) { c.Rechecks = 101 },
	} {
		config := PermitsConfig{Coordinator: n.c, Ledger: n.book, Signer: permitKey}
		change(&config)
		_, err := NewPermits(config)
		require.Error(t, err, name)
	}
	n.close(n.c)
}

// What a permit rests on is worked out again from its record, and not believed for standing in a row.
//
// Holds: D5, CAA-05, DCV-03
func TestNoPermitRestsOnACopy(t *testing.T) {
	inScene(t, func(n *counter) {
		n.show("example.com", va.HTTP01, acct1)
		n.show("www.example.com", va.HTTP01, acct1)
		n.book.failConfirm = map[int64]error{2: errors.New("the row says more than the record")}
		_, err := n.permits.Permit(t.Context(), "rest:ra-1", acct1, []string{"example.com", "www.example.com"})
		require.ErrorIs(t, err, ErrUnread)
		require.ErrorContains(t, err, "www.example.com, record 2")
		require.Empty(t, n.book.permits, "nothing is permitted, and nothing recorded")
		require.Equal(t, OutcomeGranted, n.permit("example.com").Outcome)
	})
}
