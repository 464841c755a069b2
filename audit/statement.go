package audit

import (
	"bytes"
	"encoding/json"

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

// statement holds what was judged against what was exchanged. Nobody signed it: that it came from this remote, the gate alone can say.
func (v *verification) statement(m mpic.Member, s mpic.Statement) {
	read, ok := readers()[m.Protocol]
	if !ok {
		v.wrong(Signatures, m.Name, "", "nothing here reads the protocol %q", m.Protocol)
		return
	}
	again, err := read(m, v.evidence.Attempt.Probe, s.Exchanges)
	if err != nil && withheld(v.evidence) { // an exchange that shows a token in another form is not kept at all
		v.out.Withheld = append(v.out.Withheld, Finding{Check: Signatures, Perspective: m.Name,
			Detail: "what was exchanged with it was not read again: its tokens are withheld"})
		return
	}
	if err != nil {
		v.wrong(Signatures, m.Name, "", "what was exchanged with it gives no statement: %v", err)
		return
	}
	if withheld(v.evidence) { // the digest is of the whole request, and what is said of DCV depends on the token
		again.Digest, again.DCV = s.Digest, s.DCV
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
