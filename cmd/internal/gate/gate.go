// Package gate puts a gate together from its configuration: primary, roster, remotes, records, coordinator and fronts.
package gate

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/cmd/internal/node"
	"github.com/quorate/quorate/db"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/auditlog"
	"github.com/quorate/quorate/mpic/boulder"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/iodef"
	"github.com/quorate/quorate/mpic/openmpic"
	"github.com/quorate/quorate/mpic/perspective"
	"github.com/quorate/quorate/mpic/rest"
	"github.com/quorate/quorate/va"
)

// Gate is a gate that is put together.
type Gate struct {
	Coordinator *mpic.Coordinator
	Store       *db.Store
	// Permits are given before issuance; nil where the configuration has none.
	Permits *mpic.Permits
	// Publisher signs the log's checkpoints; nil where nobody does.
	Publisher *db.Publisher
	// Handler is the REST front.
	Handler *rest.Server

	// reporter tells of refusals; nil where the configuration has none.
	reporter *iodef.Reporter
	openMPIC *openmpic.Server // nil without a front for Open MPIC's clients
	draft    http.Handler     // nil where draft-westerbaan-mpic is not served
	remotes  []io.Closer
	boulder  *boulder.Server // nil without a front for Boulder's RA
	shadow   *mpic.Shadow    // nil where the gate answers by itself
	signer   *Signer
	auditLog *auditlog.Log        // nil without one
	registry *prometheus.Registry // nil without metrics
	log      *slog.Logger
	attempt  time.Duration
	shutdown time.Duration
}

const defaultShutdown = 30 * time.Second

// New refuses a configuration that does not meet the rules in force. It listens to nothing yet. Close ends it.
func New(ctx context.Context, c config.Gate, software string, doors node.Doors, log *slog.Logger) (*Gate, error) {
	g := &Gate{log: log, attempt: c.Limits.Attempt, shutdown: c.Limits.Shutdown}
	if g.attempt == 0 {
		g.attempt = mpic.DefaultDeadline
	}
	if g.shutdown == 0 {
		g.shutdown = defaultShutdown
	}
	if err := g.build(ctx, c, software, doors); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *Gate) build(ctx context.Context, c config.Gate, software string, doors node.Doors) error {
	var err error
	if g.registry, err = node.NewRegistry(c.Metrics); err != nil {
		return err
	}
	primary, err := node.NewChecker(node.Identity{Name: c.Primary.Name, Software: software, Source: c.SourceAddress,
		Resolution: c.Limits.Resolution, Check: g.attempt, Metrics: g.registry}, doors, g.log)
	if err != nil {
		return err
	}
	id, err := perspective.LoadIdentity(perspective.Files{Certificate: c.Identity.Certificate, TLSKey: c.Identity.Key})
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	roster := c.Roster()
	remotes, err := g.connect(c, roster, id, doors)
	if err != nil {
		return err
	}
	cohort, err := newCohort(c.Cohort)
	if err != nil {
		return err
	}
	if breaks := cohort.Check(roster, doors.Clock()()); len(breaks) > 0 { // before a database is made for a gate that cannot run
		return rosterError(breaks)
	}
	written, err := node.Register(g.registry, db.NewMetrics)
	if err != nil {
		return err
	}
	if err := g.openAuditLog(c.AuditLog, software, doors); err != nil {
		return fmt.Errorf("audit_log: %w", err)
	}
	if err := g.openRecords(ctx, c, software, doors, written); err != nil {
		return err
	}
	failure := va.DenyFailure
	if c.CAALookupFailure != "" {
		if failure, err = va.ParseFailureRule(c.CAALookupFailure); err != nil {
			return err
		}
	}
	decided, err := node.Register(g.registry, mpic.NewMetrics)
	if err != nil {
		return err
	}
	if g.reporter, err = g.newReporter(c.IODEF, primary, doors); err != nil {
		return err
	}
	var refused func(mpic.Result)
	if g.reporter != nil {
		refused = g.reporter.Refused
	}
	g.Coordinator, err = mpic.New(mpic.Config{Subtree: c.Permits != nil && c.Permits.Scope == "subtree", Configuration: c.SHA256, Roster: roster, Primary: primary, Remotes: remotes, Cohort: cohort, Journal: g.Store.Journal(),
		Issuers: c.Issuers, CAALookupFailure: failure, Software: software, Now: doors.Now, Logger: g.log, Refused: refused, Shadow: c.InShadow(),
		Metrics: decided, AuditLog: g.lines(), Deadline: c.Limits.Attempt, GrantGrace: c.Limits.GrantGrace, RefusalGrace: c.Limits.RefusalGrace, MaxInFlight: c.Limits.InFlight,
		MaxWaiting: c.Limits.Waiting})
	if err != nil {
		return err
	}
	if g.shadow, err = g.newShadow(c); err != nil {
		return err
	}
	front := rest.Config{Validator: g.Coordinator, Records: records{g.Store}, Clients: restClients(c), MaxInFlight: c.Limits.Places(), Logger: g.log}
	if g.shadow != nil {
		front.Records = besideRecords{records{g.Store}}
	}
	if c.Permits != nil {
		if g.Permits, err = g.newPermits(*c.Permits, doors); err != nil {
			return err
		}
		front.Permits = g.Permits
	}
	if g.Handler, err = rest.New(front); err != nil {
		return err
	}
	if g.openMPIC, err = g.newOpenMPIC(c, doors); err != nil {
		return err
	}
	if g.draft, err = g.newDraft(c.DraftMPIC, c.Limits.Places()); err != nil {
		return err
	}
	g.boulder, err = g.newBoulder(c, roster.Primary)
	return err
}

