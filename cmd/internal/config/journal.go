package config

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

func (d *document) journal(j *Journal) {
	if !d.has("journal") {
		return
	}
	if d.has("journal.sqlite") == d.has("journal.postgres") {
		d.refuse("journal", "REC-05", "the records are in one place: either sqlite, a file, or postgres, a server's address, is needed")
	}
	if d.has("journal.postgres") {
		c, err := pgconn.ParseConfig(j.Postgres)
		named := keywordsOf(j.Postgres)
		if err != nil {
			d.refuse("journal.postgres", "", "this is no address of a PostgreSQL database: postgres://USER@HOST:PORT/DATABASE")
		} else if named.name("password") || c.Password != "" && strings.Contains(j.Postgres, c.Password) {
			d.refuse("journal.postgres", "", "the password does not stand here; postgres_password_file names a file with it")
		} else if missing := named.lack(); missing != "" {
			d.refuse("journal.postgres", "REC-05", "the address names no %s, and libpq would take one from the environment or by its own rules: "+
				"postgres://USER@HOST:PORT/DATABASE", missing)
		}
	}
	if d.has("journal.postgres_password_file") && !d.has("journal.postgres") {
		d.refuse("journal.postgres_password_file", "", "without journal.postgres there is no use for it")
	}
	if d.has("journal.tokens") && j.Tokens != "values" && j.Tokens != "digests" {
		d.refuse("journal.tokens", "REC-06", "%q is neither \"values\" nor \"digests\"", j.Tokens)
	}
	j.SQLite, j.PostgresPasswordFile = d.path(j.SQLite), d.path(j.PostgresPasswordFile)
}

// keywords are the settings that an address of PostgreSQL names itself, as "name=value": the words of libpq's keywords, or the parts of a URL.
type keywords []string

// equals is how libpq's keywords may be written.
var equals = regexp.MustCompile(`\s*=\s*`)

func keywordsOf(address string) keywords {
	scheme, rest, _ := strings.Cut(address, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return strings.Fields(equals.ReplaceAllString(address, "="))
	}
	authority, behind := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, behind = rest[:i], rest[i:]
	}
	first, _, _ := strings.Cut(authority, ",") // several hosts with a port each are none to net/url
	u, err := url.Parse(scheme + "://" + first + behind)
	if err != nil {
		return nil
	}
	password, _ := u.User.Password()
	all := keywords{"user=" + u.User.Username(), "password=" + password, "host=" + u.Host, "dbname=" + strings.Trim(u.Path, "/")}
	for name, values := range u.Query() { // decoded, as the driver reads them
		all = append(all, name+"="+strings.Join(values, ""))
	}
	return all
}

// name tells whether one of these settings is there with a value.
func (k keywords) name(settings ...string) bool {
	return slices.ContainsFunc(k, func(w string) bool {
		name, value, _ := strings.Cut(w, "=")
		return slices.Contains(settings, name) && value != "" && value != "''"
	})
}

// lack tells which of user, host and database is left out; empty where none is, or where a service stands for them.
func (k keywords) lack() string {
	switch {
	case k.name("service"):
		return ""
	case !k.name("user"):
		return "user"
	case !k.name("host"):
		return "host"
	case !k.name("dbname", "database"):
		return "database"
	}
	return ""
}

// Password reads the password of the database's user, empty where none is configured.
func (j Journal) Password() (string, error) {
	if j.PostgresPasswordFile == "" {
		return "", nil
	}
	return readPassword("journal.postgres_password_file", j.PostgresPasswordFile)
}

// readPassword reads a file with a password, and perhaps a newline behind it, which not everybody may read.
func readPassword(field, file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s: %s may be read by everybody (mode %04o)", field, file, info.Mode().Perm())
	}
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}
