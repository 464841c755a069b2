-- +goose Up

-- REC-06, as for the other tables.

-- +goose StatementBegin
CREATE TRIGGER rrsets_no_update BEFORE UPDATE ON rrsets
BEGIN
    SELECT RAISE(ABORT, 'rrsets: records are never changed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER rrsets_no_delete BEFORE DELETE ON rrsets
BEGIN
    SELECT RAISE(ABORT, 'rrsets: records are never removed (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER rrsets_no_replace BEFORE INSERT ON rrsets
WHEN EXISTS (SELECT 1 FROM rrsets WHERE rowid = NEW.rowid OR sha256 = NEW.sha256)
BEGIN
    SELECT RAISE(ABORT, 'rrsets: the row exists and is never replaced (REC-06)');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER rrsets_bytes BEFORE INSERT ON rrsets
WHEN typeof(NEW.octets) <> 'blob' OR typeof(NEW.sha256) <> 'text'
BEGIN
    SELECT RAISE(ABORT, 'rrsets: the octets must be bytes and their digest text');
END;
-- +goose StatementEnd
