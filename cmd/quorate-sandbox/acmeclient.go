package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// applicant is an ACME client with an account: it stands for certbot and its like in the demonstration.
type applicant struct {
	client  *acme.Client
	account acme.Account
}

// newApplicant registers an account at a directory whose server presents the certificate of roots.
func newApplicant(ctx context.Context, directory string, roots *x509.CertPool) (*applicant, error) {
	a := &applicant{client: &acme.Client{Directory: directory, PollInterval: 25 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		UserAgent: software(),
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots},
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}}}}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	a.account, err = a.client.NewAccount(ctx, acme.Account{PrivateKey: key, TermsOfServiceAgreed: true})
	if err != nil {
		return nil, fmt.Errorf("registering an ACME account: %w", err)
	}
	return a, nil
}

// uri is the account's URL, which CAA's accounturi is compared with.
func (a *applicant) uri() string { return a.account.Location }

// obtain applies for a certificate for one name with one challenge type, and gives the chain's leaf. The solver provides
// the challenge. A refusal is an acme.Problem.
func (a *applicant) obtain(ctx context.Context, name, challenge string, s acmez.Solver) (*x509.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	client := acmez.Client{Client: a.client, ChallengeSolvers: map[string]acmez.Solver{challenge: s}}
	chain, err := client.ObtainCertificateForSANs(ctx, a.account, key, []string{name})
	if err != nil {
		return nil, err
	}
	return leaf(chain[0].ChainPEM)
}

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// solver provides a challenge with one function and takes it away with the other.
type solver struct {
	present func(acme.Challenge) error
	cleanUp func(acme.Challenge) error
}

func (s solver) Present(_ context.Context, c acme.Challenge) error { return s.present(c) }
func (s solver) CleanUp(_ context.Context, c acme.Challenge) error { return s.cleanUp(c) }
