package iodef

import "github.com/quorate/quorate/va"

// Codes lists the codes of notices that this package gives. A report over HTTPS that fails can also have one of va.Codes: of the areas
// "address.", "dns.", "dnssec.", "http." and "tls.". Codes are stable: one may be added, none changes its meaning.
func Codes() []va.Code {
	code := func(code, means string) va.Code { return va.Code{Code: code, Means: means, Rules: []string{"CAA-09"}} }
	return []va.Code{
		code("notice.begun", "the report is about to be sent"),
		code("notice.delivered", "the receiver, or the mail server, took the report"),

		code("notice.malformed", "the property is no mailto, http or https URL that this program can read without doubt"),
		code("notice.scheme", "the property's scheme is none to which reports are sent: mailto and https are"),
		code("notice.no-mail", "reports are not sent by mail here"),
		code("notice.no-web", "reports are not posted here"),

		code("notice.properties", "the records have more iodef properties than one refusal is reported to"),
		code("notice.domain-limit", "as many reports as an hour may have about this domain, or to the receiver's, were sent"),
		code("notice.total-limit", "as many reports as an hour may have were sent"),
		code("notice.queue", "too many reports were waiting"),
		code("notice.shutdown", "the gate was shut down before the report was sent"),

		code("notice.mail-server", "the mail server could not be used: no connection, no TLS, or no login"),
		code("notice.mail-refused", "the mail server answered and did not take the report"),
		code("notice.mail-broken", "the mail server hung up, or did not answer in time"),
		code("notice.http-redirect", "the receiver wants to be asked elsewhere, and reports follow no redirect"),
		code("notice.http-status", "the receiver answered with a status that is not 2xx"),

		code("notice.fault", "the report came to a halt by a fault in the program"),
	}
}
