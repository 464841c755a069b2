// Package acme holds what an ACME server needs to put Quorate in its challenge path, whichever server that is: the key
// authorization that a challenge asks for, and the problem documents that tell a client what the gate decided.
package acme

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// KeyAuthorization gives token, a dot, and the account key's thumbprint (RFC 8555 section 8.1): SHA-256 over the key's
// canonical JSON (RFC 7638), base64url without padding. Private and symmetric keys are refused: an account has neither.
func KeyAuthorization(token string, key *jose.JSONWebKey) (string, error) {
	switch {
	case token == "":
		return "", errors.New("acme: the challenge has no token")
	case key == nil || !key.Valid() || !key.IsPublic():
		return "", errors.New("acme: the account has no usable public key")
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("acme: thumbprint of the account's key: %w", err)
	}
	return token + "." + base64.RawURLEncoding.EncodeToString(sum), nil
}
