package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/gate"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/db"
)

type recordsCmd struct {
	Migrate migrateCmd `cmd:"" help:"Bring the schema on a PostgreSQL server up to date, and make the roles of gates, auditors and retention."`
	Guards  guardsCmd  `cmd:"" help:"Tell which guards of the records are missing or switched off, and put them back."`
	Due     dueCmd     `cmd:"" help:"Tell which records may be removed: two years after the last certificate that relies on them expired."`
	Remove  removeCmd  `cmd:"" help:"Export the records that are due, verify the export, and remove them, with a record of the removal."`
	Adopt   adoptCmd   `cmd:"" help:"Sign a log of which the signer has no memory, after you have made sure that it was not rolled back."`
}

type migrateCmd struct {
	Postgres     string `required:"" placeholder:"URL" help:"The database's address as its owner, postgres://OWNER@HOST:PORT/DATABASE."`
	PasswordFile string `type:"existingfile" placeholder:"FILE" help:"A file with the owner's password."`
}

// Help is shown below the flags' list.
func (migrateCmd) Help() string {
	return "The owner may create tables and roles; a gate's user is another one, whom you then grant " + db.GateRole + ": the gate itself must not be " +
		"able to change records. Auditors get " + db.AuditorRole + ", and who removes records whose time is over " + db.RetentionRole + "."
}

func (c migrateCmd) Run(ctx context.Context, out console) error {
	password := ""
	if c.PasswordFile != "" {
		text, err := os.ReadFile(filepath.Clean(c.PasswordFile))
		if err != nil {
			return fmt.Errorf("--password-file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	if err := db.Migrate(ctx, db.Config{Postgres: c.Postgres, PostgresPassword: password, Logger: node.StartLog(out.stderr, config.Log{})}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out.stdout, "the schema is up to date; grant a gate's user its role with: GRANT %s TO user\n", db.GateRole)
	return err
}

type guardsCmd struct {
	recordsFlags
	Restore bool `help:"Put them back. On PostgreSQL the address is the tables' owner's then."`
}

// Help is shown below the flags' list.
func (guardsCmd) Help() string {
	return "Guards keep records from being changed by hand, and a gate does not begin without them. Whoever took them away may have changed records: audit verify tells. " +
		"Exit status: 0 all are there, or were put back, 2 some are not, 3 the records cannot be read or written."
}

func (c guardsCmd) Run(ctx context.Context, out console) error {
	wrong, err := c.guards(ctx)
	if err != nil {
		return status{exitFailure, err}
	}
	if c.JSON {
		err = writeJSON(out.stdout, map[string]any{"wrong": append([]string{}, wrong...), "restored": c.Restore && len(wrong) > 0})
	} else {
		_, err = fmt.Fprint(out.stdout, c.text(wrong))
	}
	if err == nil && len(wrong) > 0 && !c.Restore {
		return status{exitRefused, errors.New("the guards are not whole")}
	}
	return err
}

// guards gives those that are not, or were not, as they have to be.
func (c guardsCmd) guards(ctx context.Context) (wrong []string, err error) {
	if c.Restore {
		records, err := c.config()
		if err != nil {
			return nil, err
		}
		return db.RestoreGuards(ctx, records)
	}
	store, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	wrong, err = store.Unguarded(ctx)
	return wrong, errors.Join(err, store.Close())
}

func (c guardsCmd) text(wrong []string) string {
	if len(wrong) == 0 {
		return "all guards are there\n"
	}
	done := ""
	if c.Restore {
		done = "put back: "
	}
	var b strings.Builder
	for _, w := range wrong {
		b.WriteString(done + w + "\n")
	}
	return b.String()
}

type adoptCmd struct {
	Config string `required:"" type:"existingfile" placeholder:"FILE" help:"The gate's configuration, which names the records, the log's key and the memory."`
}

// Help is shown below the flags' list.
func (adoptCmd) Help() string {
	return "The signer's memory is a file outside of the database, and keeps a restored backup from forking the log. Where it is lost, put a copy of " +
		"the last published checkpoint in its place; only where there is none, adopt the log as it stands. The gate must not be running."
}

func (c adoptCmd) Run(ctx context.Context, out console) (err error) {
	settings, err := config.LoadGate(c.Config)
	if err != nil {
		return err
	}
	if settings.Checkpoints == nil {
		return errors.New("the configuration has no checkpoints: nobody signs the log")
	}
	signer, err := gate.NewSigner(*settings.Checkpoints, time.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, signer.Close()) }()
	records, err := gate.RecordsConfig(settings.Journal)
	if err != nil {
		return err
	}
	records.Software, records.Logger = software(), node.StartLog(out.stderr, config.Log{})
	store, err := db.Open(ctx, records)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	checkpoint, err := store.Adopt(ctx, signer.Signer)
	if err != nil {
		return status{exitRefused, err}
	}
	_, err = fmt.Fprintf(out.stdout, "adopted the log %s with %d lines\n", checkpoint.Origin, checkpoint.Size)
	return err
}
