package perspective

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/quorate/quorate/va"
)

// sealer signs one perspective's reports. The protected header is the same for all of them, so it is made once, by the library.
type sealer struct {
	// header is in base64url, with the dot behind it.
	header string
	key    any
}

func newSealer(id *Identity) (*sealer, error) {
	if id.signer == nil {
		return nil, errors.New("perspective: the identity has no key that signs")
	}
	algorithm := jose.ES256
	if _, ok := id.signer.(ed25519.PrivateKey); ok {
		algorithm = jose.EdDSA
	}
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType(replyType).WithHeader("kid", id.thumbprint)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: id.signer}, options)
	if err != nil {
		return nil, fmt.Errorf("perspective: preparing to sign: %w", err)
	}
	empty, err := signer.Sign(nil)
	if err != nil {
		return nil, fmt.Errorf("perspective: preparing to sign: %w", err)
	}
	signed, err := empty.CompactSerialize()
	if err != nil {
		return nil, fmt.Errorf("perspective: preparing to sign: %w", err)
	}
	return &sealer{header: signed[:strings.IndexByte(signed, '.')+1], key: id.signer}, nil
}

// appendSigned appends the compact JWS over a payload (RFC 7515 section 7.1).
func (s *sealer) appendSigned(b, payload []byte) ([]byte, error) {
	start := len(b)
	b = base64.RawURLEncoding.AppendEncode(append(b, s.header...), payload)
	signature, err := s.sign(b[start:])
	if err != nil {
		return nil, fmt.Errorf("perspective: signing the report: %w", err)
	}
	return base64.RawURLEncoding.AppendEncode(append(b, '.'), signature), nil
}

// sign signs by RFC 8037 section 3.1, or RFC 7518 section 3.4.
func (s *sealer) sign(input []byte) ([]byte, error) {
	switch key := s.key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, input), nil
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256(input)
		r, t, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			return nil, err
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		t.FillBytes(signature[32:])
		return signature, nil
	default:
		return nil, fmt.Errorf("a key of the type %T signs no reports", key)
	}
}

// reply gives the body of an answer: a signed report, and beside it the records that it names. It refuses a report whose outcomes or
// statuses are none, and one whose records are not all there. It is what encoding/json makes of a reply: nothing in it is escaped.
func (s *sealer) reply(report *va.Report) ([]byte, error) {
	payload, err := report.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("perspective: encoding the report: %w", err)
	}
	needs, size := report.Needs(), len(s.header)+len(payload)*4/3+256
	for _, sum := range needs {
		octets, ok := report.Sets[sum]
		if !ok {
			return nil, fmt.Errorf("perspective: the records %s, on which the report rests, are missing", sum)
		}
		size += len(octets)*4/3 + 8
	}
	b := append(make([]byte, 0, size), `{"report":"`...)
	if b, err = s.appendSigned(b, payload); err != nil {
		return nil, err
	}
	b = append(b, `","sets":[`...)
	for i, sum := range needs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), report.Sets[sum]), '"')
	}
	return append(b, "]}"...), nil
}

// readReply reads the body of an answer. One that is written as above is taken apart without going over it as JSON.
func readReply(body []byte) (reply, error) {
	if r, ok := cutReply(body); ok {
		return r, nil
	}
	var r reply
	err := decodeStrict(body, &r)
	return r, err
}

func cutReply(body []byte) (r reply, ok bool) {
	body, opened := bytes.CutPrefix(body, []byte(`{"report":"`))
	report, sets, found := bytes.Cut(body, []byte(`","sets":[`))
	sets, closed := bytes.CutSuffix(sets, []byte("]}"))
	if !opened || !found || !closed {
		return reply{}, false
	}
	for _, c := range report {
		if !inCompact[c] {
			return reply{}, false
		}
	}
	r = reply{Report: string(report), Sets: [][]byte{}}
	for more := len(sets) > 0; more; {
		var set []byte
		set, sets, more = bytes.Cut(sets, []byte(","))
		if len(set) < 2 || set[0] != '"' || set[len(set)-1] != '"' {
			return reply{}, false
		}
		set = set[1 : len(set)-1]
		octets := make([]byte, base64.StdEncoding.DecodedLen(len(set)))
		n, err := base64.StdEncoding.Strict().Decode(octets, set)
		if err != nil || base64.StdEncoding.EncodedLen(n) != len(set) { // line feeds in between
			return reply{}, false
		}
		r.Sets = append(r.Sets, octets[:n])
	}
	return r, true
}

// inCompact are the characters of a compact JWS.
var inCompact = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_." {
		t[c] = true
	}
	return t
}()
