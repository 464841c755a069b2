package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic"
)

// CertificateMember is a certificate of a population that a sample is drawn from.
type CertificateMember struct {
	Number, Permit      int64
	Fingerprint, Serial string
	Issuer              string
	NotBefore, NotAfter time.Time
	Linked              time.Time
	// Precertificate: no certificate of its serial number is on record, so that it stands for it.
	Precertificate bool
}

// CertificateMembers gives the certificates that were linked in a period, each once: a precertificate only where no certificate of the
// same issuer and serial number is linked, and one that is linked to several permits with the first. Their order is that of the numbers.
func (s *Store) CertificateMembers(ctx context.Context, p Period, each func(CertificateMember) error) error {
	return s.viewing(ctx, "certificates of a period", func(v *scan) error {
		const page = 1000
		for last := int64(0); ; {
			var args []any
			first := strings.Join(append(p.terms("e.linked_at", &args), "e.fingerprint = c.fingerprint", "e.outcome = 'linked'", "e.number < c.number"), " AND ")
			terms := append(p.terms("c.linked_at", &args), "c.outcome = 'linked'", fmt.Sprintf("c.number > %d", last))
			type member struct {
				CertificateMember
				doc                         Document
				notBefore, notAfter, linked string
				again                       bool
			}
			rows, err := v.tx.QueryContext(ctx, `SELECT c.number, c.permit, c.fingerprint, c.serial, c.issuer, c.not_before, c.not_after, c.linked_at,
				c.document, c.sha256, EXISTS (SELECT 1 FROM certificates AS e WHERE `+first+`)
				FROM certificates AS c WHERE `+strings.Join(terms, " AND ")+fmt.Sprintf(` ORDER BY c.number LIMIT %d`, page), args...)
			if err != nil {
				return err
			}
			all, err := collect(rows, func(r *sql.Rows) (m member, err error) {
				return m, r.Scan(&m.Number, &m.Permit, &m.Fingerprint, &m.Serial, &m.Issuer, &m.notBefore, &m.notAfter, &m.linked, &m.doc.Bytes,
					&m.doc.SHA256, &m.again)
			})
			if err != nil {
				return err
			}
			for _, m := range all {
				last = m.Number
				if m.again {
					continue
				}
				var said mpic.CertificateRecord
				err := errors.Join(m.doc.check("certificate"), m.doc.decode(&said, "certificate"))
				for _, t := range []struct {
					text string
					into *time.Time
				}{{m.notBefore, &m.NotBefore}, {m.notAfter, &m.NotAfter}, {m.linked, &m.Linked}} {
					var bad error
					*t.into, bad = parseTime(t.text)
					err = errors.Join(err, bad)
				}
				if err != nil {
					return fmt.Errorf("certificate %d: %w", m.Number, err)
				}
				if m.Precertificate = said.Precertificate; m.Precertificate {
					if followed, err := v.followed(ctx, m.CertificateMember); err != nil || followed {
						if err != nil {
							return err
						}
						continue
					}
				}
				if err := each(m.CertificateMember); err != nil {
					return err
				}
			}
			if len(all) < page {
				return nil
			}
		}
	})
}

// followed tells whether the certificate of a precertificate is on record.
func (v *scan) followed(ctx context.Context, m CertificateMember) (yes bool, err error) {
	err = v.query(ctx, `SELECT document, sha256 FROM certificates WHERE serial = $1 AND issuer = $2 AND outcome = 'linked' AND fingerprint <> $3`,
		[]any{m.Serial, m.Issuer, m.Fingerprint}, func(rows *sql.Rows) error {
			var c mpic.CertificateRecord
			err := readDocument(rows, &c, "certificate")
			yes = yes || !c.Precertificate
			return err
		})
	return yes, err
}

// AttemptMembers gives the decided attempts of a period, in the order of their numbers.
func (s *Store) AttemptMembers(ctx context.Context, p Period, each func(Summary) error) error {
	return s.viewing(ctx, "attempts of a period", func(v *scan) error {
		where, args := p.where("a.started_at", "d.attempt IS NOT NULL")
		return v.query(ctx, `SELECT `+summaryColumns+` FROM attempts AS a JOIN decisions AS d ON d.attempt = a.number`+where+` ORDER BY a.number`, args,
			func(rows *sql.Rows) error {
				one, err := scanSummary(rows)
				if err != nil {
					return err
				}
				return each(one)
			})
	})
}

// Linked tells which of some certificates, by their SHA-256 fingerprints in lower-case hexadecimal, are linked to a permit.
func (s *Store) Linked(ctx context.Context, fingerprints []string) (map[string]bool, error) {
	out := map[string]bool{}
	err := s.viewing(ctx, "linked certificates", func(v *scan) error {
		for len(fingerprints) > 0 {
			some := fingerprints[:min(chunk, len(fingerprints))]
			fingerprints = fingerprints[len(some):]
			places, args := make([]string, len(some)), make([]any, len(some))
			for i, f := range some {
				places[i], args[i] = fmt.Sprintf("$%d", i+1), f
			}
			err := v.query(ctx, `SELECT fingerprint FROM certificates WHERE outcome = 'linked' AND fingerprint IN (`+strings.Join(places, ", ")+`)`, args,
				func(rows *sql.Rows) error {
					var f string
					err := rows.Scan(&f)
					out[f] = true
					return err
				})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}
