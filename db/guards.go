package db

import (
	"fmt"
	"slices"
	"strings"
)

// The guards hold what a CHECK or a foreign key cannot say, against SQL written by hand too. Each is one condition that both
// engines understand, and stands in a trigger for its table and operation. On SQLite they also hold
// what a CHECK or a foreign key says, on a connection that has foreign_keys or recursive_triggers off, as the sqlite3 shell has; a
// guard runs before REPLACE takes an old row away. Whoever drops the guards, or ignores checks, can still write what is false:
// `quorate audit verify` finds it out by the log.
//
// They are rendered into migration 2, so a guard that was released is not changed here but by a later migration.

// guard refuses an operation on a table's row.
type guard struct {
	table, name string
	// on is INSERT, UPDATE or DELETE.
	on string
	// refuse is the condition, over NEW and OLD; "true" refuses always.
	refuse string
	// why ends the message, which begins with the table's name.
	why string
	// only names the one engine that needs it; empty for both.
	only string
}

// recordTable is a table of records: rows are appended, and removed only in segments whose time is over.
type recordTable struct {
	name string
	// keys are its unique keys, which REPLACE must not be able to use. numbered tells that on SQLite a row number stands beside them, which
	// is one too: elsewhere the key is the row number, or there is none.
	keys     [][]string
	numbered bool
	// removable is the condition, over OLD, under which a row lies in a segment that was removed; empty for never.
	removable string
	// document tells that it has a document and a digest.
	document bool
}

// removed is the condition that a leaf lies in a removed segment.
func removed(leaf string) string {
	return leaf + " < (SELECT coalesce(max(past_leaf), 0) FROM removals)"
}

// child is removable together with the attempt's decision, which goes first for none of its children.
const child = "EXISTS (SELECT 1 FROM decisions AS d WHERE d.attempt = OLD.attempt AND d.leaf < (SELECT coalesce(max(past_leaf), 0) FROM removals))"

func recordTables() []recordTable {
	k := func(columns ...string) []string { return columns }
	return []recordTable{
		{"log", [][]string{k("leaf")}, false, "", false},
		{"checkpoints", [][]string{k("size")}, true, "", false},
		{"attempts", [][]string{k("number"), k("leaf"), k("id")}, false,
			removed("OLD.leaf") + " AND NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = OLD.number)" +
				" AND NOT EXISTS (SELECT 1 FROM perspectives WHERE attempt = OLD.number)", true},
		{"perspectives", [][]string{k("attempt", "name"), k("attempt", "position")}, false,
			"NOT EXISTS (SELECT 1 FROM reports WHERE attempt = OLD.attempt) AND EXISTS (SELECT 1 FROM attempts AS a WHERE a.number = OLD.attempt AND " +
				removed("a.leaf") + ")", false},
		{"reports", [][]string{k("attempt", "perspective")}, false,
			"NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = OLD.attempt) AND EXISTS (SELECT 1 FROM attempts AS a WHERE a.number = OLD.attempt AND " +
				removed("a.leaf") + ")", false},
		{"decisions", [][]string{k("attempt"), k("leaf")}, false, removed("OLD.leaf"), true},
		{"authorizations", [][]string{k("attempt")}, false, child, false},
		{"reliances", [][]string{k("attempt")}, false, child, false},
		{"late_reports", [][]string{k("attempt", "perspective"), k("leaf")}, true, removed("OLD.leaf"), true},
		{"notices", [][]string{k("attempt", "position", "stage"), k("leaf")}, true, removed("OLD.leaf"), true},
		{"rrsets", [][]string{k("sha256")}, true, "", false},
		{"permits", [][]string{k("number"), k("leaf"), k("id")}, false, removed("OLD.leaf"), true},
		{"permit_names", [][]string{k("permit", "name")}, true,
			"EXISTS (SELECT 1 FROM permits AS p WHERE p.number = OLD.permit AND " + removed("p.leaf") + ")", false},
		{"certificates", [][]string{k("number"), k("leaf"), k("permit", "fingerprint", "outcome")}, false, removed("OLD.leaf"), true},
		{"removals", [][]string{k("number"), k("leaf"), k("first_leaf")}, false, "", true},
	}
}

