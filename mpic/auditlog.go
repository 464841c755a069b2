package mpic

import (
	"errors"
	"fmt"
)

// ErrAuditLog: the audit line could not be written, and the configuration demands it, so the answer is no. The record stands.
var ErrAuditLog = errors.New("mpic: the audit line could not be written")

// AuditLog is told of each answer, when its record is durable and before it is given (docs/audit-log.md). Package auditlog implements it.
// An error means that the answer is no; where it only matters to the log, none is given.
type AuditLog interface {
	// Attempt is told of a decision on record.
	Attempt(Result) error
	// Unrecorded is told of an attempt with a number whose decision could not be recorded: the answer is no whatever comes of this.
	Unrecorded(a Attempt, number int64)
	// Permit is told of a permit on record, granted or refused, before it is signed.
	Permit(PermitRecord) error
	// Certificate is told of a certificate on record by its number, linked to a permit or refused; again where it was on record before.
	Certificate(c CertificateRecord, number int64, again bool) error
}

// told gives the audit log the line of an attempt: the last thing before its answer.
func (c *Coordinator) told(r Result) (Result, error) {
	if c.config.AuditLog == nil {
		return r, nil
	}
	if err := c.config.AuditLog.Attempt(r); err != nil {
		return Result{}, fmt.Errorf("%w: attempt %s, record %d: %w", ErrAuditLog, r.Evidence.Attempt.ID(), r.Number, err)
	}
	return r, nil
}

// unrecorded gives it the line of an attempt that was not closed.
func (c *Coordinator) unrecorded(a Attempt, number int64) {
	if c.config.AuditLog != nil {
		c.config.AuditLog.Unrecorded(a, number)
	}
}

// toldPermit gives it the line of a permit.
func (p *Permits) toldPermit(r PermitRecord) error {
	log := p.config.Coordinator.config.AuditLog
	if log == nil {
		return nil
	}
	if err := log.Permit(r); err != nil {
		return fmt.Errorf("%w: permit %s, record %d: %w", ErrAuditLog, r.ID, r.Number, err)
	}
	return nil
}

// toldCertificate gives it the line of a certificate.
func (p *Permits) toldCertificate(c CertificateRecord, number int64, again bool) error {
	log := p.config.Coordinator.config.AuditLog
	if log == nil {
		return nil
	}
	if err := log.Certificate(c, number, again); err != nil {
		return fmt.Errorf("%w: certificate %s of permit %s: %w", ErrAuditLog, c.SHA256, c.Permit, err)
	}
	return nil
}
