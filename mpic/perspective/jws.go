package perspective

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

const (
	// replyType is the typ of a report's JWS (RFC 7515 section 4.1.9). A signature by the same key over anything else,
	// made for any other purpose, is no report.
	replyType = "quorate-report+jws"
	// contentType is the media type of a reply.
	contentType = "application/json"
	// maxReply is how long a reply may be, in bytes: the messages of a report with the octets of some hundred lookups.
	maxReply = 4 << 20
	// maxDetail is how much is told of what is wrong with one, in bytes: a decision and the log repeat it, and the names in it are its writer's.
	maxDetail = 1500
)

// reply is the body of an answer. A sealer writes it.
type reply struct {
	// Report is the report as a compact JWS: all that is signed.
	Report string `json:"report"`
	// Sets are the records that the proofs in the report name by their digests: each of them once, and no others.
	Sets [][]byte `json:"sets"`
}

// replyHeader is the protected header, all of it: whatever else a header could hold (crit, b64, jku, x5c) is refused.
type replyHeader struct {
	Algorithm string          `json:"alg"`
	KeyID     string          `json:"kid"`
	Key       json.RawMessage `json:"jwk"`
	Type      string          `json:"typ"`
}

// Verifier verifies replies. It remembers the keys in the headers that it has read: those of one perspective are all alike, and a
// header's octets alone decide what key is in it. The zero value is ready; it may be used by many at once.
type Verifier struct {
	mu    sync.Mutex
	known map[string]signingKey
}

// signingKey is the key that a header carries, and its thumbprint.
type signingKey struct {
	key        crypto.PublicKey
	thumbprint string
}

const (
	// mostKnown and longestKnown bound what a Verifier remembers: headers, and octets of one. They are for all that a roster has; more
	// are read each time.
	mostKnown    = 256
	longestKnown = 1 << 10
)

// Verify tells whether a reply is a member's own signed report on a probe, and gives the report. It is pure, so the
// auditor's program comes to the same answer from the record as the gate did. The member's pin decides on the key: the
// reply brings the public key along, and its thumbprint must be member.SigningKey. Others are members of the same roster,
// and serve to say whose key it was if it was not the member's; they may be left out.
//
// It does not tell whether the checks passed: that is mpic.Judge's. The problem's codes are "perspective.garbage" (not a
// compact JWS over a report), "perspective.algorithm", "perspective.signature", "perspective.key" and
// "perspective.replay".
func Verify(signed string, member mpic.Member, others []mpic.Member, probe va.Probe) (*mpic.Reply, *va.Problem) {
	return new(Verifier).Verify(signed, member, others, probe)
}

// Verify does what the function Verify does.
func (v *Verifier) Verify(signed string, member mpic.Member, others []mpic.Member, probe va.Probe) (*mpic.Reply, *va.Problem) {
	if len(signed) > maxReply {
		return nil, refused(member, "perspective.garbage", "MPIC-08", "has %d bytes; at most %d are read", len(signed), maxReply)
	}
	if strings.HasPrefix(strings.TrimSpace(signed), "{") {
		return nil, refused(member, "perspective.garbage", "MPIC-08", "is JSON, which can hold several signatures or none, and not a compact JWS")
	}
	compact, err := mpic.CutCompact(signed)
	if err != nil {
		return nil, refused(member, "perspective.garbage", "MPIC-08", "cannot be taken apart: %s", err)
	}
	return v.verify(compact, nil, member, others, probe)
}

// VerifyReply does what Verify does, for a reply that was read before.
func (v *Verifier) VerifyReply(reply *mpic.Reply, member mpic.Member, others []mpic.Member, probe va.Probe) *va.Problem {
	if n := len(reply.Signed()); n > maxReply {
		return refused(member, "perspective.garbage", "MPIC-08", "has %d bytes; at most %d are read", n, maxReply)
	}
	compact, err := reply.Compact()
	if err != nil {
		return refused(member, "perspective.garbage", "MPIC-08", "cannot be taken apart: %s", err)
	}
	_, problem := v.verify(compact, reply, member, others, probe)
	return problem
}

func refused(m mpic.Member, code, rule, format string, args ...any) *va.Problem {
	return &va.Problem{Code: code, Rules: []string{rule}, Detail: cut(fmt.Sprintf("the reply of %s %s", m.Name, fmt.Sprintf(format, args...)), maxDetail)}
}

