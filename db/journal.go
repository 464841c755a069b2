package db

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// Journal writes the records of attempts. It is mpic.Journal.
type Journal struct{ store *Store }

var _ mpic.Journal = (*Journal)(nil)

// Journal gives the store as the coordinator sees it.
func (s *Store) Journal() *Journal { return &Journal{store: s} }

// opening is the document of an attempt before its first packet: the intent. Its number is in the log's line.
type opening struct {
	// Gate is the lease of the gate that opened the attempt.
	Gate    string       `json:"gate"`
	Attempt mpic.Attempt `json:"attempt"`
	Roster  mpic.Roster  `json:"roster"`
}

// closing is the document of a decision, with all that was decided upon. It names the intent's digest, so that its own digest
// stands for the whole record.
type closing struct {
	Number int64 `json:"number"`
	// Intent is the attempt's own document.
	Intent reference `json:"intent"`
	// Gate is the lease of the gate that decided; for an abandoned attempt another's than the one that opened it.
	Gate string `json:"gate"`
	// Primary is nil when the attempt was refused before the first packet, or abandoned.
	Primary *mpic.PrimaryReport `json:"primary,omitempty"`
	// Remotes are in the roster's order.
	Remotes []mpic.Attestation `json:"remotes"`
	Decided time.Time          `json:"decided"`
	// Decision is mpic.Decision's JSON form.
	Decision json.RawMessage `json:"decision"`
}

// reference names a document by its line in the log.
type reference struct {
	Leaf   int64  `json:"leaf"`
	SHA256 string `json:"sha256"`
}

// appendText writes what json.Marshal does, with the parts that are JSON already as they are. Decision must be from json.Marshal.
func (c closing) appendText(b []byte) ([]byte, error) {
	head, err := json.Marshal(struct {
		Number int64     `json:"number"`
		Intent reference `json:"intent"`
		Gate   string    `json:"gate"`
	}{c.Number, c.Intent, c.Gate})
	if err != nil {
		return b, err
	}
	b = append(b, head[:len(head)-1]...)
	if c.Primary != nil {
		text, err := c.Primary.MarshalJSON()
		if err != nil {
			return b, err
		}
		b = append(append(b, `,"primary":`...), text...)
	}
	b = append(b, `,"remotes":`...)
	if b, err = appendAttestations(b, c.Remotes); err != nil {
		return b, err
	}
	decided, err := c.Decided.MarshalJSON()
	if err != nil {
		return b, err
	}
	b = append(append(b, `,"decided":`...), decided...)
	b = append(append(b, `,"decision":`...), c.Decision...)
	return append(b, '}'), nil
}

