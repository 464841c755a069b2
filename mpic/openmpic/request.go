package openmpic

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

// The specification's validation methods that are carried out here, by their names there.
var methods = map[string]va.Method{"acme-http-01": va.HTTP01, "acme-dns-01": va.DNS01, "acme-tls-alpn-01": va.TLSALPN01}

// otherMethods are the specification's that are not, and those of the generation before it.
var otherMethods = []string{"contact-phone-txt", "contact-phone-caa", "contact-email-txt", "contact-email-caa", "contact-email", "contact-phone",
	"dns-change", "ip-address", "ip-lookup", "reverse-address-lookup", "website-change", "website-change-v2"}

// methodName gives a method's name in the specification.
func methodName(m va.Method) string { return "acme-" + m.String() }

const (
	maxTarget = 300
	maxTrace  = 256
	// maxDomains is how many issuer domain names a request may name.
	maxDomains = 100

	checkDCV = "dcv"
	checkCAA = "caa"
)

// request is what a caller asks for, in any of the forms.
type request struct {
	// check is checkDCV or checkCAA.
	check string
	// target is the name as it was given; va.Request.Identifier is in lower case.
	target string
	// what has the name, and for DCV the method and the challenge; for CAA the certificate's type. Its issuers are not set.
	what va.Request
	// issuers are caa_domains in lower case; empty for all of the configured ones.
	issuers []string
	// orchestration is nil where the caller gave none.
	orchestration *orchestration
	trace         string
	// dcv and caa are the parameters as they are echoed; caa is nil where the caller gave none.
	dcv map[string]any
	caa map[string]any
}

// orchestration are the caller's wishes; a nil number was not given.
type orchestration struct{ perspectives, quorum, attempts *int64 }

// readRequest reads a request for one of the checks named. Members that are not known are refused unless they are null: what a caller
// asks for and does not get, it must know of.
func readRequest(body []byte, checks []string, orchestrated bool) (request, *Problem) {
	top, err := readObject(body)
	if err != nil {
		return request{}, refusal(http.StatusBadRequest, "request.json", "the body: "+err.Error())
	}
	known := []string{"check_type", "domain_or_ip_target", "dcv_check_parameters", "caa_check_parameters", "trace_identifier"}
	if orchestrated {
		known = append(known, "orchestration_parameters")
	}
	if p := only(top, "", known...); p != nil {
		return request{}, p
	}
	q := request{}
	for _, step := range []func(object) *Problem{
		func(o object) *Problem { return q.readCheck(o, checks) }, q.readTarget, q.readTrace, q.readOrchestration, q.readDCV, q.readCAA,
	} {
		if p := step(top); p != nil {
			return request{}, p
		}
	}
	return q, nil
}

func malformed(field string, err error) *Problem {
	return wrong(field, "request.type", err.Error())
}

// only refuses members that are not known and not null.
func only(o object, field string, known ...string) *Problem {
	var unknown []string
	for name, v := range o {
		if v != nil && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return wrong(field+front.Cut(unknown[0], 64), "request.unknown-member", "unknown member; known here: "+strings.Join(known, ", "))
}

func (q *request) readCheck(o object, checks []string) *Problem {
	check, there, err := o.text("check_type")
	switch {
	case err != nil:
		return malformed("check_type", err)
	case !there && len(checks) == 1: // the path says it
		check = checks[0]
	case !slices.Contains(checks, check):
		return wrong("check_type", "request.check-type", fmt.Sprintf("%q is none of: %s", front.Cut(check, 64), strings.Join(checks, ", ")))
	}
	q.check = check
	return nil
}

func (q *request) readTarget(o object) *Problem {
	const field = "domain_or_ip_target"
	target, there, err := o.text(field)
	switch {
	case err != nil:
		return malformed(field, err)
	case !there || target == "":
		return wrong(field, "request.missing", "the member is required")
	case len(target) > maxTarget:
		return wrong(field, "request.type", fmt.Sprintf("it has more than %d octets", maxTarget))
	}
	if _, err := netip.ParseAddr(strings.Trim(target, "[]")); err == nil {
		return wrong(field, "request.ip-target", "it is an IP address, and this service validates DNS names alone", "DCV-01")
	}
	q.target, q.what.Identifier = target, lower(target)
	return nil
}

// lower is for ASCII alone: what else a name has is refused later, as it is.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func (q *request) readTrace(o object) *Problem {
	const field = "trace_identifier"
	if n, ok := o[field].(json.Number); ok {
		q.trace = n.String()
	} else if s, _, err := o.text(field); err != nil {
		return malformed(field, err)
	} else {
		q.trace = s
	}
	if len(q.trace) > maxTrace {
		return wrong(field, "request.type", fmt.Sprintf("it has more than %d octets", maxTrace))
	}
	return nil
}

