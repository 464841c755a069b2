package perspective

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
)

const (
	// replyType is the typ of a report's JWS (RFC 7515 section 4.1.9). A signature by the same key over anything else,
	// made for any other purpose, is no report.
	replyType = "quorate-report+jws"
	// contentType is the media type of a reply.
	contentType = "application/json"
	// maxReply is how long a reply may be, in bytes: the messages of a report with the octets of some hundred lookups.
	maxReply = 4 << 20
)

// reply is the body of an answer.
type reply struct {
	// Report is the report as a compact JWS: all that is signed.
	Report string `json:"report"`
	// Sets are the records that the proofs in the report name by their digests: each of them once, and no others.
	Sets [][]byte `json:"sets"`
}

// newReply puts a report's records beside it.
func newReply(signed string, report va.Report) ([]byte, error) {
	r := reply{Report: signed, Sets: [][]byte{}}
	for _, sum := range report.Needs() {
		octets, ok := report.Sets[sum]
		if !ok {
			return nil, fmt.Errorf("perspective: the records %s, on which the report rests, are missing", sum)
		}
		r.Sets = append(r.Sets, octets)
	}
	return json.Marshal(r)
}

// sets gives the records of a reply by their digests. The report must name each of them, and no other.
func (r reply) sets(report va.Report) (dnssec.Sets, error) {
	given := dnssec.Sets{}
	for _, octets := range r.Sets {
		sum := sha256.Sum256(octets)
		given[hex.EncodeToString(sum[:])] = octets
	}
	for _, sum := range report.Needs() {
		if _, ok := given[sum]; !ok {
			return nil, fmt.Errorf("comes without the records %s, on which it rests", sum)
		}
	}
	if len(given) != len(report.Needs()) || len(given) != len(r.Sets) {
		return nil, errors.New("comes with records on which it does not rest")
	}
	return given, nil
}

// replyHeader is the protected header, all of it: whatever else a header could hold (crit, b64, jku, x5c) is refused.
type replyHeader struct {
	Algorithm string          `json:"alg"`
	KeyID     string          `json:"kid"`
	Key       json.RawMessage `json:"jwk"`
	Type      string          `json:"typ"`
}

// sign gives the compact JWS over a report. It refuses a report whose outcomes or statuses are none.
func (id *Identity) sign(report va.Report) (string, error) {
	payload, err := report.MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("perspective: encoding the report: %w", err)
	}
	algorithm := jose.ES256
	if _, ok := id.signer.(ed25519.PrivateKey); ok {
		algorithm = jose.EdDSA
	}
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType(replyType).WithHeader("kid", id.thumbprint)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: id.signer}, options)
	if err != nil {
		return "", fmt.Errorf("perspective: preparing to sign: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("perspective: signing the report: %w", err)
	}
	return signed.CompactSerialize()
}

// Verify tells whether a reply is a member's own signed report on a probe, and gives the report. It is pure, so the
// auditor's program comes to the same answer from the record as the gate did. The member's pin decides on the key: the
// reply brings the public key along, and its thumbprint must be member.SigningKey. Others are members of the same roster,
// and serve to say whose key it was if it was not the member's; they may be left out.
//
// It does not tell whether the checks passed: that is mpic.Judge's. The problem's codes are "perspective.garbage" (not a
// compact JWS over a report), "perspective.algorithm", "perspective.signature", "perspective.key" and
// "perspective.replay".
func Verify(signed string, member mpic.Member, others []mpic.Member, probe va.Probe) (*mpic.Reply, *va.Problem) {
	return verify(signed, nil, member, others, probe)
}

// VerifyReply does what Verify does, for a reply that was read before.
func VerifyReply(reply *mpic.Reply, member mpic.Member, others []mpic.Member, probe va.Probe) *va.Problem {
	_, problem := verify(reply.Signed(), reply, member, others, probe)
	return problem
}

