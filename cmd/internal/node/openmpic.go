package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/openmpic"
)

// OpenMPICClients are the clients of a configuration as a front knows them.
func OpenMPICClients(clients []config.OpenMPICClient) []front.Client {
	var list []front.Client
	for _, c := range clients {
		list = append(list, front.Client{Name: c.Name, APIKeySHA256: c.APIKeySHA256, InFlight: c.InFlight})
	}
	return list
}

// openChecker is a perspective's listener for Open MPIC coordinators. A nil one serves nobody.
type openChecker struct {
	server      *openmpic.CheckerServer
	listener    net.Listener
	certificate *config.Shown
}

// newOpenChecker begins to listen, where the configuration says so.
func newOpenChecker(ctx context.Context, c config.Perspective, base Identity, doors Doors, log *slog.Logger) (*openChecker, error) {
	o := c.OpenMPIC
	if o == nil {
		return nil, nil
	}
	certificate, err := o.TLS.Show("open_mpic.tls", log)
	if err != nil {
		return nil, err
	}
	var clients []openmpic.CheckerClient
	for _, client := range OpenMPICClients(o.Clients) {
		own := base
		own.Gate = "openmpic:" + client.Name
		check, err := NewChecker(own, doors, log.With("gate", own.Gate))
		if err != nil {
			return nil, err
		}
		clients = append(clients, openmpic.CheckerClient{Client: client, Checker: check})
	}
	server, err := openmpic.NewCheckerServer(openmpic.CheckerConfig{Clients: clients, Issuers: o.Issuers,
		MaxCheck: c.Limits.Check, MaxInFlight: o.InFlight, Logger: log, Now: doors.Clock()})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("open_mpic.listen: %s cannot be listened on: %w", o.Listen, Cause(err))
	}
	log.Info("Open MPIC coordinators are answered", "address", listener.Addr().String())
	return &openChecker{server, listener, certificate}, nil
}

// close gives the port back where nothing was served yet.
func (o *openChecker) close() error {
	if o == nil {
		return nil
	}
	return o.listener.Close()
}

// beside serves until ctx ends or main does, and main with it: neither goes on without the other.
func (o *openChecker) beside(ctx context.Context, main func(context.Context) error) error {
	if o == nil {
		return main(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() {
		defer stop()
		served <- o.server.Serve(ctx, o.listener, o.certificate.Certificate)
	}()
	err := main(ctx)
	stop()
	return errors.Join(err, <-served)
}
