package audit

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/boulder"
	"github.com/quorate/quorate/mpic/draft"
	"github.com/quorate/quorate/mpic/openmpic"
	"github.com/quorate/quorate/va"
)

// reader makes the statement of a remote again out of what was exchanged with it; the package of its protocol has it. It is pure.
type reader func(mpic.Member, va.Probe, []mpic.Exchange) (mpic.Statement, error)

func readers() map[mpic.Protocol]reader {
	return map[mpic.Protocol]reader{
		mpic.Boulder:             boulder.Read,
		mpic.OpenMPICChecker:     openmpic.ReadChecker,
		mpic.OpenMPICCoordinator: openmpic.ReadCoordinator,
		mpic.Draft00:             draft.Read,
	}
}

const statementWithheld = "what was exchanged with it about domain control was not read again: its tokens are withheld"

// askedAlone is the probe that has the same question about CAA, which no token is part of. In each protocol it is asked last.
func askedAlone(p va.Probe) va.Probe {
	p.CAAAlone = true
	p.Request.Token, p.Request.KeyAuthorization, p.Request.TokenCreated = "", "", time.Time{}
	return p
}

// takenOut tells whether an exchange showed a token in another form than its own, so that it is not kept at all.
func takenOut(x mpic.Exchange) bool {
	return commitment.MatchString(x.Sent) || commitment.MatchString(x.Received)
}

// statement holds what was judged against what was exchanged. Nobody signed it: that it came from this remote, the gate alone can say.
func (v *verification) statement(m mpic.Member, s mpic.Statement) {
	read, ok := readers()[m.Protocol]
	if !ok {
		v.wrong(Signatures, m.Name, "", "nothing here reads the protocol %q", m.Protocol)
		return
	}
	probe, exchanges := v.evidence.Attempt.Probe, s.Exchanges
	if withheld(v.evidence) {
		v.out.Withheld = append(v.out.Withheld, Finding{Check: Signatures, Perspective: m.Name, Detail: statementWithheld})
		if probe.DCVAlone || len(exchanges) > 0 && takenOut(exchanges[len(exchanges)-1]) {
			return
		}
		probe, exchanges = askedAlone(probe), exchanges[max(0, len(exchanges)-1):]
	}
	again, err := read(m, probe, exchanges)
	if err != nil {
		v.wrong(Signatures, m.Name, "", "what was exchanged with it gives no statement: %v", err)
		return
	}
	if withheld(v.evidence) { // the digest is of the whole request
		again.Digest, again.DCV, again.Exchanges = s.Digest, s.DCV, s.Exchanges
	}
	said, err := json.Marshal(s)
	if err != nil {
		v.wrong(Signatures, m.Name, "", "%v", err)
		return
	}
	if found, err := json.Marshal(again); err != nil || !bytes.Equal(said, found) {
		v.wrong(Signatures, m.Name, "", "what was exchanged with it gives another statement: %s", firstDifference(said, found))
		return
	}
	for _, x := range s.Exchanges {
		if x.Started.Before(v.evidence.Attempt.Started.Add(-skew)) || x.Finished.Before(x.Started) {
			v.wrong(Times, m.Name, "", "the exchange is of %s to %s, and the attempt of %s", stamp(x.Started), stamp(x.Finished),
				stamp(v.evidence.Attempt.Started))
		}
	}
	v.out.Statements++
}