// guards gives all of them. REC-06: rows are appended, and never changed or replaced.
func guards() []guard {
	var all []guard
	for _, t := range recordTables() {
		all = append(all, guard{t.name, "no_update", "UPDATE", "true", "records are never changed (REC-06)", ""})
		remove := "true"
		if t.removable != "" {
			remove = "NOT (" + t.removable + ")"
		}
		all = append(all, guard{t.name, "no_delete", "DELETE", remove,
			"records are never removed before a removal of their segment is on record (REC-04, REC-06)", ""})
		all = append(all, guard{t.name, "no_replace", "INSERT", t.exists(), "the row exists and is never replaced (REC-06)", "sqlite3"})
		if t.document {
			all = append(all, guard{t.name, "empty", "INSERT", "length(NEW.document) = 0", "the document is empty", ""},
				guard{t.name, "bytes", "INSERT", "typeof(NEW.document) <> 'blob' OR typeof(NEW.sha256) <> 'text'",
					"the document must be bytes and its digest text", "sqlite3"})
		}
	}
	all = append(all,
		guard{"rrsets", "bytes", "INSERT", "typeof(NEW.octets) <> 'blob' OR typeof(NEW.sha256) <> 'text'",
			"the octets must be bytes and their digest text", "sqlite3"},
		guard{"log", "bytes", "INSERT", "typeof(NEW.hashes) <> 'blob' OR length(NEW.hashes) = 0", "the hashes must be bytes", "sqlite3"},
		guard{"log_head", "no_delete", "DELETE", "true", "the log has one head", ""},
		guard{"log_head", "no_second", "INSERT", "true", "the log has one head", ""},
		guard{"log_head", "grows", "UPDATE", "NEW.size < OLD.size OR NEW.attempts < OLD.attempts OR NEW.permits < OLD.permits" +
			" OR NEW.certificates < OLD.certificates OR NEW.removals < OLD.removals OR NEW.recorded_at < OLD.recorded_at OR NEW.id <> OLD.id",
			"the log never shrinks (REC-06)", ""},
		guard{"gates", "settled", "UPDATE", "NEW.settled < OLD.settled OR NEW.id <> OLD.id", "a gate whose attempts were closed begins anew", ""},
		guard{"gates", "no_delete", "DELETE", "true", "a gate's lease ends and is not removed", ""})
	return append(append(all, attemptGuards()...), issuanceGuards()...)
}

// exists is the condition that a row with one of the keys of NEW is there.
func (t recordTable) exists() string {
	var terms []string
	if t.numbered {
		terms = append(terms, "rowid = NEW.rowid")
	}
	for _, key := range t.keys {
		var equal []string
		for _, column := range key {
			equal = append(equal, column+" = NEW."+column)
		}
		terms = append(terms, "("+strings.Join(equal, " AND ")+")")
	}
	return "EXISTS (SELECT 1 FROM " + t.name + " WHERE " + strings.Join(terms, " OR ") + ")"
}

// next is the number that must follow in a table: also when its oldest rows, or all, were removed.
func next(table string) string {
	return "(SELECT CASE WHEN x.most > x.head THEN x.most ELSE x.head END + 1 FROM (SELECT coalesce(max(number), 0) AS most," +
		" (SELECT " + table + " FROM log_head WHERE id = 1) AS head FROM " + table + ") AS x)"
}

