-- +goose Up

-- The guards of SQLite: what a CHECK or a foreign key cannot say, and what they do not hold on a connection that has
-- foreign_keys or recursive_triggers off, as the sqlite3 shell has. A guard runs before REPLACE takes an old row away.
-- Somebody who drops the guards, or ignores checks, can still write what is false: the transparency log has to show
-- that.

-- REC-06: rows are appended, and never changed, removed or replaced. The row number is a key too: INSERT OR REPLACE
-- could name one.

-- +goose StatementBegin
CREATE TRIGGER attempts_no_update BEFORE UPDATE ON attempts
BEGIN
    SELECT RAISE(ABORT, 'attempts: records are never changed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER attempts_no_delete BEFORE DELETE ON attempts
BEGIN
    SELECT RAISE(ABORT, 'attempts: records are never removed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER attempts_no_replace BEFORE INSERT ON attempts
WHEN EXISTS (SELECT 1 FROM attempts WHERE rowid = NEW.rowid
        OR number = NEW.number
        OR id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'attempts: the row exists and is never replaced (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER perspectives_no_update BEFORE UPDATE ON perspectives
BEGIN
    SELECT RAISE(ABORT, 'perspectives: records are never changed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER perspectives_no_delete BEFORE DELETE ON perspectives
BEGIN
    SELECT RAISE(ABORT, 'perspectives: records are never removed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER perspectives_no_replace BEFORE INSERT ON perspectives
WHEN EXISTS (SELECT 1 FROM perspectives WHERE rowid = NEW.rowid
        OR (attempt = NEW.attempt AND name = NEW.name)
        OR (attempt = NEW.attempt AND position = NEW.position))
BEGIN
    SELECT RAISE(ABORT, 'perspectives: the row exists and is never replaced (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER reports_no_update BEFORE UPDATE ON reports
BEGIN
    SELECT RAISE(ABORT, 'reports: records are never changed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER reports_no_delete BEFORE DELETE ON reports
BEGIN
    SELECT RAISE(ABORT, 'reports: records are never removed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER reports_no_replace BEFORE INSERT ON reports
WHEN EXISTS (SELECT 1 FROM reports WHERE rowid = NEW.rowid
        OR (attempt = NEW.attempt AND perspective = NEW.perspective))
BEGIN
    SELECT RAISE(ABORT, 'reports: the row exists and is never replaced (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions
BEGIN
    SELECT RAISE(ABORT, 'decisions: records are never changed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions
BEGIN
    SELECT RAISE(ABORT, 'decisions: records are never removed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_no_replace BEFORE INSERT ON decisions
WHEN EXISTS (SELECT 1 FROM decisions WHERE rowid = NEW.rowid
        OR attempt = NEW.attempt)
BEGIN
    SELECT RAISE(ABORT, 'decisions: the row exists and is never replaced (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER authorizations_no_update BEFORE UPDATE ON authorizations
BEGIN
    SELECT RAISE(ABORT, 'authorizations: records are never changed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER authorizations_no_delete BEFORE DELETE ON authorizations
BEGIN
    SELECT RAISE(ABORT, 'authorizations: records are never removed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER authorizations_no_replace BEFORE INSERT ON authorizations
WHEN EXISTS (SELECT 1 FROM authorizations WHERE rowid = NEW.rowid
        OR attempt = NEW.attempt)
BEGIN
    SELECT RAISE(ABORT, 'authorizations: the row exists and is never replaced (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER late_reports_no_update BEFORE UPDATE ON late_reports
BEGIN
    SELECT RAISE(ABORT, 'late_reports: records are never changed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER late_reports_no_delete BEFORE DELETE ON late_reports
BEGIN
    SELECT RAISE(ABORT, 'late_reports: records are never removed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER late_reports_no_replace BEFORE INSERT ON late_reports
WHEN EXISTS (SELECT 1 FROM late_reports WHERE rowid = NEW.rowid
        OR (attempt = NEW.attempt AND perspective = NEW.perspective))
BEGIN
    SELECT RAISE(ABORT, 'late_reports: the row exists and is never replaced (REC-06)');
END;
-- +goose StatementEnd

-- Bytes are kept as bytes, and numbers as numbers.

-- +goose StatementBegin
CREATE TRIGGER attempts_bytes BEFORE INSERT ON attempts
WHEN typeof(NEW.document) <> 'blob' OR length(NEW.document) = 0 OR typeof(NEW.sha256) <> 'text'
BEGIN
    SELECT RAISE(ABORT, 'attempts: the document must be bytes and its digest text');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER reports_bytes BEFORE INSERT ON reports
WHEN typeof(NEW.document) <> 'blob' OR length(NEW.document) = 0 OR typeof(NEW.sha256) <> 'text'
BEGIN
    SELECT RAISE(ABORT, 'reports: the document must be bytes and its digest text');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_bytes BEFORE INSERT ON decisions
WHEN typeof(NEW.document) <> 'blob' OR length(NEW.document) = 0 OR typeof(NEW.sha256) <> 'text'
BEGIN
    SELECT RAISE(ABORT, 'decisions: the document must be bytes and its digest text');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER late_reports_bytes BEFORE INSERT ON late_reports
WHEN typeof(NEW.document) <> 'blob' OR length(NEW.document) = 0 OR typeof(NEW.sha256) <> 'text'
BEGIN
    SELECT RAISE(ABORT, 'late_reports: the document must be bytes and its digest text');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER attempts_gapless BEFORE INSERT ON attempts
WHEN typeof(NEW.number) <> 'integer' OR NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM attempts)
BEGIN
    SELECT RAISE(ABORT, 'attempts: the number must be the next one (F4)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER perspectives_known BEFORE INSERT ON perspectives
WHEN NOT EXISTS (SELECT 1 FROM attempts WHERE number = NEW.attempt)
    OR EXISTS (SELECT 1 FROM reports WHERE attempt = NEW.attempt)
BEGIN
    SELECT RAISE(ABORT, 'perspectives: the attempt is unknown or already closing');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER reports_known BEFORE INSERT ON reports
WHEN EXISTS (SELECT 1 FROM decisions WHERE attempt = NEW.attempt)
    OR NOT EXISTS (SELECT 1 FROM perspectives WHERE attempt = NEW.attempt AND name = NEW.perspective AND role = NEW.role)
BEGIN
    SELECT RAISE(ABORT, 'reports: the attempt is decided, or has no such perspective in this role (F2)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_known BEFORE INSERT ON decisions
WHEN NOT EXISTS (SELECT 1 FROM attempts WHERE number = NEW.attempt AND kind = NEW.kind AND identifier = NEW.identifier
        AND account_uri = NEW.account_uri AND method = NEW.method)
BEGIN
    SELECT RAISE(ABORT, 'decisions: no such attempt for this name, account and method');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_complete BEFORE INSERT ON decisions
WHEN EXISTS (SELECT 1 FROM perspectives AS p WHERE p.attempt = NEW.attempt
        AND NOT EXISTS (SELECT 1 FROM reports AS r WHERE r.attempt = p.attempt AND r.perspective = p.name))
    OR (SELECT count(*) FROM perspectives WHERE attempt = NEW.attempt) = 0
BEGIN
    SELECT RAISE(ABORT, 'decisions: a perspective has no closing row (F3)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_primary BEFORE INSERT ON decisions
WHEN NOT EXISTS (SELECT 1 FROM reports WHERE attempt = NEW.attempt AND perspective = NEW.primary_name AND role = 'primary'
        AND dcv = NEW.primary_dcv AND caa = NEW.primary_caa)
    OR (NEW.outcome <> 'refused' AND NOT EXISTS (SELECT 1 FROM reports WHERE attempt = NEW.attempt AND role = 'primary'
        AND state = 'answered' AND dcv = 'pass' AND caa = 'pass'))
BEGIN
    SELECT RAISE(ABORT, 'decisions: the closing row of the primary does not say so (MPIC-12)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_dcv_quorum BEFORE INSERT ON decisions
WHEN NEW.dcv_corroborated IS NOT (SELECT count(*) FROM reports WHERE attempt = NEW.attempt AND role = 'remote'
        AND state = 'answered' AND dcv = 'pass')
    OR (NEW.dcv_attempted IS NOT (SELECT count(*) FROM perspectives WHERE attempt = NEW.attempt AND role = 'remote')
        AND (NEW.outcome <> 'refused' OR NEW.dcv_attempted <> 0))
BEGIN
    SELECT RAISE(ABORT, 'decisions: the DCV quorum is not that of the closing rows (MPIC-01)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_dcv_regions BEFORE INSERT ON decisions
WHEN NEW.outcome <> 'refused' AND NEW.min_regions > (SELECT count(DISTINCT p.region) FROM perspectives AS p
        JOIN reports AS r ON r.attempt = p.attempt AND r.perspective = p.name
        WHERE p.attempt = NEW.attempt AND p.role = 'remote' AND r.state = 'answered' AND r.dcv = 'pass')
BEGIN
    SELECT RAISE(ABORT, 'decisions: the remotes that corroborate DCV lie in too few regions (MPIC-04)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_caa_quorum BEFORE INSERT ON decisions
WHEN NEW.caa_corroborated IS NOT (SELECT count(*) FROM reports WHERE attempt = NEW.attempt AND role = 'remote'
        AND state = 'answered' AND caa = 'pass')
    OR (NEW.caa_attempted IS NOT (SELECT count(*) FROM perspectives WHERE attempt = NEW.attempt AND role = 'remote')
        AND (NEW.outcome <> 'refused' OR NEW.caa_attempted <> 0))
BEGIN
    SELECT RAISE(ABORT, 'decisions: the CAA quorum is not that of the closing rows (MPIC-01)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER decisions_caa_regions BEFORE INSERT ON decisions
WHEN NEW.outcome <> 'refused' AND NEW.min_regions > (SELECT count(DISTINCT p.region) FROM perspectives AS p
        JOIN reports AS r ON r.attempt = p.attempt AND r.perspective = p.name
        WHERE p.attempt = NEW.attempt AND p.role = 'remote' AND r.state = 'answered' AND r.caa = 'pass')
BEGIN
    SELECT RAISE(ABORT, 'decisions: the remotes that corroborate CAA lie in too few regions (MPIC-04)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER authorizations_granted BEFORE INSERT ON authorizations
WHEN NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = NEW.attempt AND outcome = 'granted' AND kind = 'issuance'
        AND identifier = NEW.identifier AND account_uri = NEW.account_uri AND method = NEW.method)
BEGIN
    SELECT RAISE(ABORT, 'authorizations: no granted decision for this attempt, name, account and method (MPIC-12)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER late_reports_late BEFORE INSERT ON late_reports
WHEN NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = NEW.attempt)
    OR NOT EXISTS (SELECT 1 FROM reports WHERE attempt = NEW.attempt AND perspective = NEW.perspective AND role = 'remote'
        AND state <> 'answered')
BEGIN
    SELECT RAISE(ABORT, 'late_reports: the attempt is still open, or this remote is none of its or had answered');
END;
-- +goose StatementEnd
