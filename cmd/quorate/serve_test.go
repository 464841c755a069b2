package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSIGHUPOpensTheAuditLogAnew sends this process the signal that a rotation sends.
func TestSIGHUPOpensTheAuditLogAnew(t *testing.T) {
	var said bytes.Buffer
	reopened := make(chan error)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	stop := onRotation(hup, func(context.Context) error { return <-reopened }, slog.New(slog.NewTextHandler(&said, nil)))
	for _, err := range []error{nil, errors.New("no such directory"), nil} {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		reopened <- err // it is asked for
	}
	stop()
	require.Equal(t, 2, bytes.Count(said.Bytes(), []byte("was opened anew")))
	require.Contains(t, said.String(), "no such directory")
}
