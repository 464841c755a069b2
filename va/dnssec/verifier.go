package dnssec

import (
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Verifier checks signatures and proofs for one query, at one time and within one budget of work. It is safe for
// concurrent use.
type Verifier struct {
	algorithms Algorithms
	limits     Limits
	now        time.Time
	checks     atomic.Int64 // signature checks spent
	// span, for a prover with a memory, notes within which times the work comes to the same.
	span  *span
	known *Signatures
}

// NewVerifier takes the table of algorithms, limits that Limits.Complete has passed, and the time to judge at.
func NewVerifier(algorithms Algorithms, limits Limits, now time.Time) *Verifier {
	return &Verifier{algorithms: algorithms, limits: limits, now: now}
}

// Knowing lets the verifier remember which signatures hold. It changes no result. The table of algorithms must be the one that the
// memory is for.
func (v *Verifier) Knowing(s *Signatures) *Verifier {
	v.known = s
	return v
}

// Checks is the number of signature checks so far, those from memory included.
func (v *Verifier) Checks() int { return int(v.checks.Load()) }

// Keys are the validated zone keys of one zone.
type Keys struct {
	Zone string
	keys []key
	// Tags are those of the keys, Algorithm that of the signature that vouches for the set.
	Tags      []uint16
	Algorithm uint8
	// Until is when the signature that vouches for the set expires, TTL how long it vouches for at most, in seconds.
	Until time.Time
	TTL   uint32
	// Proof is what the keys rest on.
	Proof *Proof
}

// Signature is what a check of an RRset found.
type Signature struct {
	Verdict
	// Labels is the number of labels of the owner that was signed; it is below the RRset's own for an expanded wildcard.
	Labels int
	// Expanded tells that the RRset was made from a wildcard, so that a proof that no closer name exists is due (RFC 4035
	// section 5.3.4).
	Expanded  bool
	Algorithm uint8
	Tag       uint16
	// TTL is the largest TTL that the signature vouches for (RFC 4035 section 5.3.3).
	TTL uint32
	// Until is when the signature expires.
	Until time.Time
	// Step is the step of a proof that this is, where the signature holds.
	Step Step
}

// RRset checks an RRset against a zone's keys (RFC 4035 sections 5.3.1 to 5.3.3). The zone must be exactly the one that
// holds the RRset: one good signature by one of its keys makes it secure. DCV-05.
func (v *Verifier) RRset(set *RRset, keys *Keys) Signature {
	if len(set.RRs) == 0 {
		return Signature{Verdict: bogus(CodeSignatureMissing, EDEBogus, "there is no %s record at %s, only a signature",
			typeName(set.Type), set.Name)}
	}
	if !within(set.Name, keys.Zone) {
		return Signature{Verdict: bogus(CodeSignatureInvalid, EDEBogus, "%s lies outside the zone %s", set.Name, keys.Zone)}
	}
	var worst Verdict
	tried := 0
	var rdatas [][]byte // made once, however many signatures claim to cover the set
	for _, sig := range set.Sigs {
		if verdict, fits := v.fits(set, sig, keys); !fits {
			if verdict.Status != 0 {
				worst = verdict
			}
			continue
		}
		matched := false
		for i := range keys.keys {
			k := &keys.keys[i]
			if k.tag != sig.KeyTag || k.rr.Algorithm != sig.Algorithm {
				continue
			}
			matched = true
			verify := k.verify()
			if verify == nil {
				worst = bogus(CodeKeyUnusable, EDEUnsupportedAlgorithm, "%s %s is signed with key %d of %s, which cannot be "+
					"used here", set.Name, typeName(set.Type), k.tag, keys.Zone)
				continue
			}
			if tried++; tried > v.limits.SignaturesPerRRset {
				return Signature{Verdict: failure(CodeLimit, 0, "%s %s needs more than %d signature checks", set.Name,
					typeName(set.Type), v.limits.SignaturesPerRRset)}
			}
			if v.checks.Add(1) > int64(v.limits.Signatures) {
				return Signature{Verdict: failure(CodeLimit, 0, "this query needs more than %d signature checks",
					v.limits.Signatures)}
			}
			if rdatas == nil {
				rdatas = set.canonicalRdatas()
			}
			if s, ok := v.check(set, rdatas, sig, k.rr, verify); ok {
				return s
			}
			worst = bogus(CodeSignatureInvalid, EDEBogus, "the signature by key %d of %s over %s %s does not hold", k.tag,
				keys.Zone, set.Name, typeName(set.Type))
		}
		if !matched {
			worst = bogus(CodeKeyMissing, EDEDNSKEYMissing, "%s %s is signed with key %d (%s), which %s does not have",
				set.Name, typeName(set.Type), sig.KeyTag, AlgorithmName(sig.Algorithm), keys.Zone)
		}
	}
	if worst.Status == 0 {
		worst = bogus(CodeSignatureMissing, EDERRSIGsMissing, "%s %s carries no signature by the zone %s", set.Name,
			typeName(set.Type), keys.Zone)
	}
	return Signature{Verdict: worst}
}

// fits checks an RRSIG's fields before any arithmetic (RFC 4035 section 5.3.1). A verdict without status says no more than
// that the signature is another zone's.
func (v *Verifier) fits(set *RRset, sig *dns.RRSIG, keys *Keys) (Verdict, bool) {
	// The signer is compared whole, not by its end: a key of ple.com. must not vouch for example.com.
	if lower(sig.SignerName) != keys.Zone || sig.TypeCovered != set.Type || lower(sig.Hdr.Name) != set.Name ||
		sig.Hdr.Class != dns.ClassINET {
		return Verdict{}, false
	}
	labels := dns.CountLabel(set.Name)
	if wildcard(set.Name) {
		labels--
	}
	if int(sig.Labels) > labels || int(sig.Labels) < dns.CountLabel(keys.Zone) {
		return bogus(CodeSignatureInvalid, EDEBogus, "the signature over %s %s speaks of %d labels", set.Name,
			typeName(set.Type), sig.Labels), false
	}
	// Serial arithmetic (RFC 4034 section 3.1.5, RFC 1982): good for 68 years about now.
	now, slack := uint32(v.now.Unix()), int32(v.limits.Slack/time.Second)
	if int32(sig.Expiration-sig.Inception) < 0 {
		return bogus(CodeSignatureExpired, EDEExpiredBeforeValid, "the signature over %s %s expires before it is valid",
			set.Name, typeName(set.Type)), false
	}
	if int32(now-sig.Expiration) > slack {
		v.span.refused()
		return bogus(CodeSignatureExpired, EDESignatureExpired, "the signature over %s %s expired at %s", set.Name,
			typeName(set.Type), dns.TimeToString(sig.Expiration)), false
	}
	if int32(sig.Inception-now) > slack {
		v.span.refused()
		return bogus(CodeSignatureNotYetValid, EDESignatureNotYetValid, "the signature over %s %s is valid from %s",
			set.Name, typeName(set.Type), dns.TimeToString(sig.Inception)), false
	}
	v.span.signature(v.now.Unix(), sig, slack)
	return Verdict{}, true
}

func (v *Verifier) check(set *RRset, rdatas [][]byte, sig *dns.RRSIG, k *dns.DNSKEY, verify VerifyFunc) (Signature, bool) {
	data, ok := set.signedData(rdatas, sig)
	if !ok {
		return Signature{}, false
	}
	raw, ok := unbase64(sig.Signature)
	if !ok || !v.known.holds(k, data, raw, verify) {
		return Signature{}, false
	}
	labels := dns.CountLabel(set.Name)
	expanded := int(sig.Labels) < labels
	if wildcard(set.Name) && int(sig.Labels) == labels-1 { // asked for the wildcard by its own name
		expanded = false
	}
	left := time.Duration(int32(sig.Expiration-uint32(v.now.Unix()))) * time.Second
	return Signature{Verdict: secure(), Labels: int(sig.Labels), Expanded: expanded, Algorithm: sig.Algorithm,
		Tag: sig.KeyTag, TTL: min(sig.OrigTtl, uint32(max(left, 0)/time.Second)), Until: time.Unix(v.now.Unix(), 0).Add(left).UTC(),
		Step: Step{Kind: StepVerify, Name: set.Name, Type: typeName(set.Type), By: lower(sig.SignerName), Tag: sig.KeyTag,
			Algorithm: sig.Algorithm}}, true
}

func typeName(t uint16) string { return dns.Type(t).String() }
