package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/net/netutil"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
)

type witnessCmd struct {
	Config string `required:"" type:"existingfile" placeholder:"FILE" help:"The witness's configuration, witness.yaml."`
	NewKey string `placeholder:"NAME" xor:"once" help:"Make the witness's key file under this name, print the verifier key, and end."`
	Begin  string `placeholder:"ORIGIN" xor:"once" help:"Make the state of a log of which this witness has never cosigned anything, and end."`
}

// Help is shown below the flags' list.
func (witnessCmd) Help() string {
	return "Cosigns checkpoints of the logs in its configuration (C2SP tlog-witness), once it has proven that each extends the last " +
		"one. Run it where whoever runs the gate has no access: what it protects against is the gate's own operator.\n\n" +
		"Ends on SIGINT or SIGTERM, when running requests have come to their end; a second signal ends it at once."
}

const (
	// witnessRequestTime bounds a request: a few kilobytes, and one file to be written durably.
	witnessRequestTime = 20 * time.Second
	// witnessConnections bounds what strangers can open.
	witnessConnections = 256
)

func (c witnessCmd) Run(ctx context.Context, out console) error {
	settings, err := config.LoadWitness(c.Config)
	if err != nil {
		return err
	}
	switch {
	case c.NewKey != "":
		return c.makeKey(settings, out)
	case c.Begin != "":
		return c.begin(settings, out)
	}
	log := node.StartLog(out.stderr, settings.Log)
	defer node.OutliveHangups(log)()
	return serveWitness(ctx, settings, log)
}

func (c witnessCmd) makeKey(settings config.WitnessServer, out console) error {
	key, err := merkle.GenerateWitnessKey(c.NewKey)
	if err != nil {
		return fmt.Errorf("--new-key: %w", err)
	}
	if err := key.Save(settings.Key); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out.stdout, key.VerifierKey())
	return err
}

func (c witnessCmd) begin(settings config.WitnessServer, out console) error {
	if !slices.ContainsFunc(settings.Logs, func(l config.WitnessedLog) bool { return l.Origin == c.Begin }) {
		return fmt.Errorf("--begin: %s has no log with the origin %q", c.Config, c.Begin)
	}
	key, err := merkle.LoadWitnessKey(settings.Key)
	if err != nil {
		return err
	}
	if err := merkle.BeginWitness(settings.State, key, c.Begin, time.Now()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out.stdout, "%s is begun: its first checkpoint will be believed, and every later one must extend it.\n", c.Begin)
	return err
}

// serveWitness answers until ctx ends, and lets running requests come to their end.
func serveWitness(ctx context.Context, settings config.WitnessServer, log *slog.Logger) (err error) {
	witness, key, err := openWitness(settings, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, witness.Close()) }()
	server := &http.Server{Handler: witness, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: witnessRequestTime,
		WriteTimeout: 2 * witnessRequestTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	if settings.TLS != nil {
		certificate, err := settings.TLS.Show("tls", log)
		if err != nil {
			return err
		}
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.ForServer}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", settings.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.Info("the witness is ready", "name", key.Name(), "address", listener.Addr().String(), "tls", settings.TLS != nil,
		"key", key.VerifierKey(), "logs", len(settings.Logs), "software", software())
	served := make(chan error, 1)
	limited := netutil.LimitListener(listener, witnessConnections)
	go func() {
		if settings.TLS != nil {
			served <- server.ServeTLS(limited, "", "")
			return
		}
		served <- server.Serve(limited)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	log.Info("shutting down: running requests come to their end", "within", witnessRequestTime)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), witnessRequestTime)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off at the end: %w", err), server.Close())
	}
	return nil
}

func openWitness(settings config.WitnessServer, log *slog.Logger) (*merkle.WitnessServer, *merkle.WitnessKey, error) {
	key, err := merkle.LoadWitnessKey(settings.Key)
	if err != nil {
		return nil, nil, err
	}
	logs := make([]merkle.WitnessedLog, len(settings.Logs))
	for i, l := range settings.Logs {
		verifier, err := note.NewVerifier(l.Key)
		if err != nil {
			return nil, nil, fmt.Errorf("logs[%d].key: %w", i, err)
		}
		logs[i] = merkle.WitnessedLog{Origin: l.Origin, Key: verifier}
	}
	witness, err := merkle.NewWitnessServer(merkle.WitnessServerConfig{Key: key, Dir: settings.State, Logs: logs, Logger: log, Now: time.Now})
	return witness, key, err
}