func (q *request) readOrchestration(o object) *Problem {
	const field = "orchestration_parameters"
	given, err := o.object(field)
	if err != nil {
		return malformed(field, err)
	}
	if given == nil {
		return nil
	}
	if p := only(given, field+".", "perspective_count", "quorum_count", "max_attempts"); p != nil {
		return p
	}
	q.orchestration = &orchestration{}
	for name, to := range map[string]**int64{"perspective_count": &q.orchestration.perspectives, "quorum_count": &q.orchestration.quorum,
		"max_attempts": &q.orchestration.attempts} {
		n, there, err := given.whole(name)
		if err != nil {
			return wrong(field+"."+name, "request.type", err.Error())
		}
		if there {
			*to = &n
		}
	}
	return nil
}

// echo gives the orchestration parameters as the caller gave them, null for those that it did not give where nulls is set.
func (w *orchestration) echo(nulls bool) map[string]any {
	if w == nil {
		return nil
	}
	out := map[string]any{}
	for name, n := range map[string]*int64{"perspective_count": w.perspectives, "quorum_count": w.quorum, "max_attempts": w.attempts} {
		if n != nil {
			out[name] = *n
		} else if nulls {
			out[name] = nil
		}
	}
	return out
}

func (q *request) readDCV(o object) *Problem {
	const field = "dcv_check_parameters"
	given, err := o.object(field)
	switch {
	case err != nil:
		return malformed(field, err)
	case q.check != checkDCV && given != nil:
		return wrong(field, "request.check-type", "the check is "+q.check+", which does not take them")
	case q.check != checkDCV:
		return nil
	case given == nil:
		return wrong(field, "request.missing", "the member is required")
	}
	// The generation before the specification's has the method's own members in an object of their own.
	if details, err := given.object("validation_details"); err != nil {
		return malformed(field, err)
	} else if details != nil {
		if p := only(given, field+".", "validation_method", "validation_details"); p != nil {
			return p
		}
		outer, there, err := given.text("validation_method")
		if err != nil {
			return malformed(field, err)
		}
		if inner := details["validation_method"]; there && inner == nil {
			details["validation_method"] = outer
		} else if there && inner != any(outer) {
			return wrong(field+".validation_method", "request.validation-method", "it stands there twice, and differs")
		}
		given = details
	}
	return q.readChallenge(field+".", given)
}

