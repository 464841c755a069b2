package db

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va/dnssec"
)

// Journal writes the records of attempts. It is mpic.Journal.
type Journal struct{ store *Store }

var _ mpic.Journal = (*Journal)(nil)

// Journal gives the store as the coordinator sees it.
func (s *Store) Journal() *Journal { return &Journal{store: s} }

// document is what is kept: bytes, and the digest of exactly these bytes. They are made once and never made again.
type document struct {
	bytes  []byte
	sha256 string
}

func newDocument(v any) (document, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return document{}, fmt.Errorf("db: the record cannot be written as JSON: %w", err)
	}
	return document{bytes: b, sha256: digest(b)}, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// opening is the document of an attempt before its first packet.
type opening struct {
	Attempt mpic.Attempt `json:"attempt"`
	Roster  mpic.Roster  `json:"roster"`
}

// closing is the document of a decision. It names the digests of all that was decided upon, so that its own digest
// stands for the whole record.
type closing struct {
	Number int64 `json:"number"`
	// Opening is the SHA-256 of the attempt's document, in hexadecimal.
	Opening string `json:"opening"`
	// Reports has the primary first, then the remotes in the roster's order.
	Reports []closingReport `json:"reports"`
	Decided time.Time       `json:"decided"`
	// Decision is mpic.Decision's JSON form.
	Decision json.RawMessage `json:"decision"`
}

type closingReport struct {
	Perspective string    `json:"perspective"`
	Role        mpic.Role `json:"role"`
	State       string    `json:"state"`
	SHA256      string    `json:"sha256"`
}

// Open writes the attempt and one pending row for each perspective of the roster (REC-01, F3), and returns the record's
// number, the next one of a gapless sequence (F4). A second attempt with one identifier is refused.
func (j *Journal) Open(ctx context.Context, attempt mpic.Attempt, roster mpic.Roster) (int64, error) {
	doc, err := newDocument(opening{attempt, roster})
	if err != nil {
		return 0, err
	}
	var number int64
	err = j.submit(ctx, func(ctx context.Context, tx *session) error {
		if err := tx.scan(ctx, `SELECT coalesce(max(number), 0) + 1 FROM attempts`, nil, &number); err != nil {
			return err
		}
		if err := insertAttempt(ctx, tx, number, attempt, doc, j.store.now()); err != nil {
			return err
		}
		return insertPerspectives(ctx, tx, number, roster)
	})
	if err != nil {
		return 0, fmt.Errorf("db: opening attempt %s: %w", attempt.ID(), err)
	}
	return number, nil
}

// submit writes through the store's writer.
func (j *Journal) submit(ctx context.Context, do func(context.Context, *session) error) error {
	if j.store.writer == nil {
		return ErrReadOnly
	}
	return j.store.writer.submit(ctx, do)
}

// insertAttempt: REC-03, time, identity and description stand in columns of their own.
func insertAttempt(ctx context.Context, tx *session, number int64, a mpic.Attempt, doc document, now time.Time) error {
	req := a.Probe.Request
	wildcard := 0
	if req.Wildcard() {
		wildcard = 1
	}
	_, err := tx.exec(ctx, `INSERT INTO attempts (number, id, kind, started_at, caller, software, identifier, fqdn,
		wildcard, method, section, account_uri, document, sha256, recorded_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		number, column(a.ID()), a.Kind.String(), formatTime(a.Started), column(a.Caller), column(a.Software),
		column(req.Identifier), column(req.FQDN()), wildcard, req.Method.String(), req.Method.Section(),
		column(req.AccountURI), doc.bytes, doc.sha256, formatTime(now))
	return err
}

func insertPerspectives(ctx context.Context, tx *session, number int64, roster mpic.Roster) error {
	role := mpic.Primary
	for i, m := range append([]mpic.Member{roster.Primary}, roster.Remotes...) {
		if i > 0 {
			role = mpic.RemoteRole
		}
		_, err := tx.exec(ctx, `INSERT INTO perspectives (attempt, name, role, position, region, latitude, longitude,
			resolver_region, resolver_latitude, resolver_longitude) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			number, column(m.Name), role.String(), i, column(string(m.Place.Region)), m.Place.Latitude, m.Place.Longitude,
			column(string(m.Resolver.Region)), m.Resolver.Latitude, m.Resolver.Longitude)
		if err != nil {
			return err
		}
	}
	return nil
}