// newCohort reads the secret that chooses cohorts.
func newCohort(c *config.Cohort) (mpic.Cohort, error) {
	if c == nil {
		return mpic.Cohort{}, nil
	}
	secret, err := readSecret(c.SecretFile)
	if err != nil {
		return mpic.Cohort{}, fmt.Errorf("cohort.secret_file: %w", err)
	}
	return mpic.Cohort{Size: c.Size, Secret: secret}, nil
}

// newPermits loads the key that signs permits.
func (g *Gate) newPermits(c config.Permits, doors node.Doors) (*mpic.Permits, error) {
	key, err := loadKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("permits.key: %w", err)
	}
	permits, err := mpic.NewPermits(mpic.PermitsConfig{Coordinator: g.Coordinator, Ledger: g.Store.Ledger(), Signer: key, Now: doors.Now, Logger: g.log,
		Lifetime: c.Lifetime})
	if err != nil {
		return nil, fmt.Errorf("permits: %w", err)
	}
	return permits, nil
}

// readSecret reads a file that nobody but its owner may read.
func readSecret(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others than its owner (mode %04o)", file, info.Mode().Perm())
	}
	return os.ReadFile(filepath.Clean(file))
}

// loadKey reads a private key in PKCS #8.
func loadKey(file string) (crypto.Signer, error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%s is not one PEM block PRIVATE KEY", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds no key that signs", file)
	}
	return signer, nil
}

// connect makes the remotes, in the roster's order.
func (g *Gate) connect(c config.Gate, roster mpic.Roster, id *perspective.Identity, doors node.Doors) ([]mpic.Remote, error) {
	others := map[string]mpic.Remote{}
	for _, connect := range []func(config.Gate, mpic.Roster, node.Doors) (map[string]mpic.Remote, error){g.boulderRemotes, g.openMPICRemotes, g.draftRemotes} {
		some, err := connect(c, roster, doors)
		if err != nil {
			return nil, err
		}
		maps.Copy(others, some)
	}
	var remotes []mpic.Remote
	for _, m := range roster.Remotes {
		if m.Protocol != mpic.Native {
			remotes = append(remotes, others[m.Name])
			continue
		}
		remote, err := perspective.NewRemote(perspective.ClientConfig{Member: m, Others: roster.Remotes, Identity: id, Logger: g.log, Now: doors.Clock()})
		if err != nil {
			return nil, err
		}
		g.remotes, remotes = append(g.remotes, closer(remote.Close)), append(remotes, remote)
	}
	return remotes, nil
}

func restClients(c config.Gate) []front.Client {
	var list []front.Client
	for _, client := range c.Clients {
		list = append(list, front.Client{Name: client.Name, CertificateKey: client.CertificateKey, APIKeySHA256: client.APIKeySHA256,
			InFlight: client.InFlight, AccountURIPrefixes: client.AccountURIPrefixes})
	}
	return list
}

// rosterError tells all that keeps a roster from being used, a line for each.
func rosterError(breaks []*va.Problem) error {
	errs := []error{errors.New("the perspectives do not meet the rules in force; quorate policy --config shows them")}
	for _, p := range breaks {
		errs = append(errs, fmt.Errorf("  %w %v", p, p.Rules))
	}
	return errors.Join(errs...)
}