func attemptGuards() []guard {
	quorum := func(check string) string {
		return fmt.Sprintf(`NEW.%[1]s_corroborated IS DISTINCT FROM (SELECT count(*) FROM reports WHERE attempt = NEW.attempt
	AND role = 'remote' AND state = 'answered' AND %[1]s = 'pass')
OR (NEW.%[1]s_attempted IS DISTINCT FROM (SELECT count(*) FROM perspectives WHERE attempt = NEW.attempt AND role = 'remote')
	AND (NEW.outcome <> 'refused' OR NEW.%[1]s_attempted <> 0)%[2]s)`, check, map[string]string{
			"dcv": " AND NOT (NEW.kind IN ('caa-recheck', 'caa') AND NEW.dcv_attempted = 0)",
			"caa": " AND NOT (NEW.kind = 'dcv' AND NEW.caa_attempted = 0)"}[check])
	}
	regions := func(check, unless string) string {
		return fmt.Sprintf(`NEW.outcome <> 'refused'%[2]s AND NEW.min_regions > (SELECT count(DISTINCT p.region) FROM perspectives AS p
	JOIN reports AS r ON r.attempt = p.attempt AND r.perspective = p.name
	WHERE p.attempt = NEW.attempt AND p.role = 'remote' AND r.state = 'answered' AND r.%[1]s = 'pass')`, check, unless)
	}
	return []guard{
		{"log", "gapless", "INSERT", "NEW.leaf <> (SELECT coalesce(max(leaf) + 1, 0) FROM log)",
			"the line is not the next one (F4)", ""},
		{"log", "in_order", "INSERT", "NEW.recorded_at < (SELECT recorded_at FROM log WHERE leaf = NEW.leaf - 1)",
			"the line is older than the one before it", ""},
		{"attempts", "gapless", "INSERT", "NEW.number <> " + next("attempts"), "the number is not the next one (F4)", ""},
		{"attempts", "leased", "INSERT", "NOT EXISTS (SELECT 1 FROM gates WHERE id = NEW.gate AND settled = 0)",
			"the lease of this gate is over, and its open attempts were closed", ""},
		{"perspectives", "known", "INSERT", `(SELECT 1 FROM attempts WHERE number = NEW.attempt) IS NULL
	OR (SELECT 1 FROM reports WHERE attempt = NEW.attempt LIMIT 1) IS NOT NULL`, "the attempt is unknown or already closing", ""},
		{"reports", "known", "INSERT", `(SELECT 1 FROM decisions WHERE attempt = NEW.attempt) IS NOT NULL
	OR (SELECT 1 FROM perspectives WHERE attempt = NEW.attempt AND name = NEW.perspective AND role = NEW.role) IS NULL`,
			"the attempt is decided, or has no such perspective in this role (F2)", ""},
		{"decisions", "known", "INSERT", `NOT EXISTS (SELECT 1 FROM attempts WHERE number = NEW.attempt AND kind = NEW.kind
	AND identifier = NEW.identifier AND account_uri = NEW.account_uri AND method = NEW.method)`,
			"no such attempt for this name, account and method", ""},
		{"decisions", "complete", "INSERT", `EXISTS (SELECT 1 FROM perspectives AS p WHERE p.attempt = NEW.attempt
	AND NOT EXISTS (SELECT 1 FROM reports AS r WHERE r.attempt = p.attempt AND r.perspective = p.name))
OR (SELECT count(*) FROM perspectives WHERE attempt = NEW.attempt) = 0`, "a perspective has no closing row (F3)", ""},
		{"decisions", "primary", "INSERT", `NOT EXISTS (SELECT 1 FROM reports WHERE attempt = NEW.attempt AND perspective = NEW.primary_name
	AND role = 'primary' AND dcv = NEW.primary_dcv AND caa = NEW.primary_caa)
OR (NEW.outcome <> 'refused' AND NOT EXISTS (SELECT 1 FROM reports WHERE attempt = NEW.attempt AND role = 'primary'
	AND state = 'answered' AND (caa = 'pass' OR (NEW.kind = 'dcv' AND caa = 'not-checked'))
	AND (dcv = 'pass' OR (NEW.kind IN ('caa-recheck', 'caa') AND dcv = 'not-checked'))))`,
			"the closing row of the primary does not say so (MPIC-12)", ""},
		{"decisions", "dcv_quorum", "INSERT", quorum("dcv"), "the DCV quorum is not that of the closing rows (MPIC-01)", ""},
		{"decisions", "dcv_regions", "INSERT", regions("dcv", " AND NEW.kind NOT IN ('caa-recheck', 'caa')"),
			"the remotes that corroborate DCV lie in too few regions (MPIC-04)", ""},
		{"decisions", "caa_quorum", "INSERT", quorum("caa"), "the CAA quorum is not that of the closing rows (MPIC-01)", ""},
		{"decisions", "caa_regions", "INSERT", regions("caa", " AND NEW.kind <> 'dcv'"), "the remotes that corroborate CAA lie in too few regions (MPIC-04)", ""},
		{"authorizations", "granted", "INSERT", `NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = NEW.attempt AND outcome = 'granted'
	AND kind = 'issuance' AND identifier = NEW.identifier AND account_uri = NEW.account_uri AND method = NEW.method)`,
			"no granted decision for this attempt, name, account and method (MPIC-12)", ""},
		{"reliances", "granted", "INSERT", `NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = NEW.attempt AND outcome = 'granted'
	AND kind = NEW.kind AND identifier = NEW.identifier AND account_uri = NEW.account_uri AND method = NEW.method)`,
			"no granted decision for this attempt, name, account and method (MPIC-12)", ""},
		{"late_reports", "late", "INSERT", `NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = NEW.attempt AND leaf < NEW.leaf)
	OR NOT EXISTS (SELECT 1 FROM reports WHERE attempt = NEW.attempt AND perspective = NEW.perspective AND role = 'remote'
		AND state <> 'answered')`, "the attempt is still open, or this remote is none of its or had answered", ""},
		{"notices", "refused", "INSERT", `NOT EXISTS (SELECT 1 FROM decisions WHERE attempt = NEW.attempt AND outcome = 'refused' AND kind <> 'dry-run'
	AND primary_caa = 'fail')`, "the attempt was not refused because of CAA records that the primary saw (CAA-09)", ""},
		{"notices", "once", "INSERT", `EXISTS (SELECT 1 FROM notices WHERE attempt = NEW.attempt AND position = NEW.position AND stage = 'ended')
	OR (NEW.outcome IN ('delivered', 'refused', 'failed')) <> (NEW.stage = 'ended' AND EXISTS (SELECT 1 FROM notices
		WHERE attempt = NEW.attempt AND position = NEW.position AND stage = 'begun'))`,
			"the report has ended, or what it came to does not go with whether it was begun (CAA-09)", ""},
	}
}

