package gate

import (
	"context"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/auditlog"
)

// openAuditLog opens the log for auditors, where the configuration has one. It comes before the records: dead gates' attempts, which
// opening those closes, have their lines too.
func (g *Gate) openAuditLog(c *config.AuditLog, software string, doors node.Doors) error {
	if c == nil {
		return nil
	}
	metrics, err := node.Register(g.registry, auditlog.NewMetrics)
	if err != nil {
		return err
	}
	g.auditLog, err = auditlog.New(auditlog.Config{Destination: c.Destination, Required: c.Required, Gate: c.Gate, Software: software, Now: doors.Now,
		Logger: g.log, Metrics: metrics})
	return err
}

// lines is the log as the Coordinator knows it: nil without one.
func (g *Gate) lines() mpic.AuditLog {
	if g.auditLog == nil {
		return nil
	}
	return g.auditLog
}

// abandoned gives the line of an attempt that a dead gate had left open.
func (g *Gate) abandoned() func(int64, mpic.Evidence, mpic.Decision) {
	if g.auditLog == nil {
		return nil
	}
	return func(number int64, e mpic.Evidence, d mpic.Decision) {
		if err := g.auditLog.Attempt(mpic.Result{Number: number, Evidence: e, Decision: d}); err != nil { // nobody waits for an answer
			g.log.Error("the audit line of an abandoned attempt is not written", "attempt", e.Attempt.ID(), "record", number, "error", err)
		}
	}
}

// ReopenAuditLog opens the file of the audit log anew, after a rotation. Without one it does nothing.
func (g *Gate) ReopenAuditLog(ctx context.Context) error {
	if g.auditLog == nil {
		return nil
	}
	return g.auditLog.Reopen(ctx)
}

// closeAuditLog writes what waits, within the time that a gate has to end.
func (g *Gate) closeAuditLog() error {
	if g.auditLog == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.shutdown)
	defer cancel()
	return g.auditLog.Close(ctx)
}
