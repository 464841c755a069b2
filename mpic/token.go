package mpic

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
)

const (
	// permitType is the typ of a permit's JWS (RFC 7515 section 4.1.9): a signature by the same key over anything else is none.
	permitType = "quorate-permit+jwt"
	// maxToken is how long a permit may be, in octets: each of 100 names takes some 1100.
	maxToken = 512 << 10
)

// ErrToken: this is no permit by this key.
var ErrToken = errors.New("mpic: not a permit by this key")

// Claims are what a permit's token says.
type Claims struct {
	// ID is the permit's identifier, Account the account's URI.
	ID      string `json:"jti"`
	Account string `json:"sub"`
	// Issued and Expires are in seconds since 1970 (NumericDate of RFC 7519). Nothing may be issued upon it at Expires or later.
	Issued  int64 `json:"iat"`
	Expires int64 `json:"exp"`
	// Names are the only ones that a certificate may have.
	Names []PermitName `json:"names"`
}

// permitSigner signs permits with one key.
type permitSigner struct {
	signer jose.Signer
	header permitHeader
}

// permitHeader is the protected header, all of it, in the order of its octets.
type permitHeader struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// headerFor gives the one header that a permit by a key has: Ed25519 or ECDSA on P-256.
func headerFor(key crypto.PublicKey) (permitHeader, error) {
	h := permitHeader{Type: permitType}
	switch k := key.(type) {
	case ed25519.PublicKey:
		h.Algorithm = string(jose.EdDSA)
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return permitHeader{}, fmt.Errorf("mpic: an ECDSA key on %s; P-256 is taken", k.Curve.Params().Name)
		}
		h.Algorithm = string(jose.ES256)
	default:
		return permitHeader{}, fmt.Errorf("mpic: a key of the type %T; Ed25519 and ECDSA on P-256 are taken", key)
	}
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return permitHeader{}, fmt.Errorf("mpic: thumbprint of the permits' key: %w", err)
	}
	h.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return h, nil
}

func newPermitSigner(key crypto.Signer) (*permitSigner, error) {
	if key == nil {
		return nil, errors.New("mpic: there is no key to sign permits with")
	}
	h, err := headerFor(key.Public())
	if err != nil {
		return nil, err
	}
	options := (&jose.SignerOptions{}).WithType(permitType).WithHeader("kid", h.KeyID)
	with := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(h.Algorithm), Key: cryptosigner.Opaque(key)}
	signer, err := jose.NewSigner(with, options)
	if err != nil {
		return nil, fmt.Errorf("mpic: preparing to sign permits: %w", err)
	}
	return &permitSigner{signer, h}, nil
}

// sign gives the token of a granted permit.
func (s *permitSigner) sign(r PermitRecord) (string, error) {
	claims := Claims{ID: r.ID, Account: r.Account, Issued: r.Issued.Unix(), Expires: r.Expires.Unix(), Names: r.Names}
	if err := claims.check(); err != nil { // what no reader would take is not signed
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("mpic: encoding the permit: %w", err)
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("mpic: signing the permit: %w", err)
	}
	return signed.CompactSerialize()
}

// VerifyPermit tells what a permit says, once its signature by the key holds: Ed25519 or ECDSA on P-256. It is pure, for CAs and
// auditors: whether the permit has expired is theirs to see, by the time at which something was issued. All that a permit says of
// itself is held against each other: each name once, covered by what was validated, and no evidence that ends before the permit.
// The error wraps ErrToken.
func VerifyPermit(token string, key crypto.PublicKey) (Claims, error) {
	refuse := func(format string, args ...any) (Claims, error) {
		return Claims{}, fmt.Errorf("%w: "+format, append([]any{ErrToken}, args...)...)
	}
	want, err := headerFor(key)
	if err != nil {
		return refuse("%w", err)
	}
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return refuse("it is no compact JWS of at most %d octets", maxToken)
	}
	encoded, _, _ := strings.Cut(token, ".")
	given, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return refuse("its header is not base64url")
	}
	// The key alone settles the header, to the octet: no other algorithm, key, type or extension is in it.
	if header, err := json.Marshal(want); err != nil || !bytes.Equal(header, given) {
		return refuse("its header is not %s", header)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(want.Algorithm)})
	if err != nil {
		return refuse("it is no usable JWS: %w", err)
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return refuse("its signature does not hold")
	}
	var c Claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return refuse("its claims cannot be read: %w", err)
	}
	// Written again it is the same: there is no member that another reader could understand otherwise.
	if again, err := json.Marshal(c); err != nil || !bytes.Equal(again, payload) {
		return refuse("its claims have another form than a permit's")
	}
	if err := c.check(); err != nil {
		return refuse("%w", err)
	}
	return c, nil
}

// check holds the claims against each other.
func (c Claims) check() error {
	issued, expires := time.Unix(c.Issued, 0), time.Unix(c.Expires, 0)
	switch {
	case c.ID == "" || c.Account == "":
		return errors.New("mpic: a permit without identifier or account")
	case !issued.Before(expires) || expires.Sub(issued) > MaxPermitLifetime:
		return fmt.Errorf("mpic: a permit from %s to %s", stamp(issued), stamp(expires))
	case len(c.Names) == 0 || len(c.Names) > MaxPermitNames:
		return fmt.Errorf("mpic: a permit of %d names", len(c.Names))
	}
	seen := map[string]bool{}
	for _, n := range c.Names {
		if seen[n.Name] {
			return fmt.Errorf("mpic: a permit that has %s twice", n.Name)
		}
		seen[n.Name] = true
		if err := n.check(issued, expires); err != nil {
			return fmt.Errorf("mpic: a permit that %s does not have a place in: %w", n.Name, err)
		}
	}
	return nil
}

func (n PermitName) check(issued, expires time.Time) error {
	soon := issued.Add(time.Second) // Issued is a whole second, and the evidence may be of the same
	switch d, a := n.DCV, n.CAA; {
	case n.Problem != nil || d == nil || a == nil:
		return errors.New("it has a problem, or no evidence")
	case d.Attempt == "" || d.Number < 1 || !digestForm.MatchString(d.SHA256),
		a.Attempt == "" || a.Number < 1 || !digestForm.MatchString(a.SHA256):
		return errors.New("a record is not named in full")
	case !Covers(d.Scope, d.AuthorizationDomainName, n.Name):
		return fmt.Errorf("a validation of %s, %s, does not cover it", d.AuthorizationDomainName, d.Scope)
	case !d.Validated.Before(soon) || !a.Checked.Before(soon):
		return errors.New("its evidence is of later")
	case d.ReusableUntil.Before(expires) || a.FreshUntil.Before(expires):
		return errors.New("its evidence ends before the permit does")
	case d.ReusableUntil.After(ReusableUntil(d.Method, d.Validated)): // DCV-03
		return fmt.Errorf("a validation of %s is not reusable until %s", stamp(d.Validated), stamp(d.ReusableUntil))
	}
	return nil
}
