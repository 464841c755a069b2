package dnssec

import "fmt"

// Verdict is a status and, unless it is secure, why.
type Verdict struct {
	Status Status
	Reason Reason
	// Proof is what the verdict rests on; for one that is not usable, as far as it went. Nil where no records were judged: a
	// time-out, a limit of the resolver.
	Proof *Proof
}

// Extended DNS errors (RFC 8914 section 4) that verdicts name.
const (
	EDEUnsupportedAlgorithm  uint16 = 1
	EDEUnsupportedDigest     uint16 = 2
	EDEIndeterminate         uint16 = 5
	EDEBogus                 uint16 = 6
	EDESignatureExpired      uint16 = 7
	EDESignatureNotYetValid  uint16 = 8
	EDEDNSKEYMissing         uint16 = 9
	EDERRSIGsMissing         uint16 = 10
	EDENoZoneKeyBit          uint16 = 11
	EDENSECMissing           uint16 = 12
	EDEProhibited            uint16 = 18
	EDENoReachableAuthority  uint16 = 22
	EDENetworkError          uint16 = 23
	EDEInvalidData           uint16 = 24
	EDEExpiredBeforeValid    uint16 = 25
	EDEUnsupportedIterations uint16 = 27
)

// Codes of Reason. They are stable.
const (
	CodeInsecureDelegation   = "dnssec.insecure-delegation"
	CodeOptOut               = "dnssec.opt-out"
	CodeUnsupportedAlgorithm = "dnssec.unsupported-algorithm"
	CodeSignatureMissing     = "dnssec.signature-missing"
	CodeSignatureInvalid     = "dnssec.signature-invalid"
	CodeSignatureExpired     = "dnssec.signature-expired"
	CodeSignatureNotYetValid = "dnssec.signature-not-yet-valid"
	CodeKeyMissing           = "dnssec.key-missing"
	CodeKeyUnusable          = "dnssec.key-unusable"
	CodeDSMismatch           = "dnssec.ds-mismatch"
	CodeDenialMissing        = "dnssec.denial-missing"
	CodeDenialInvalid        = "dnssec.denial-invalid"
	CodeLimit                = "dnssec.limit"
	CodeIterations           = "dnssec.nsec3-iterations"
	CodeNoAnchor             = "dnssec.no-anchor"
	CodeNoServer             = "dns.no-server"
	CodeAliasAmbiguous       = "dns.alias-ambiguous"
	CodeAliasLong            = "dns.alias-too-long"
)

func secure() Verdict {
	return Verdict{Status: Secure, Reason: Reason{Text: "signed, and the signatures hold"}}
}

func insecure(code string, ede uint16, format string, args ...any) Verdict {
	return Verdict{Status: Insecure, Reason: Reason{Code: code, EDE: ede, Text: fmt.Sprintf(format, args...)}}
}

func bogus(code string, ede uint16, format string, args ...any) Verdict {
	return Verdict{Status: Bogus, Reason: Reason{Code: code, EDE: ede, Text: fmt.Sprintf(format, args...)}}
}

func failure(code string, ede uint16, format string, args ...any) Verdict {
	return Verdict{Status: Failure, Reason: Reason{Code: code, EDE: ede, Text: fmt.Sprintf(format, args...)}}
}

// Worse gives the worse of two verdicts: an answer that was put together is only as good as its worst part. A verdict
// without status is the worst.
func Worse(a, b Verdict) Verdict {
	ra, rb := a.Status.rank(), b.Status.rank()
	if ra == 0 || (rb != 0 && ra >= rb) {
		return a
	}
	return b
}

// rank orders statuses from the best, 1, to the worst; 0 is no status.
func (s Status) rank() int {
	switch s {
	case Secure:
		return 1
	case Insecure:
		return 2
	case Bogus:
		return 3
	case Failure:
		return 4
	}
	return 0
}
