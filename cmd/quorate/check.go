package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/gate"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/cmd/internal/table"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/auditlog"
	"github.com/quorate/quorate/va"
)

type checkCmd struct {
	Name             string `arg:"" help:"Domain name, in A-labels; with *. in front for a wildcard."`
	Method           string `required:"" enum:"http-01,dns-01,tls-alpn-01" help:"Validation method: ${enum}."`
	Config           string `required:"" type:"existingfile" placeholder:"FILE" help:"The gate's configuration: its perspectives, keys and records are used."`
	New              bool   `xor:"mode" required:"" help:"Make up a challenge, print what to publish where, and end."`
	KeyAuthorization string `xor:"mode" required:"" placeholder:"TOKEN.THUMBPRINT" help:"Check this challenge."`
	AccountURI       string `name:"account-uri" default:"urn:quorate:check" help:"The account, for CAA accounturi (${default})."`
	JSON             bool   `name:"json" help:"Print one JSON object: number, evidence and decision."`
}

// Help is shown below the flags' list.
func (checkCmd) Help() string {
	return "First --new, then publish, then --key-authorization. The attempt is recorded as a dry run; no authorization is ever made of it. " +
		"Exit status: 0 all would be granted, 1 wrong usage or configuration, 2 refused, 3 it could not be carried out or recorded."
}

// checkResult is what `quorate check --json` prints.
type checkResult struct {
	Number   int64         `json:"number"`
	Evidence mpic.Evidence `json:"evidence"`
	Decision mpic.Decision `json:"decision"`
}

func (c checkCmd) Run(ctx context.Context, out console) (err error) {
	method, err := va.ParseMethod(c.Method)
	if err != nil {
		return fmt.Errorf("--method: %w", err)
	}
	req := va.Request{Identifier: strings.TrimSuffix(strings.ToLower(c.Name), "."), Method: method, AccountURI: c.AccountURI,
		TokenCreated: time.Now().UTC()}
	settings, err := config.LoadGate(c.Config)
	if err != nil {
		return err
	}
	if c.New {
		req.Issuers = settings.Issuers
		return c.publish(out, req)
	}
	var separated bool
	if req.Token, _, separated = strings.Cut(c.KeyAuthorization, "."); !separated {
		return errors.New("--key-authorization: it has the form TOKEN.THUMBPRINT")
	}
	req.KeyAuthorization = c.KeyAuthorization
	level := "warn"
	if settings.Log.Level == "debug" {
		level = "debug"
	}
	if settings.AuditLog != nil && settings.AuditLog.Destination == auditlog.Stdout { // which has the command's own answer
		settings.AuditLog.Destination = auditlog.Stderr
	}
	log := node.StartLog(out.stderr, config.Log{Level: level, Format: settings.Log.Format})
	g, err := gate.New(ctx, settings, software(), node.Doors{}, log)
	if errors.Is(err, merkle.ErrLocked) { // the gate that serves signs the log, with what a dry run adds to it
		settings.Checkpoints = nil
		g, err = gate.New(ctx, settings, software(), node.Doors{}, log)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	result, err := g.Coordinator.Validate(ctx, mpic.DryRun, caller(), req)
	if err != nil {
		return status{exitFailure, err}
	}
	if c.JSON {
		err = writeJSON(out.stdout, checkResult{result.Number, result.Evidence, result.Decision})
	} else {
		err = table.Write(out.stdout, table.Of(result), out.color)
	}
	switch {
	case err != nil:
		return status{exitFailure, err}
	case !result.Decision.Granted():
		return status{code: exitRefused}
	default:
		return nil
	}
}

// caller names the operator for the record (REC-03).
func caller() string {
	u, err := user.Current()
	if err != nil {
		return "cli:unknown"
	}
	return "cli:" + u.Username
}

// publish makes up a token (132 random bits and more) and a thumbprint, and says what to put where.
func (c checkCmd) publish(out console, req va.Request) error {
	raw := make([]byte, 32)
	rand.Read(raw) // crypto/rand.Read returns no error: it ends the program instead
	req.Token = base64.RawURLEncoding.EncodeToString(raw)
	thumbprint := sha256.Sum256(append([]byte("quorate check "), raw...))
	req.KeyAuthorization = req.Token + "." + base64.RawURLEncoding.EncodeToString(thumbprint[:])
	if p := va.Admit(req, req.TokenCreated); p != nil { // nobody has to publish what no rule can allow
		return status{exitRefused, p}
	}
	var where string
	switch req.Method {
	case va.HTTP01:
		where = fmt.Sprintf("Serve at http://%s/.well-known/acme-challenge/%s this text:\n\n  %s", req.FQDN(), req.Token, req.Expected())
	case va.DNS01:
		where = fmt.Sprintf("Add this record:\n\n  %s. IN TXT %q", req.Queried(), req.Expected())
	default:
		where = fmt.Sprintf("Serve on port 443 of %s, by ALPN %q, a self-signed certificate with this name alone and with the "+
			"critical extension 1.3.6.1.5.5.7.1.31 over the SHA-256 digest\n\n  %s", req.FQDN(), "acme-tls/1", req.Expected())
	}
	if _, err := fmt.Fprintf(out.stdout, "%s\n\nThen run:\n\n  quorate check '%s' --method %s --config %s --key-authorization %s\n", where,
		c.Name, c.Method, c.Config, req.KeyAuthorization); err != nil {
		return status{exitFailure, err}
	}
	return nil
}