func issuanceGuards() []guard {
	return []guard{
		{"permits", "gapless", "INSERT", "NEW.number <> " + next("permits"), "the number is not the next one (F4)", ""},
		{"permit_names", "own_evidence", "INSERT", `NOT EXISTS (SELECT 1 FROM permits AS p JOIN authorizations AS a ON a.account_uri = p.account_uri
	JOIN decisions AS d ON d.account_uri = p.account_uri
	JOIN reliances AS r ON r.attempt = d.attempt AND r.account_uri = d.account_uri AND r.identifier = d.identifier AND r.method = a.method
	WHERE p.number = NEW.permit AND p.outcome = 'granted' AND a.attempt = NEW.attempt AND d.attempt = NEW.caa_attempt
		AND d.outcome = 'granted' AND d.kind IN ('issuance', 'caa-recheck') AND d.identifier = NEW.name)`,
			"no authorization of this permit's account, or no granted CAA check of this very name to rely upon (D5, CAA-05)", ""},
		{"certificates", "gapless", "INSERT", "NEW.number <> " + next("certificates"), "the number is not the next one (F4)", ""},
		{"certificates", "permitted", "INSERT", `NOT EXISTS (SELECT 1 FROM permits WHERE number = NEW.permit)
	OR (NEW.outcome <> 'refused' AND NOT EXISTS (SELECT 1 FROM permit_names WHERE permit = NEW.permit))`,
			"a certificate relies on a granted permit with names", ""},
		{"removals", "gapless", "INSERT", "NEW.number <> " + next("removals") +
			" OR NEW.first_leaf <> (SELECT coalesce(max(past_leaf), 0) FROM removals)", "the segment is not the next one (F4)", ""},
		// Two years before the removal, in the same text form: REC-04 counts from the end of the last certificate.
		{"removals", "due", "INSERT", `EXISTS (SELECT 1 FROM attempts AS a JOIN permit_names AS n ON n.attempt = a.number OR n.caa_attempt = a.number
	JOIN certificates AS c ON c.permit = n.permit
	WHERE a.leaf < NEW.past_leaf AND a.leaf >= NEW.first_leaf
		AND c.not_after > (CAST(substr(NEW.removed_at, 1, 4) AS INTEGER) - 2) || substr(NEW.removed_at, 5))`,
			"a certificate that relies on this segment has not been expired for two years (REC-04)", ""},
	}
}

// place is where guards stand: before an operation on the rows of a table.
type place struct{ table, on string }

// placed gives the guards of an engine by their places, and these in order.
func placed(engine string) (order []place, conditions map[place][]guard) {
	conditions = map[place][]guard{}
	for _, g := range guards() {
		if g.only != "" && g.only != engine {
			continue
		}
		p := place{g.table, g.on}
		if !slices.Contains(order, p) {
			order = append(order, p)
		}
		conditions[p] = append(conditions[p], g)
	}
	return order, conditions
}

// sqliteGuards renders the guards as triggers of SQLite.
func sqliteGuards() string {
	var b strings.Builder
	b.WriteString("-- +goose Up\n")
	for _, t := range sqliteTriggers() {
		fmt.Fprintf(&b, "\n-- +goose StatementBegin\n%s;\n-- +goose StatementEnd\n", t.text)
	}
	return b.String()
}

// sqliteTrigger is one as sqlite_schema has it.
type sqliteTrigger struct{ name, text string }

// sqliteTriggers gives one for each place: to enter one costs as much as a condition in it.
func sqliteTriggers() (all []sqliteTrigger) {
	order, conditions := placed("sqlite3")
	for _, p := range order {
		var b strings.Builder
		name := p.table + "_before_" + strings.ToLower(p.on)
		fmt.Fprintf(&b, "CREATE TRIGGER %s BEFORE %s ON %s\nBEGIN\n    SELECT CASE\n", name, p.on, p.table)
		for _, g := range conditions[p] {
			fmt.Fprintf(&b, "    WHEN %s\n        THEN RAISE(ABORT, '%s: %s')\n", g.refuse, g.table, quoted(g.why))
		}
		b.WriteString("    END;\nEND")
		all = append(all, sqliteTrigger{name, b.String()})
	}
	return all
}

