package openmpic

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// question is what is sent to a checker or a coordinator, in the specification's form.
type question struct {
	CheckType     string            `json:"check_type"`
	Target        string            `json:"domain_or_ip_target"`
	Orchestration *wishes           `json:"orchestration_parameters,omitempty"`
	DCV           map[string]string `json:"dcv_check_parameters,omitempty"`
	CAA           *caaParameters    `json:"caa_check_parameters,omitempty"`
	Trace         string            `json:"trace_identifier"`
}

// wishes: all perspectives are asked for, once. What the coordinator makes of their answers is of no interest.
type wishes struct {
	Perspectives int `json:"perspective_count"`
	Attempts     int `json:"max_attempts"`
}

type caaParameters struct {
	CertificateType string   `json:"certificate_type"`
	Domains         []string `json:"caa_domains"`
}

// body gives the question that a probe puts by one check. count is how many perspectives a coordinator is to ask; 0 for a checker. It
// is the same each time, so that an auditor can hold what was sent to the probe.
func body(p va.Probe, check string, count int) (string, error) {
	q := question{CheckType: check, Target: p.Request.Identifier, Trace: p.Attempt}
	if count > 0 {
		q.Orchestration = &wishes{count, 1}
	}
	if check == checkCAA {
		q.CAA = &caaParameters{p.Request.CertificateType.String(), p.Request.Issuers}
	} else {
		// Control is shown of the name below the asterisk, and implementations differ in what they make of one.
		q.Target = p.Request.FQDN()
		q.DCV = map[string]string{"validation_method": methodName(p.Request.Method)}
		switch m := p.Request.Method; m {
		case va.HTTP01:
			q.DCV["token"], q.DCV["key_authorization"] = p.Request.Token, p.Request.KeyAuthorization
		case va.DNS01, va.TLSALPN01:
			sum, err := digest(p.Request)
			if err != nil {
				return "", err
			}
			q.DCV["key_authorization_hash"] = base64.RawURLEncoding.EncodeToString(sum)
			if m == va.TLSALPN01 { // the specification does not say how; this is how Open MPIC's own code reads it
				q.DCV["key_authorization_hash"] = hex.EncodeToString(sum)
			}
		default:
			return "", fmt.Errorf("openmpic: there is no name for the method %s", m)
		}
	}
	text, err := json.Marshal(q)
	return string(text), err
}

// digest gives the SHA-256 of the key authorization.
func digest(r va.Request) ([]byte, error) {
	r.Method = va.DNS01
	return base64.RawURLEncoding.Strict().DecodeString(r.Expected())
}

// asked gives the checks that a probe asks for.
func asked(p va.Probe) (checks []string) {
	if !p.CAAAlone {
		checks = append(checks, checkDCV)
	}
	if !p.DCVAlone {
		checks = append(checks, checkCAA)
	}
	return checks
}

// endpoint gives where a check is asked of a member, below its URL.
func endpoint(m mpic.Member, check string) (string, error) {
	base, err := url.Parse(m.URL)
	if err != nil {
		return "", err
	}
	if m.Protocol == mpic.OpenMPICCoordinator {
		check = "mpic"
	}
	return base.JoinPath(check).String(), nil
}

// code is what a member is called by its coordinator.
func code(m mpic.Member) string {
	if m.Code != "" {
		return m.Code
	}
	return m.Name
}