func (q *request) readChallenge(field string, given object) *Problem {
	name, there, err := given.text("validation_method")
	switch {
	case err != nil:
		return malformed(field+"validation_method", err)
	case !there:
		return wrong(field+"validation_method", "request.missing", "the member is required")
	case slices.Contains(otherMethods, name):
		return wrong(field+"validation_method", "request.validation-method",
			name+" is not carried out by this service; acme-http-01, acme-dns-01 and acme-tls-alpn-01 are", "DCV-01")
	case methods[name] == 0:
		return wrong(field+"validation_method", "request.validation-method",
			fmt.Sprintf("%q is no method; acme-http-01, acme-dns-01 and acme-tls-alpn-01 are carried out here", front.Cut(name, 64)), "DCV-01")
	}
	// D9: whoever fetches with a caller's header fields can be made to say what the caller wants. None is ever sent.
	if headers, ok := given["http_headers"].(object); given["http_headers"] != nil && (!ok || len(headers) > 0) {
		return wrong(field+"http_headers", "request.http-headers", "no header fields of a caller are sent to an applicant's server")
	}
	q.what.Method = methods[name]
	q.dcv = map[string]any{"validation_method": name}
	members := []string{"key_authorization_hash"}
	if q.what.Method == va.HTTP01 {
		members = []string{"token", "key_authorization"}
	}
	if p := only(given, field, append([]string{"validation_method", "http_headers"}, members...)...); p != nil {
		return p
	}
	for _, member := range members {
		s, _, err := given.text(member)
		if err != nil {
			return malformed(field+member, err)
		}
		if s == "" {
			return wrong(field+member, "request.missing", "the member is required for "+name)
		}
		q.dcv[member] = s
	}
	if q.what.Method == va.HTTP01 {
		q.what.Token, q.what.KeyAuthorization = q.dcv["token"].(string), q.dcv["key_authorization"].(string)
		return nil
	}
	digest, err := readDigest(q.dcv["key_authorization_hash"].(string))
	if err != nil {
		return wrong(field+"key_authorization_hash", "request.key-authorization", err.Error())
	}
	q.what.KeyAuthorizationDigest = digest
	return nil
}

// readDigest reads a SHA-256 in base64url, with or without padding, or in hexadecimal: the specification says base64url for dns-01 and
// nothing for tls-alpn-01, for which Open MPIC's own code takes hexadecimal. It gives base64url without padding.
func readDigest(s string) (string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(s, "="))
	if len(s) == hex.EncodedLen(sha256.Size) {
		b, err = hex.DecodeString(s)
	}
	if err != nil || len(b) != sha256.Size || strings.ContainsAny(s, "\r\n") {
		return "", errors.New("it is no SHA-256, neither in base64url nor in hexadecimal")
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

func (q *request) readCAA(o object) *Problem {
	const field = "caa_check_parameters"
	given, err := o.object(field)
	switch {
	case err != nil:
		return malformed(field, err)
	case given == nil:
		return nil
	case q.check != checkCAA:
		return wrong(field, "request.check-type", "the check is "+q.check+", which does not take them")
	}
	if p := only(given, field+".", "certificate_type", "caa_domains"); p != nil {
		return p
	}
	q.caa = map[string]any{}
	kind, there, err := given.text("certificate_type")
	if err != nil {
		return malformed(field+".certificate_type", err)
	}
	if there {
		if q.what.CertificateType, err = va.ParseCertificateType(kind); err != nil {
			return wrong(field+".certificate_type", "request.certificate-type", fmt.Sprintf("%q is neither tls-server nor s-mime", front.Cut(kind, 64)))
		}
		q.caa["certificate_type"] = kind
	}
	if given["caa_domains"] == nil {
		return nil
	}
	domains, err := given.texts("caa_domains")
	if _, list := given["caa_domains"].([]any); err != nil || !list || len(domains) > maxDomains {
		return wrong(field+".caa_domains", "request.type", fmt.Sprintf("a list of at most %d texts is needed", maxDomains))
	}
	q.caa["caa_domains"] = domains
	for _, d := range domains {
		q.issuers = append(q.issuers, lower(d))
	}
	return nil
}

// caaEcho gives the CAA parameters as the caller gave them, null for those that it did not give where nulls is set.
func (q *request) caaEcho(nulls bool) map[string]any {
	if q.caa == nil || !nulls {
		return q.caa
	}
	out := map[string]any{"certificate_type": nil, "caa_domains": nil}
	for name, v := range q.caa {
		out[name] = v
	}
	return out
}