// verify reads the report in signed, unless reply has it.
func verify(signed string, reply *mpic.Reply, member mpic.Member, others []mpic.Member, probe va.Probe) (*mpic.Reply, *va.Problem) {
	refuse := func(code, rule, format string, args ...any) (*mpic.Reply, *va.Problem) {
		return nil, &va.Problem{Code: code, Rules: []string{rule},
			Detail: fmt.Sprintf("the reply of %s %s", member.Name, fmt.Sprintf(format, args...))}
	}
	thumbprint, payload, code, err := open(signed)
	if err != nil {
		return refuse(code, "MPIC-08", "%s", err)
	}
	// MPIC-08: the roster says whose answer this is, and the reply has no say in it.
	if member.SigningKey == "" || thumbprint != member.SigningKey {
		if i := slices.IndexFunc(others, func(m mpic.Member) bool { return m.SigningKey == thumbprint }); i >= 0 {
			return refuse("perspective.key", "MPIC-08", "is signed with the key of %s (%s)", others[i].Name, thumbprint)
		}
		return refuse("perspective.key", "MPIC-08", "is signed with the key %s; the roster has %s", thumbprint, member.SigningKey)
	}
	if reply == nil {
		if reply, err = mpic.ReadReply(signed); err != nil {
			return refuse("perspective.garbage", "MPIC-08", "holds no readable report: %s", inWords(err))
		}
	}
	// The report is JSON by now.
	if err := checkMembers(payload); err != nil {
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

// open takes a compact JWS apart, verifies its signature by the key that it carries, and gives that key's thumbprint. Whose
// key it is, is for the caller to find out. The error completes "the reply of X ...".
func open(signed string) (thumbprint string, payload []byte, code string, err error) {
	return openAs(signed, canonical(signed))
}

// openAs opens with the parts that canonical gave, or by the library alone where there are none.
func openAs(signed string, parts *jwsParts) (thumbprint string, payload []byte, code string, err error) {
	if len(signed) > maxReply {
		return "", nil, "perspective.garbage", fmt.Errorf("has %d bytes; at most %d are read", len(signed), maxReply)
	}
	if strings.HasPrefix(strings.TrimSpace(signed), "{") {
		return "", nil, "perspective.garbage", errors.New("is JSON, which can hold several signatures or none, and not a compact JWS")
	}
	if n := strings.Count(signed, "."); n != 2 {
		return "", nil, "perspective.garbage", fmt.Errorf("is no compact JWS: it has %d dots instead of 2", n)
	}
	encoded, _, _ := strings.Cut(signed, ".")
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", nil, "perspective.garbage", errors.New("is no compact JWS: its header is not base64url")
	}
	var header replyHeader
	if err := decodeStrict(text, &header); err != nil {
		return "", nil, "perspective.garbage", fmt.Errorf("has an unusable header: %w", err)
	}
	if header.Type != replyType {
		return "", nil, "perspective.garbage", fmt.Errorf("is of the type %q, and a report is of the type %q", cut(header.Type, 80), replyType)
	}
	if a := jose.SignatureAlgorithm(header.Algorithm); a != jose.EdDSA && a != jose.ES256 {
		return "", nil, "perspective.algorithm", fmt.Errorf("names the algorithm %q; only EdDSA and ES256 are taken", cut(header.Algorithm, 80))
	}
	parsed := signed
	if parts != nil { // the library reads the header alone; it would write the rest again to verify it
		parsed = encoded + ".."
	}
	jws, err := jose.ParseSignedCompact(parsed, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
	if err != nil {
		return "", nil, "perspective.garbage", fmt.Errorf("is no usable JWS: %w", err)
	}
	if len(jws.Signatures) != 1 || jws.Signatures[0].Protected.JSONWebKey == nil {
		return "", nil, "perspective.garbage", errors.New("does not carry the one key that signed it")
	}
	key := jws.Signatures[0].Protected.JSONWebKey
	// The key's kind and the algorithm belong together (RFC 8725 section 3.1).
	switch k := key.Key.(type) {
	case ed25519.PublicKey:
		if header.Algorithm != string(jose.EdDSA) {
			return "", nil, "perspective.algorithm", fmt.Errorf("names the algorithm %q over an Ed25519 key", header.Algorithm)
		}
	case *ecdsa.PublicKey:
		if header.Algorithm != string(jose.ES256) || k.Curve != elliptic.P256() {
			return "", nil, "perspective.algorithm", fmt.Errorf("names the algorithm %q over an ECDSA key on %s", header.Algorithm, k.Curve.Params().Name)
		}
	default:
		return "", nil, "perspective.algorithm", errors.New("carries a key that is neither Ed25519 nor ECDSA on P-256")
	}
	if thumbprint, err = Thumbprint(key.Key); err != nil || thumbprint != header.KeyID {
		return "", nil, "perspective.garbage", errors.New("names another key than it carries")
	}
	if parts != nil {
		payload = parts.payload
		if !parts.signedBy(key.Key) {
			err = jose.ErrCryptoFailure
		}
	} else {
		payload, err = jws.Verify(key.Key)
	}
	if err != nil {
		return "", nil, "perspective.signature", errors.New("has a signature that does not hold")
	}
	return thumbprint, payload, "", nil
}

// jwsParts are those of a compact JWS whose text is the only one for its octets, so that what was signed is the text itself.
type jwsParts struct {
	// input is the signing input (RFC 7515 section 5.1).
	input              string
	payload, signature []byte
}

// canonical takes a compact JWS apart. It gives nil for one with other base64url than an encoder writes: line feeds or loose bits in
// it, which a decoder takes and writes otherwise. The library judges that.
func canonical(signed string) *jwsParts {
	end := strings.LastIndexByte(signed, '.')
	if end < 0 || len(signed) > maxReply || strings.ContainsAny(signed, "\r\n") {
		return nil
	}
	p := &jwsParts{input: signed[:end]}
	header, payload, _ := strings.Cut(p.input, ".")
	strict := base64.RawURLEncoding.Strict()
	_, err := strict.DecodeString(header)
	if err == nil {
		p.payload, err = strict.DecodeString(payload)
	}
	if err == nil {
		p.signature, err = strict.DecodeString(signed[end+1:])
	}
	if err != nil {
		return nil
	}
	return p
}

// signedBy verifies by RFC 8037 section 3.1 and RFC 7518 section 3.4. The header's algorithm belongs to the key's kind by now.
func (p *jwsParts) signedBy(key any) bool {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize && ed25519.Verify(k, []byte(p.input), p.signature)
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() || len(p.signature) != 64 {
			return false
		}
		sum := sha256.Sum256([]byte(p.input))
		return ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(p.signature[:32]), new(big.Int).SetBytes(p.signature[32:]))
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
