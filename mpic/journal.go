package mpic

import (
	"context"

	"github.com/quorate/quorate/va"
)

// Journal keeps attempts, evidence and decisions. Package db implements it on each database engine.
//
// Every method returns only after what it wrote is durable. An error means that nothing was written, and that the answer
// to the caller is no (REC-05).
type Journal interface {
	// Open writes the attempt and one pending row for each perspective of the roster, before the first packet (F3). It
	// returns the record's number: a gapless sequence that starts at 1.
	Open(ctx context.Context, attempt Attempt, roster Roster) (number int64, err error)
	// Close writes, in one transaction, a closing row for each perspective, the evidence, the decision and, when the
	// decision is granted and the attempt is for issuance, the authorization. A second Close of one attempt is an error.
	Close(ctx context.Context, evidence Evidence, decision Decision) error
	// Late appends a reply that came after its attempt was closed. It changes no decision. attempt is that of Open.
	Late(ctx context.Context, attempt Attempt, attestation Attestation) error
}

// Remote asks one remote perspective.
type Remote interface {
	// Member gives the roster's facts.
	Member() Member
	// Attest sends the probe and waits for the reply until ctx ends. It always returns an attestation with State and times
	// set: what went wrong is data.
	Attest(ctx context.Context, probe va.Probe) Attestation
}