func appendAttestations(b []byte, all []mpic.Attestation) ([]byte, error) {
	if all == nil {
		return append(b, "null"...), nil
	}
	b = append(b, '[')
	for i, a := range all {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = a.AppendJSON(b); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// lateReply is the document of a reply that came after the decision.
type lateReply struct {
	Attempt string           `json:"attempt"`
	Reply   mpic.Attestation `json:"reply"`
}

// appendText writes what json.Marshal does.
func (l lateReply) appendText(b []byte) ([]byte, error) {
	attempt, err := json.Marshal(l.Attempt)
	if err != nil {
		return b, err
	}
	b = append(append(b, `{"attempt":`...), attempt...)
	if b, err = l.Reply.AppendJSON(append(b, `,"reply":`...)); err != nil {
		return b, err
	}
	return append(b, '}'), nil
}

// Open writes the attempt and one pending row for each perspective of the roster (REC-01, F3), and returns the record's
// number, the next one of a gapless sequence (F4). A second attempt with one identifier is refused.
func (j *Journal) Open(ctx context.Context, attempt mpic.Attempt, roster mpic.Roster) (int64, error) {
	if j.store.writer == nil {
		return 0, ErrReadOnly
	}
	number, err := j.open(ctx, attempt, roster)
	if err != nil {
		return 0, fmt.Errorf("db: opening attempt %s: %w", attempt.ID(), err)
	}
	return number, nil
}

func (j *Journal) open(ctx context.Context, attempt mpic.Attempt, roster mpic.Roster) (int64, error) {
	gate, token := j.store.lease.gate(), attempt.Probe.Request.Token
	text, err := json.Marshal(opening{gate, attempt, roster})
	if err != nil {
		return 0, fmt.Errorf("the record cannot be written as JSON: %w", err)
	}
	doc, err := j.store.sealer.sealText(text, token)
	if err != nil {
		return 0, err
	}
	if err := j.store.tellsColumns(attempt, doc); err != nil {
		return 0, err
	}
	opened := openedAttempt{gate: gate, text: sha256.Sum256(text), token: sha256.Sum256([]byte(token))}
	err = j.store.submit(ctx, func(ctx context.Context, tx *session) error {
		number := tx.head.attempts + 1
		leaf, err := tx.append(merkle.Intent, number, doc.sha256)
		if err != nil {
			return err
		}
		tx.head.attempts = number
		opened.number, opened.intent = number, reference{leaf, doc.sha256}
		if err := tx.insert(attemptRow(number, leaf, gate, attempt, doc)); err != nil {
			return err
		}
		return tx.insert(perspectiveRows(number, roster)...)
	})
	if err == nil {
		j.store.opened.add(column(attempt.ID()), opened)
	}
	return opened.number, err
}

// tellsColumns refuses an attempt whose columns would say something else than its document, where tokens are kept as digests alone: with the token in
// its name or account too, nobody could make its columns again, nor another gate close it.
func (s *Store) tellsColumns(a mpic.Attempt, doc document) error {
	if !s.sealer.digestsOnly || len(doc.secrets) == 0 {
		return nil
	}
	var o opening
	if err := (Document{Bytes: doc.bytes, Secrets: doc.secrets}).decode(&o, "attempt"); err != nil {
		return err
	}
	said, again := attemptRow(0, 0, "", a, doc), attemptRow(0, 0, "", o.Attempt, doc)
	for i, column := range said.columns {
		if !equal(said.values[i], again.values[i]) {
			return fmt.Errorf("%w: the token stands in the %s as well, and tokens are kept as digests", ErrMismatch, column)
		}
	}
	return nil
}

// submit writes through the store's writer.
func (s *Store) submit(ctx context.Context, do func(context.Context, *session) error) error {
	if s.writer == nil {
		return ErrReadOnly
	}
	if halted := s.halted.Load(); halted != nil {
		return *halted
	}
	err := s.writer.submit(ctx, do)
	if errors.Is(err, ErrLog) {
		s.halt(err)
	}
	return err
}

// Close writes, in one transaction, a closing row for each perspective, the decision and, when it is granted and for
// issuance, the authorization (REC-05). It refuses with ErrNotFound an attempt that was not opened, with ErrDecided
// one that has its decision, and with ErrMismatch: evidence of another attempt or roster than the one opened; evidence
// without exactly one attestation for each remote; a decision that is not the one that Judge makes of this very
// evidence.
func (j *Journal) Close(ctx context.Context, evidence mpic.Evidence, decision mpic.Decision) error {
	c, err := prepareClose(evidence, decision)
	if err == nil {
		err = j.store.write(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("db: closing attempt %s: %w", evidence.Attempt.ID(), err)
	}
	return nil
}

// closeRecord is all that Close writes, made before the transaction.
type closeRecord struct {
	evidence     mpic.Evidence
	decision     mpic.RecordedDecision
	decisionJSON []byte
	reports      []closedReport
	sets         dnssec.Sets
}

// prepareClose holds evidence and decision against each other. Judge is pure and quick, so the check is to judge again:
// a decision of this attempt over other evidence does not pass.
func prepareClose(e mpic.Evidence, d mpic.Decision) (closeRecord, error) {
	none := closeRecord{}
	if d.Attempt() == "" || d.Attempt() != e.Attempt.ID() {
		return none, fmt.Errorf("%w: the decision is of attempt %q, the evidence of %q", ErrMismatch, d.Attempt(),
			e.Attempt.ID())
	}
	given, err := json.Marshal(d)
	if err != nil {
		return none, err
	}
	again, err := json.Marshal(mpic.Judge(e))
	if err != nil {
		return none, err
	}
	if !bytes.Equal(given, again) {
		return none, fmt.Errorf("%w: Judge makes another decision of this evidence", ErrMismatch)
	}
	sets, err := e.Sets() // REC-04: nothing is decided upon proofs that the record does not hold
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	recorded := d.Recorded()
	reports, err := closedReports(e, recorded)
	return closeRecord{e, recorded, given, reports, sets}, err
}

// write carries a close out.
func (s *Store) write(ctx context.Context, c closeRecord) error {
	switch {
	case s.writer == nil:
		return ErrReadOnly
	case s.writer.closed():
		return ErrClosed
	}
	attempt := c.evidence.Attempt
	number, intent, err := s.findOpen(ctx, attempt, c.evidence.Roster)
	if err != nil {
		return err
	}
	record := closing{Number: number, Intent: intent, Gate: s.lease.gate(), Primary: c.evidence.Primary, Remotes: c.evidence.Remotes,
		Decided: s.now().UTC().Round(0), Decision: c.decisionJSON}
	doc, err := s.sealer.seal(record, attempt.Probe.Request.Token)
	if err != nil {
		return err
	}
	reliances, err := relianceRows(c.evidence, c.decision, number, doc.sha256)
	if err != nil {
		return err
	}
	fresh := s.known.missing(c.sets)
	err = s.submit(ctx, func(ctx context.Context, tx *session) error {
		// Otherwise the guards find it out, and all is tried once more.
		if tx.alone {
			if err := undecided(ctx, tx, number); err != nil {
				return err
			}
		}
		if err := insertSets(ctx, tx, c.sets, fresh); err != nil {
			return err
		}
		if err := tx.insert(reportRows(number, c.reports, record.Decided)...); err != nil {
			return err
		}
		leaf, err := tx.append(merkle.Decision, number, doc.sha256)
		if err != nil {
			return err
		}
		decided, err := decisionRow(leaf, record, attempt, c.decision, c.reports, doc)
		if err != nil {
			return err
		}
		if err := tx.insert(decided); err != nil {
			return err
		}
		for _, rows := range [][]row{authorizationRows(record, attempt, c.decision), reliances} {
			if len(rows) == 0 {
				continue
			}
			if err := tx.insert(rows...); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.known.add(fresh)
	}
	return err
}

// undecided: an attempt is decided once, by the gate that opened it or, when that is dead, by another.
func undecided(ctx context.Context, tx *session, number int64) error {
	var decided bool
	err := tx.scan(ctx, `SELECT EXISTS (SELECT 1 FROM decisions WHERE attempt = $1)`, []any{number}, &decided)
	if err == nil && decided {
		err = ErrDecided
	}
	return err
}

// findOpen gives the number of an attempt that is open, and its document's line. The attempt and roster must be those that were
// opened: the same text, its tokens included.
func (s *Store) findOpen(ctx context.Context, a mpic.Attempt, r mpic.Roster) (int64, reference, error) {
	if opened, ok := s.opened.find(column(a.ID())); ok {
		text, err := json.Marshal(opening{opened.gate, a, r})
		if err != nil {
			return 0, reference{}, err
		}
		if sha256.Sum256(text) == opened.text {
			return opened.number, opened.intent, nil
		}
	}
	return s.readOpen(ctx, a, r)
}

// readOpen is findOpen for an attempt that another process opened, or this one long ago, or that comes out of the record itself, where its
// token may be a commitment.
func (s *Store) readOpen(ctx context.Context, a mpic.Attempt, r mpic.Roster) (int64, reference, error) {
	var number int64
	var gate string
	var doc Document
	var decided bool
	err := s.reads.QueryRowContext(ctx, `SELECT a.number, a.leaf, a.gate, a.sha256, a.document, a.secrets,
		EXISTS (SELECT 1 FROM decisions AS d WHERE d.attempt = a.number) FROM attempts AS a WHERE a.id = $1`,
		column(a.ID())).Scan(&number, &doc.Leaf, &gate, &doc.SHA256, &doc.Bytes, &doc.Secrets, &decided)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, reference{}, fmt.Errorf("%w: the attempt was not opened", ErrNotFound)
	case err != nil:
		return 0, reference{}, err
	case decided:
		return 0, reference{}, ErrDecided
	}
	if err := doc.check("attempt"); err != nil {
		return 0, reference{}, err
	}
	text, err := json.Marshal(opening{gate, a, r})
	if err != nil {
		return 0, reference{}, err
	}
	opened, err := doc.Text()
	if err != nil {
		return 0, reference{}, err
	}
	if masked, err := doc.masked(text, a.Probe.Request.Token); err != nil || !bytes.Equal(masked, opened) {
		return 0, reference{}, errors.Join(fmt.Errorf("%w: the evidence's attempt or roster is not the one that was opened", ErrMismatch), err)
	}
	return number, reference{doc.Leaf, doc.SHA256}, nil
}

// Late keeps a reply that came after the decision (ErrNotFound where the attempt is unknown). It changes nothing else.
// A reply of a remote that had answered in time, a second one, or one for an attempt that is still open is refused.
func (j *Journal) Late(ctx context.Context, attempt mpic.Attempt, attestation mpic.Attestation) error {
	if err := j.late(ctx, attempt, attestation); err != nil {
		return fmt.Errorf("db: late reply of %s to attempt %s: %w", attestation.Perspective, attempt.ID(), err)
	}
	return nil
}

func (j *Journal) late(ctx context.Context, attempt mpic.Attempt, attestation mpic.Attestation) error {
	evidence := mpic.Evidence{Remotes: []mpic.Attestation{attestation}}
	sets, err := evidence.Sets()
	if err != nil {
		return err
	}
	token := attempt.Probe.Request.Token
	number, err := j.lateFor(ctx, attempt.ID(), token)
	if err != nil {
		return err
	}
	doc, err := j.store.sealer.seal(lateReply{attempt.ID(), attestation}, token)
	if err != nil {
		return err
	}
	return j.store.submit(ctx, func(ctx context.Context, tx *session) error {
		if err := insertSets(ctx, tx, sets, j.store.known.missing(sets)); err != nil {
			return err
		}
		leaf, err := tx.append(merkle.LateReply, number, doc.sha256)
		if err != nil {
			return err
		}
		return tx.insert(lateRow(number, leaf, attestation, tx.at, doc))
	})
}

// lateFor gives the number of an attempt, whose token must be the one given: REC-04, where tokens are kept as digests, the record does
// not tell what must not stand in the reply; but it tells this token's digest.
func (j *Journal) lateFor(ctx context.Context, id, token string) (number int64, err error) {
	if opened, ok := j.store.opened.find(column(id)); ok && opened.token == sha256.Sum256([]byte(token)) {
		return opened.number, nil
	}
	var intent Document
	err = j.store.reads.QueryRowContext(ctx, `SELECT number, document, secrets FROM attempts WHERE id = $1`, column(id)).
		Scan(&number, &intent.Bytes, &intent.Secrets)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNotFound
	} else if err != nil {
		return 0, err
	}
	var opened opening
	if err := intent.decode(&opened, "attempt"); err != nil {
		return 0, err
	}
	if kept := opened.Attempt.Probe.Request.Token; kept != token && !intent.commits(token, kept) {
		return 0, fmt.Errorf("%w: the token is not that of the attempt that was opened", ErrMismatch)
	}
	return number, nil
}
