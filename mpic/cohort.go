package mpic

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/va"
)

// Cohort says how many remotes of a larger roster take part in an attempt. The zero value: all of them.
//
// Which ones is worked out from the domain, the number of the try and a secret, so that an attacker can neither choose nor foresee them,
// and a domain has the same ones each time. Those chosen are the attempt's roster: they alone are asked, recorded and counted, and each
// pair of them, the primary included, meets the rules of distance (F8); those that are not chosen need not.
type Cohort struct {
	// Size is at least what the rules ask for, and at most the number of remotes.
	Size int
	// Secret is 32 octets or more.
	Secret []byte
}

const minCohortSecret = 32

// check tells what is wrong with it, for a roster at a time.
func (c Cohort) check(r Roster, at time.Time) error {
	if c.Size == 0 && len(c.Secret) == 0 {
		return nil
	}
	if len(c.Secret) < minCohortSecret {
		return fmt.Errorf("a cohort's secret of %d octets: at least %d are needed", len(c.Secret), minCohortSecret)
	}
	if c.Size < 1 || c.Size > len(r.Remotes) {
		return fmt.Errorf("a cohort of %d, of %d remotes", c.Size, len(r.Remotes))
	}
	if _, ok := c.choose(r, "", 0, c.Size, at); !ok {
		return fmt.Errorf("no %d of the %d remotes are far enough apart and in enough regions (MPIC-04, MPIC-05)", c.Size, len(r.Remotes))
	}
	return nil
}

// choose gives the roster of one attempt. domain is the FQDN in lower case; demanded raises the size, up to all remotes. ok is false where
// no choice of that size meets the rules of that time.
func (c Cohort) choose(r Roster, domain string, try, demanded int, at time.Time) (Roster, bool) {
	size := max(c.Size, demanded)
	if c.Size == 0 || size >= len(r.Remotes) {
		return r, len(r.Check(at)) == 0
	}
	ranked := slices.Clone(r.Remotes)
	slices.SortStableFunc(ranked, func(a, b Member) int {
		return slices.Compare(c.rank(domain, try, a.Name), c.rank(domain, try, b.Name))
	})
	s := selection{primary: r.Primary, ranked: ranked, size: size, at: at, left: maxChoices}
	if !s.extend(0) {
		return Roster{}, false
	}
	return Roster{Primary: r.Primary, Remotes: s.chosen}, true
}

func (c Cohort) rank(domain string, try int, name string) []byte {
	h := hmac.New(sha256.New, c.Secret)
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(try))
	h.Write(number[:])
	h.Write([]byte(domain))
	h.Write([]byte{0})
	h.Write([]byte(name))
	return h.Sum(nil)
}

// maxChoices bounds the search for remotes that go together. Of twenty remotes, three pairs of which stand too close, the first choice
// or the second goes together.
const maxChoices = 20_000

// selection is the search for the first remotes, by rank, that meet the rules together.
type selection struct {
	primary Member
	ranked  []Member
	size    int
	at      time.Time
	chosen  []Member
	left    int
}

func (s *selection) extend(from int) bool {
	if len(s.chosen) == s.size {
		return len(Roster{Primary: s.primary, Remotes: s.chosen}.Check(s.at)) == 0
	}
	for i := from; i <= len(s.ranked)-(s.size-len(s.chosen)); i++ {
		if s.left--; s.left < 0 {
			return false
		}
		if !s.far(s.ranked[i]) {
			continue
		}
		s.chosen = append(s.chosen, s.ranked[i])
		if s.extend(i + 1) {
			return true
		}
		s.chosen = s.chosen[:len(s.chosen)-1]
	}
	return false
}

// far tells whether a remote stands far enough from the primary and from those chosen.
func (s *selection) far(m Member) bool {
	var f faults
	f.pair(s.primary.standing(), m.standing())
	for _, other := range s.chosen {
		f.pair(other.standing(), m.standing())
	}
	return len(f) == 0
}

// Check gives what keeps a roster of which cohorts are chosen from being used at a time. That some stand too close to each other does not,
// as long as enough are far apart.
func (c Cohort) Check(r Roster, at time.Time) []*va.Problem {
	all := r.Check(at)
	if c.Size == 0 && len(c.Secret) == 0 {
		return all
	}
	all = slices.DeleteFunc(all, func(p *va.Problem) bool { return p.Code == "roster.distance" || p.Code == "roster.resolver-distance" })
	if err := c.check(r, at); err != nil {
		all = append(all, &va.Problem{Code: "roster.cohort", Rules: []string{"MPIC-02", "MPIC-05"}, Detail: err.Error()})
	}
	return all
}