// Serve answers at the configured address until ctx ends. Then it takes no new requests, lets running attempts come to
// their end, within the time that the configuration allows, and returns. ready is told the address when it listens.
func (g *Gate) Serve(ctx context.Context, c config.Gate, ready func(addr string)) error {
	certificate, err := c.TLS.Show("tls", g.log)
	if err != nil {
		return err
	}
	monitor, err := node.StartMonitor(ctx, c.Metrics, g.registry, g.log)
	if err != nil {
		return err
	}
	defer monitor.Stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %s cannot be listened on: %w", c.Listen, node.Cause(err))
	}
	strangers := front.NewStrangers()
	server := &http.Server{
		Handler:           g.Fronts(),
		ConnContext:       strangers.ConnContext,
		TLSConfig:         rest.TLSConfig(certificate.Certificate),
		ReadHeaderTimeout: 10 * time.Second,
		// For what is refused unread, whose body net/http reads; that of a request that is read has its own time (front.Body).
		ReadTimeout: 30 * time.Second,
		// A validation takes up to the attempt's deadline, and the records up to 10 s each before and after it. A permit may check
		// CAA of a hundred names again, eight at a time.
		WriteTimeout:   13*(g.attempt+20*time.Second) + 45*time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		BaseContext:    func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	fronts, err := g.serveBoulder(ctx, c)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(strangers.Listener(listener), "", "") }()
	if g.Publisher == nil {
		g.log.Warn("the log of the records is not signed: the configuration has no checkpoints")
	}
	ready(listener.Addr().String())
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serving on %s: %w", listener.Addr(), err), fronts.end())
	case <-fronts.ended():
		return errors.Join(fronts.end(), server.Close())
	case <-ctx.Done():
	}
	g.log.Info("shutting down: running attempts come to their end", "within", g.shutdown)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.shutdown)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off at the end: %w", err), server.Close(), fronts.end())
	}
	return fronts.end()
}

// Close lets running attempts come to their end, within the time that the configuration allows, and closes the records.
func (g *Gate) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), g.shutdown)
	defer cancel()
	var err error
	if g.shadow != nil { // first, so that what waits for its turn still gets it
		err = g.shadow.Close(ctx)
	}
	return errors.Join(err, g.Coordinator.Close(ctx), g.close())
}

func (g *Gate) close() error {
	var errs []error
	for _, r := range g.remotes {
		errs = append(errs, r.Close())
	}
	if g.reporter != nil { // reports are put on record, so that they come before the records
		ctx, cancel := context.WithTimeout(context.Background(), g.shutdown)
		defer cancel()
		errs = append(errs, g.reporter.Close(ctx))
	}
	if g.Publisher != nil {
		ctx, cancel := context.WithTimeout(context.Background(), g.shutdown)
		defer cancel()
		errs = append(errs, g.Publisher.Close(ctx))
	}
	errs = append(errs, g.signer.Close())
	if g.Store != nil {
		errs = append(errs, g.Store.Close())
	}
	return errors.Join(append(errs, g.closeAuditLog())...)
}

// records lets the REST front read what package db keeps.
type records struct{ store *db.Store }

func (r records) Ready(ctx context.Context) error { return r.store.Ping(ctx) }

func (r records) Checkpoint(ctx context.Context) ([]byte, error) {
	c, err := r.store.Checkpoint(ctx)
	if errors.Is(err, db.ErrNotFound) {
		return nil, rest.ErrNotFound
	}
	return c.Note, err
}

func (r records) Record(ctx context.Context, key string) (rest.Record, error) {
	stored, err := r.store.Attempt(ctx, key)
	if errors.Is(err, db.ErrNotFound) {
		return rest.Record{}, rest.ErrNotFound
	} else if err != nil {
		return rest.Record{}, err
	}
	decision, err := Recorded(stored)
	return rest.Record{Number: stored.Number, Evidence: stored.Evidence, Decision: decision, Late: stored.LateAttestations()}, err
}

// Recorded decodes the decision of a record, nil while the attempt is open.
func Recorded(stored db.Record) (*mpic.RecordedDecision, error) {
	if len(stored.Decision) == 0 {
		return nil, nil
	}
	var d mpic.RecordedDecision
	if err := json.Unmarshal(stored.Decision, &d); err != nil {
		return nil, fmt.Errorf("record %d: the decision: %w", stored.Number, err)
	}
	return &d, nil
}