// verify reads the report in a reply, unless reply has it.
func (v *Verifier) verify(c mpic.Compact, reply *mpic.Reply, m mpic.Member, others []mpic.Member, probe va.Probe) (*mpic.Reply, *va.Problem) {
	refuse := func(code, rule, format string, args ...any) (*mpic.Reply, *va.Problem) {
		return nil, refused(m, code, rule, format, args...)
	}
	signer, code, err := v.open(c)
	if err != nil {
		return refuse(code, "MPIC-08", "%s", err)
	}
	// MPIC-08: the roster says whose answer this is, and the reply has no say in it.
	if thumbprint := signer.thumbprint; m.SigningKey == "" || thumbprint != m.SigningKey {
		if i := slices.IndexFunc(others, func(m mpic.Member) bool { return m.SigningKey == thumbprint }); i >= 0 {
			return refuse("perspective.key", "MPIC-08", "is signed with the key of %s (%s)", others[i].Name, thumbprint)
		}
		return refuse("perspective.key", "MPIC-08", "is signed with the key %s; the roster has %s", thumbprint, m.SigningKey)
	}
	if reply == nil {
		if crowded(c.Payload()) {
			return refuse("perspective.garbage", "MPIC-08", "has more than %d objects in it", mostObjects)
		}
		if reply, err = c.Read(); err != nil {
			return refuse("perspective.garbage", "MPIC-08", "holds no readable report: %s", inWords(err))
		}
	}
	// The report is JSON by now, and has no name twice.
	if err := plainNames(c.Payload()); err != nil {
		return refuse("perspective.garbage", "MPIC-08", "holds no readable report: %s", err)
	}
	// MPIC-09: a report counts for one attempt, and for what was asked in it.
	switch report, digest := reply.Report(), probe.Digest(); {
	case report.Attempt != probe.Attempt:
		return refuse("perspective.replay", "MPIC-09", "is for the attempt %q, and the attempt is %q", cut(report.Attempt, 80), probe.Attempt)
	case report.Nonce == "" || report.Nonce != probe.Nonce:
		return refuse("perspective.replay", "MPIC-09", "repeats the nonce %q, and the probe's is %q", cut(report.Nonce, 80), probe.Nonce)
	case digest == "" || report.Digest != digest:
		return refuse("perspective.replay", "MPIC-09", "is for another request: its digest is %q, the probe's %q", cut(report.Digest, 80), digest)
	}
	return reply, nil
}

// open verifies the signature by the key that the reply carries, and gives that key. Whose it is, is for the caller to find out. The
// error completes "the reply of X ...".
func (v *Verifier) open(c mpic.Compact) (signer signingKey, code string, err error) {
	v.mu.Lock()
	signer, known := v.known[c.Header()]
	v.mu.Unlock()
	if !known {
		if signer, code, err = readHeader(c.Header()); err != nil {
			return signingKey{}, code, err
		}
		v.remember(c.Header(), signer)
	}
	if !signer.signed(c) {
		return signingKey{}, "perspective.signature", errors.New("has a signature that does not hold")
	}
	return signer, "", nil
}

func (v *Verifier) remember(header string, key signingKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		v.known = map[string]signingKey{}
	}
	if len(v.known) < mostKnown && len(header) <= longestKnown {
		v.known[strings.Clone(header)] = key
	}
}

// readHeader gives the key in a protected header. The error is that of open.
func readHeader(encoded string) (key signingKey, code string, err error) {
	garbage := func(format string, args ...any) (signingKey, string, error) {
		return signingKey{}, "perspective.garbage", fmt.Errorf(format, args...)
	}
	mismatch := func(format string, args ...any) (signingKey, string, error) {
		return signingKey{}, "perspective.algorithm", fmt.Errorf(format, args...)
	}
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return garbage("is no compact JWS: its header is not base64url")
	}
	var header replyHeader
	if err := decodeStrict(text, &header); err != nil {
		return garbage("has an unusable header: %w", err)
	}
	if header.Type != replyType {
		return garbage("is of the type %q, and a report is of the type %q", cut(header.Type, 80), replyType)
	}
	if a := jose.SignatureAlgorithm(header.Algorithm); a != jose.EdDSA && a != jose.ES256 {
		return mismatch("names the algorithm %q; only EdDSA and ES256 are taken", cut(header.Algorithm, 80))
	}
	// The library reads the header alone; it would write the rest again to verify it.
	jws, err := jose.ParseSignedCompact(encoded+"..", []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
	if err != nil {
		return garbage("is no usable JWS: %w", err)
	}
	if len(jws.Signatures) != 1 || jws.Signatures[0].Protected.JSONWebKey == nil {
		return garbage("does not carry the one key that signed it")
	}
	key.key = jws.Signatures[0].Protected.JSONWebKey.Key
	// The key's kind and the algorithm belong together (RFC 8725 section 3.1).
	switch k := key.key.(type) {
	case ed25519.PublicKey:
		if header.Algorithm != string(jose.EdDSA) {
			return mismatch("names the algorithm %q over an Ed25519 key", header.Algorithm)
		}
	case *ecdsa.PublicKey:
		if header.Algorithm != string(jose.ES256) || k.Curve != elliptic.P256() {
			return mismatch("names the algorithm %q over an ECDSA key on %s", header.Algorithm, k.Curve.Params().Name)
		}
	default:
		return mismatch("carries a key that is neither Ed25519 nor ECDSA on P-256")
	}
	if key.thumbprint, err = Thumbprint(key.key); err != nil || key.thumbprint != header.KeyID {
		return garbage("names another key than it carries")
	}
	return key, "", nil
}

// inputs are buffers for signing inputs, of which those of usual length are kept.
var inputs = sync.Pool{New: func() any { return new([]byte) }}

// largestInput is the length of those, in octets.
const largestInput = 64 << 10

// signed verifies by RFC 8037 section 3.1 and RFC 7518 section 3.4. The header's algorithm belongs to the key's kind by now.
func (s signingKey) signed(c mpic.Compact) bool {
	room := inputs.Get().(*[]byte)
	defer inputs.Put(room)
	input, signature := append((*room)[:0], c.Input()...), c.Signature()
	if cap(input) <= largestInput {
		*room = input
	}
	switch k := s.key.(type) {
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize && ed25519.Verify(k, input, signature)
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() || len(signature) != 64 {
			return false
		}
		sum := sha256.Sum256(input)
		return ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return false
}

// cut shortens what a peer sent, for use in a sentence.
func cut(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