// column makes a copy to query by out of what a caller sent: a request that is refused for its bytes is recorded too,
// and Postgres keeps neither NUL nor broken UTF-8 in text. JSON does the same to the document's strings.
func column(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Close writes, in one transaction, a closing row for each perspective, the decision and, when it is granted and for
// issuance, the authorization (REC-05). It refuses with ErrNotFound an attempt that was not opened, with ErrDecided
// one that has its decision, and with ErrMismatch: evidence of another attempt or roster than the one opened; evidence
// without exactly one attestation for each remote; a decision that is not the one that Judge makes of this very
// evidence.
func (j *Journal) Close(ctx context.Context, evidence mpic.Evidence, decision mpic.Decision) error {
	c, err := prepareClose(evidence, decision)
	if err != nil {
		return fmt.Errorf("db: closing attempt %s: %w", evidence.Attempt.ID(), err)
	}
	fresh := j.store.known.missing(c.sets)
	err = j.submit(ctx, func(ctx context.Context, tx *session) error {
		number, err := findOpen(ctx, tx, evidence.Attempt.ID(), c.opening.sha256)
		if err != nil {
			return err
		}
		now := j.store.now()
		if err := insertSets(ctx, tx, c.sets, fresh, now); err != nil {
			return err
		}
		for _, r := range c.rows {
			if err := insertReport(ctx, tx, number, r, now); err != nil {
				return err
			}
		}
		if err := insertDecision(ctx, tx, number, c, now); err != nil {
			return err
		}
		if !decision.Granted() || evidence.Attempt.Kind != mpic.Issuance {
			return nil
		}
		req := evidence.Attempt.Probe.Request
		_, err = tx.exec(ctx, `INSERT INTO authorizations (attempt, outcome, kind, identifier, account_uri, method,
			granted_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`, number, string(Granted), evidence.Attempt.Kind.String(),
			column(req.Identifier), column(req.AccountURI), req.Method.String(), formatTime(now))
		return err
	})
	if err != nil {
		return fmt.Errorf("db: closing attempt %s: %w", evidence.Attempt.ID(), err)
	}
	j.store.known.add(fresh)
	return nil
}

// closeRecord is all that Close writes, made before the transaction.
type closeRecord struct {
	attempt      mpic.Attempt
	opening      document
	rows         []reportRow
	decision     mpic.Decision
	decisionJSON []byte
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
	doc, err := newDocument(opening{e.Attempt, e.Roster})
	if err != nil {
		return none, err
	}
	sets, err := e.Sets() // REC-04: nothing is decided upon proofs that the record does not hold
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	rows, err := reportRows(e, d)
	return closeRecord{attempt: e.Attempt, opening: doc, rows: rows, decision: d, decisionJSON: given, sets: sets}, err
}

// findOpen gives the number of an attempt that is open and whose document has this digest.
func findOpen(ctx context.Context, tx *session, id, sum string) (int64, error) {
	var number int64
	var opened string
	var decided bool
	err := tx.scan(ctx, `SELECT a.number, a.sha256, EXISTS (SELECT 1 FROM decisions AS d WHERE d.attempt = a.number)
		FROM attempts AS a WHERE a.id = $1`, []any{column(id)}, &number, &opened, &decided)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, fmt.Errorf("%w: the attempt was not opened", ErrNotFound)
	case err != nil:
		return 0, err
	case decided:
		return 0, ErrDecided
	case opened != sum:
		return 0, fmt.Errorf("%w: the evidence's attempt or roster is not the one that was opened", ErrMismatch)
	}
	return number, nil
}

// insertDecision: REC-02, the quorum of each check stands in the row as "corroborated/attempted".
func insertDecision(ctx context.Context, tx *session, number int64, c closeRecord, now time.Time) error {
	record := closing{Number: number, Opening: c.opening.sha256, Decided: now.UTC(), Decision: c.decisionJSON}
	for _, r := range c.rows {
		record.Reports = append(record.Reports, closingReport{r.perspective, r.role, r.state, r.doc.sha256})
	}
	doc, err := newDocument(record)
	if err != nil {
		return err
	}
	outcome := Refused
	if c.decision.Granted() {
		outcome = Granted
	}
	var codes []string
	for _, p := range c.decision.Reasons() {
		codes = append(codes, column(p.Code))
	}
	req, primary, policy := c.attempt.Probe.Request, c.rows[0], c.decision.Policy()
	dcv, caa := c.decision.DCV(), c.decision.CAA()
	_, err = tx.exec(ctx, `INSERT INTO decisions (attempt, outcome, kind, identifier, account_uri, method, policy,
		min_remotes, min_regions, primary_name, primary_role, primary_dcv, primary_caa, dcv_corroborated, dcv_attempted,
		dcv_allowed, caa_corroborated, caa_attempted, caa_allowed, dcv_quorum, caa_quorum, reasons, decided_at, document,
		sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
		$23, $24, $25)`,
		number, string(outcome), c.attempt.Kind.String(), column(req.Identifier), column(req.AccountURI), req.Method.String(),
		policy.Name(), policy.MinRemotes, policy.MinRegions, column(primary.perspective), primary.role.String(), primary.dcv,
		primary.caa, dcv.Corroborated, dcv.Attempted, dcv.Allowed, caa.Corroborated, caa.Attempted, caa.Allowed,
		dcv.String(), caa.String(), strings.Join(codes, " "), formatTime(now), doc.bytes, doc.sha256)
	return err
}

// Late keeps a reply that came after the decision (ErrNotFound where the attempt is unknown). It changes nothing else.
// A reply of a remote that had answered in time, a second one, or one for an attempt that is still open is refused.
func (j *Journal) Late(ctx context.Context, attempt string, attestation mpic.Attestation) error {
	doc, err := newDocument(attestation)
	late := mpic.Evidence{Remotes: []mpic.Attestation{attestation}}
	var sets dnssec.Sets
	if err == nil {
		sets, err = late.Sets()
	}
	if err == nil {
		err = j.submit(ctx, func(ctx context.Context, tx *session) error {
			var number int64
			err := tx.scan(ctx, `SELECT number FROM attempts WHERE id = $1`, []any{column(attempt)}, &number)
			if errors.Is(err, sql.ErrNoRows) {
				return ErrNotFound
			} else if err != nil {
				return err
			}
			if err := insertSets(ctx, tx, sets, j.store.known.missing(sets), j.store.now()); err != nil {
				return err
			}
			_, err = tx.exec(ctx, `INSERT INTO late_reports (attempt, perspective, role, state, recorded_at, document,
				sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)`, number, column(attestation.Perspective),
				mpic.RemoteRole.String(), attestation.State.String(), formatTime(j.store.now()), doc.bytes, doc.sha256)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("db: late reply of %s to attempt %s: %w", attestation.Perspective, attempt, err)
	}
	return nil
}
