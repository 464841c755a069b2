package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/mpic"
)

// Ledger finds what certificates may rest on, and keeps permits and certificates. It is mpic.Ledger.
type Ledger struct{ store *Store }

var _ mpic.Ledger = (*Ledger)(nil)

// Ledger gives the store as mpic.Permits sees it.
func (s *Store) Ledger() *Ledger { return &Ledger{store: s} }

// evidenceLimit is how many attempts of one identifier are looked at, the newest. More than that within a reuse period tells of a
// client that has lost its memory, and the newest are the best.
const evidenceLimit = 50

// Evidence gives what granted attempts of an account may be relied upon for, the newest first: of each name the newest 50.
func (l *Ledger) Evidence(ctx context.Context, account string, names []string) ([]mpic.Relied, error) {
	var all []mpic.Relied
	for _, name := range names {
		rows, err := l.store.reads.QueryContext(ctx, `SELECT attempt, facts FROM reliances WHERE identifier = $1 AND account_uri = $2
			ORDER BY attempt DESC LIMIT $3`, column(name), column(account), evidenceLimit)
		if err != nil {
			return nil, fmt.Errorf("db: evidence: %w", err)
		}
		found, err := collect(rows, func(rows *sql.Rows) (r mpic.Relied, err error) {
			var number int64
			var facts []byte
			if err := rows.Scan(&number, &facts); err != nil {
				return r, err
			}
			if err := json.Unmarshal(facts, &r); err != nil {
				return r, fmt.Errorf("%w: what record %d may be relied upon for: %w", ErrDamaged, number, err)
			}
			// The columns are how it was found: a row that says something else than its facts is not believed.
			if r.Number != number || r.Identifier != name || r.Account != account {
				return r, fmt.Errorf("%w: what record %d may be relied upon for is of another attempt, name or account", ErrDamaged, number)
			}
			return r, nil
		})
		if err != nil {
			return nil, fmt.Errorf("db: evidence: %w", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// Confirm works out again, from the documents of the record, what an attempt may be relied upon for. ErrDamaged where they do not
// say so: somebody has changed a row.
func (l *Ledger) Confirm(ctx context.Context, r mpic.Relied) error {
	record, err := l.store.Attempt(ctx, strconv.FormatInt(r.Number, 10))
	if err != nil {
		return err
	}
	again, err := record.Reliable()
	if err != nil {
		return fmt.Errorf("db: record %d: %w", r.Number, err)
	}
	if !r.NoMoreThan(again) {
		return fmt.Errorf("%w: record %d may not be relied upon for what its row says", ErrDamaged, r.Number)
	}
	return nil
}

// RecordPermit keeps a permit, granted or refused. A second one of the same identifier is refused.
func (l *Ledger) RecordPermit(ctx context.Context, p mpic.PermitRecord) (int64, error) {
	p.Number = 0 // the log's line has it
	doc, err := l.store.sealer.seal(p, "")
	var number int64
	if err == nil {
		err = l.store.submit(ctx, func(ctx context.Context, tx *session) error {
			number = tx.head.permits + 1
			leaf, err := tx.append(merkle.Permit, number, doc.sha256)
			if err != nil {
				return err
			}
			if err := tx.insert(permitRow(number, leaf, p, doc)); err != nil {
				return err
			}
			tx.head.permits = number
			if names := permitNameRows(number, p); len(names) > 0 {
				return tx.insert(names...)
			}
			return nil
		})
	}
	if err != nil {
		return 0, fmt.Errorf("db: permit %s: %w", p.ID, err)
	}
	return number, nil
}

// FindPermit gives a permit by its identifier, mpic.ErrNoPermit where there is none.
func (l *Ledger) FindPermit(ctx context.Context, id string) (mpic.PermitRecord, error) {
	p, err := l.store.findPermit(ctx, `SELECT number, leaf, document, sha256 FROM permits WHERE id = $1`, column(id))
	if errors.Is(err, sql.ErrNoRows) {
		return p, fmt.Errorf("%w: %q", mpic.ErrNoPermit, id)
	} else if err != nil {
		return p, fmt.Errorf("db: permit %q: %w", id, err)
	}
	return p, nil
}

func (s *Store) findPermit(ctx context.Context, query string, key any) (p mpic.PermitRecord, err error) {
	var number int64
	var doc Document
	if err = s.reads.QueryRowContext(ctx, query, key).Scan(&number, &doc.Leaf, &doc.Bytes, &doc.SHA256); err != nil {
		return p, err
	}
	if err = doc.check("permit"); err == nil {
		err = doc.decode(&p, "permit")
	}
	p.Number = number
	return p, err
}

// RecordCertificate appends a certificate to its permit's. The same one with the same outcome a second time changes nothing.
func (l *Ledger) RecordCertificate(ctx context.Context, c mpic.CertificateRecord) (number int64, again bool, err error) {
	doc, err := l.store.sealer.seal(c, "")
	if err == nil {
		err = l.store.submit(ctx, func(ctx context.Context, tx *session) error {
			var permit int64
			err := tx.scan(ctx, `SELECT number, COALESCE((SELECT number FROM certificates AS c WHERE c.permit = p.number AND c.fingerprint = $2
				AND c.outcome = $3), 0) FROM permits AS p WHERE id = $1`, []any{column(c.Permit), c.SHA256, c.Outcome}, &permit, &number)
			again = number != 0
			switch {
			case errors.Is(err, sql.ErrNoRows):
				return mpic.ErrNoPermit
			case err != nil || again:
				return err
			}
			number = tx.head.certificates + 1
			leaf, err := tx.append(merkle.Certificate, number, doc.sha256)
			if err != nil {
				return err
			}
			tx.head.certificates = number
			return tx.insert(certificateRow(number, leaf, permit, c, doc))
		})
	}
	if err != nil {
		return 0, false, fmt.Errorf("db: certificate %s of permit %s: %w", c.SHA256, c.Permit, err)
	}
	return number, again, nil
}

// Issued is a certificate on record with the permit that it relies upon.
type Issued struct {
	Number      int64
	Certificate mpic.CertificateRecord
	Permit      mpic.PermitRecord
}

// CertificateFilter picks certificates. A zero field does not restrict.
type CertificateFilter struct {
	// Serial and Fingerprint are in hexadecimal, of either case; the fingerprint is the SHA-256.
	Serial, Fingerprint string
	// Name is one of the permit's names, Attempt the number of an attempt that the permit rests on, for DCV or CAA.
	Name    string
	Attempt int64
	// After gives certificates with a higher number only, Limit at most so many: DefaultLimit when zero, at most MaxLimit.
	After int64
	Limit int
}

// Certificates gives certificates in the order of their numbers, each with its permit.
func (s *Store) Certificates(ctx context.Context, f CertificateFilter) ([]Issued, error) {
	if f.Limit == 0 {
		f.Limit = DefaultLimit
	}
	if f.Limit < 0 || f.Limit > MaxLimit {
		return nil, fmt.Errorf("db: certificates: a limit of %d: it must lie between 1 and %d", f.Limit, MaxLimit)
	}
	terms, args := []string{"c.number > $1"}, []any{f.After}
	add := func(term string, value any) {
		args = append(args, value)
		terms = append(terms, strings.ReplaceAll(term, "$", fmt.Sprintf("$%d", len(args))))
	}
	if f.Serial != "" {
		add("c.serial = $", CertificateKey(f.Serial))
	}
	if f.Fingerprint != "" {
		add("c.fingerprint = $", CertificateKey(f.Fingerprint))
	}
	if f.Name != "" {
		add("EXISTS (SELECT 1 FROM permit_names AS n WHERE n.permit = c.permit AND n.name = $)", column(f.Name))
	}
	if f.Attempt != 0 {
		add("EXISTS (SELECT 1 FROM permit_names AS n WHERE n.permit = c.permit AND (n.attempt = $ OR n.caa_attempt = $))", f.Attempt)
	}
	args = append(args, f.Limit)
	rows, err := s.reads.QueryContext(ctx, fmt.Sprintf(`SELECT c.number, c.leaf, c.document, c.sha256, p.number, p.leaf, p.document, p.sha256
		FROM certificates AS c JOIN permits AS p ON p.number = c.permit WHERE %s ORDER BY c.number LIMIT $%d`, strings.Join(terms, " AND "), len(args)), args...)
	if err != nil {
		return nil, fmt.Errorf("db: certificates: %w", err)
	}
	all, err := collect(rows, func(r *sql.Rows) (i Issued, err error) {
		var cert, permit Document
		var number int64
		if err := r.Scan(&i.Number, &cert.Leaf, &cert.Bytes, &cert.SHA256, &number, &permit.Leaf, &permit.Bytes, &permit.SHA256); err != nil {
			return i, err
		}
		err = errors.Join(cert.check("certificate"), permit.check("permit"))
		if err == nil {
			err = errors.Join(cert.decode(&i.Certificate, "certificate"), permit.decode(&i.Permit, "permit"))
		}
		i.Permit.Number = number
		return i, err
	})
	if err != nil {
		return nil, fmt.Errorf("db: certificates: %w", err)
	}
	return all, nil
}
