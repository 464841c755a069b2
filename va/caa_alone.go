package va

import "context"

// CAA looks up and evaluates CAA alone, for people who ask why a name is or is not permitted (`quorate caa`). It looks
// at the request's Identifier, Method, AccountURI, Issuers and
// CertificateType; rule says what a failed lookup counts for. The finding is
// no report: it is bound to no probe, and no decision is made upon it.
func (c *Checker) CAA(ctx context.Context, req Request, rule FailureRule) CAAFinding {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	refusal := admitIssuers(req, c.clock())
	if refusal == nil {
		refusal = checkCertificateType(req)
	}
	if refusal == nil {
		refusal = checkName(req.FQDN())
	}
	return c.checkCAA(ctx, probeLog{Logger: c.config.Logger}, req, rule, refusal)
}
