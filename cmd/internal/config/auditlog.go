package config

import (
	"unicode/utf8"

	"github.com/quorate/quorate/mpic/auditlog"
)

// AuditLog is the log for auditors: docs/audit-log.md. Left out, there is none.
type AuditLog struct {
	// Destination is "stdout", "stderr", or the path of a file.
	Destination string `yaml:"destination"`
	// Required makes the answer no where its line cannot be written.
	Required bool `yaml:"required"`
	// Gate names the gate in its lines: the host's name where it is left out.
	Gate string `yaml:"gate"`
}

func (d *document) auditLog(a *AuditLog) {
	if a == nil {
		return
	}
	d.require("audit_log", "destination")
	if a.Destination != auditlog.Stdout && a.Destination != auditlog.Stderr {
		a.Destination = d.path(a.Destination)
	}
	if d.has("audit_log.destination") && a.Destination == "" {
		d.refuse("audit_log.destination", "", "stdout, stderr or the path of a file is needed")
	}
	if d.has("audit_log.gate") && (a.Gate == "" || utf8.RuneCountInString(a.Gate) > 63) {
		d.refuse("audit_log.gate", "", "a gate's name has 1 to 63 characters")
	}
}