// together are the tables of which an attempt has a row for each perspective. On Postgres their new rows are looked at together, behind
// the statement that inserts them: to call a function for each would cost more than all else. Their conditions ask other tables
// alone, so that it makes no difference; and they ask by a subquery with one value, which is looked up for each row, where Postgres may
// read a whole table for EXISTS.
var together = []string{"perspectives", "reports"}

// postgresGuards renders the guards as functions and triggers of Postgres.
func postgresGuards() string {
	var b strings.Builder
	b.WriteString("-- +goose Up\n")
	made := map[string]bool{}
	for _, t := range postgresTriggers() {
		if !made[t.function] {
			fmt.Fprintf(&b, "\n-- +goose StatementBegin\n%s;\n-- +goose StatementEnd\n", t.makeFunction())
		}
		made[t.function] = true
		b.WriteString(t.makeTrigger() + ";\n")
	}
	return b.String()
}

// postgresTrigger is a guard's trigger and its function.
type postgresTrigger struct {
	name, table, on string
	// kind is pg_trigger.tgtype: what fires it, and when.
	kind int
	// referencing names the new rows, for a trigger that sees them together.
	referencing string
	// function is the function's name, path what is set for it, and body its text, as pg_proc.prosrc has it.
	function, path, body string
}

func (t postgresTrigger) makeFunction() string {
	return fmt.Sprintf("CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql%s AS $guard$%s$guard$", t.function, t.path, t.body)
}

func (t postgresTrigger) makeTrigger() string {
	when, each := "AFTER", "STATEMENT"
	if t.kind&before != 0 {
		when = "BEFORE"
	}
	if t.kind&perRow != 0 {
		each = "ROW"
	}
	return fmt.Sprintf("CREATE TRIGGER %s %s %s ON %s%s FOR EACH %s EXECUTE FUNCTION %s()", t.name, when, t.on, t.table, t.referencing, each, t.function)
}

// Bits of pg_trigger.tgtype.
const (
	perRow = 1
	before = 2
)

var firedBy = map[string]int{"INSERT": 4, "DELETE": 8, "UPDATE": 16, "TRUNCATE": 32}

// postgresTriggers gives one for each place, and, since TRUNCATE is one more way to remove rows on Postgres, one for each table. The functions'
// search_path is fixed: a session's own temporary tables would otherwise come before the records that a condition asks for.
func postgresTriggers() (all []postgresTrigger) {
	order, conditions := placed("postgres")
	for _, p := range order {
		t := postgresTrigger{name: p.table + "_before_" + strings.ToLower(p.on), table: p.table, on: p.on, kind: perRow | before | firedBy[p.on],
			path: " SET search_path = pg_catalog, public, pg_temp"}
		set := p.on == "INSERT" && slices.Contains(together, p.table)
		if set {
			t.name, t.kind, t.referencing = p.table+"_after_insert", firedBy[p.on], " REFERENCING NEW TABLE AS added"
		}
		t.function = t.name
		var b strings.Builder
		b.WriteString("\nBEGIN\n")
		for _, g := range conditions[p] {
			if set {
				g.refuse = "EXISTS (SELECT 1 FROM added WHERE " + strings.ReplaceAll(g.refuse, "NEW.", "added.") + ")"
			}
			fmt.Fprintf(&b, "    IF %s THEN\n        RAISE EXCEPTION '%s: %s' USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = '%s_%s';\n    END IF;\n",
				g.refuse, g.table, quoted(g.why), g.table, g.name)
		}
		row := "NEW"
		switch {
		case set:
			row = "NULL"
		case p.on == "DELETE":
			row = "OLD"
		}
		fmt.Fprintf(&b, "    RETURN %s;\nEND;\n", row)
		t.body = b.String()
		all = append(all, t)
	}
	const truncate = "\nBEGIN\n    RAISE EXCEPTION '%: records are never removed (REC-06)', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';\nEND;\n"
	for _, table := range append(tableNames(), "log_head", "gates") {
		all = append(all, postgresTrigger{name: table + "_no_truncate", table: table, on: "TRUNCATE", kind: before | firedBy["TRUNCATE"],
			function: "refuse_truncate", body: truncate})
	}
	return all
}

// quoted is a text between the quotes of SQL.
func quoted(s string) string { return strings.ReplaceAll(s, "'", "''") }

// tableNames are the tables of records, in an order in which each comes after those that it refers to.
func tableNames() []string {
	var names []string
	for _, t := range recordTables() {
		names = append(names, t.name)
	}
	return names
}
