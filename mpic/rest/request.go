package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/va"
)

const (
	// maxBody is how long a request may be, in bytes: a token, a key authorization, a name and a URI fit many times. maxLongBody is
	// for a hundred names, or a certificate for them.
	maxBody     = 16 << 10
	maxLongBody = 128 << 10
	// maxDepth is how deep values may nest; the form itself has two levels.
	maxDepth = 8
)

// settled are members that other interfaces have and that no caller can set here: F7, docs/design.md, invariant 6.
var settled = []string{"issuers", "issuer", "caa_domains", "quorum", "quorum_count", "quorumCount", "perspective_count",
	"perspectiveCount", "perspectives", "remotes", "policy", "kind", "checks", "check_type", "skip_caa", "caa_alone", "dnssec", "port", "is_valid",
	"scope", "subtree", "lifetime", "issued", "expires", "validated", "reusable_until", "fresh_until"}

// decodeForm reads a request of any form. It gives everything that is wrong with it, not the first thing alone. What a name or a
// token must be like is the coordinator's to judge, so that such a refusal is on record. speaksFor tells whether whoever asks may speak for an account.
func decodeForm[T any](body []byte, speaksFor func(account string) bool, take func(*form, map[string]any) T) (out T, problem *Problem) {
	var none T
	top, twice, err := front.Object[map[string]any](body, maxDepth)
	if err != nil {
		return none, refusal(http.StatusBadRequest, "request.json", "the body is not one JSON object: "+err.Error())
	}
	f := &form{speaksFor: speaksFor}
	for _, pointer := range twice {
		f.wrong(pointer, "request.duplicate", "the member stands twice")
	}
	out = take(f, top)
	if len(f.errs) > 0 {
		first := f.errs[0]
		p := refusal(http.StatusBadRequest, first.Code, fmt.Sprintf("%s: %s", first.Pointer, first.Detail))
		p.Errors = f.errs
		return none, p
	}
	return out, nil
}

// form collects what is wrong.
type form struct {
	errs      []FieldError
	speaksFor func(account string) bool
}

func (f *form) wrong(pointer, code, format string, args ...any) {
	f.errs = append(f.errs, FieldError{Pointer: pointer, Code: code, Detail: fmt.Sprintf(format, args...)})
}

func (f *form) request(top map[string]any) va.Request {
	f.only(top, "", "identifier", "method", "token", "key_authorization", "token_created", "account_uri")
	req := va.Request{
		Token:            f.text(top, "", "token"),
		KeyAuthorization: f.text(top, "", "key_authorization"),
		AccountURI:       f.account(top),
	}
	identifier, ok := top["identifier"].(map[string]any)
	switch {
	case ok:
		f.only(identifier, "/identifier", "type", "value")
		if kind := f.text(identifier, "/identifier", "type"); kind != "" && kind != "dns" {
			f.wrong("/identifier/type", "request.identifier-type", "%q is not supported; \"dns\" is", kind)
		}
		req.Identifier = f.text(identifier, "/identifier", "value")
	case top["identifier"] == nil:
		f.wrong("/identifier", "request.missing", "the member is required")
	default:
		f.wrong("/identifier", "request.type", "an object with type and value is needed")
	}
	if label := f.text(top, "", "method"); label != "" {
		var err error
		if req.Method, err = va.ParseMethod(label); err != nil {
			f.wrong("/method", "request.method", "%q is none of http-01, dns-01, tls-alpn-01", label)
		}
	}
	if created := f.text(top, "", "token_created"); created != "" {
		at, err := time.Parse(time.RFC3339, created)
		if err != nil || at.Year() < 2000 || at.Year() > 9999 {
			f.wrong("/token_created", "request.time", "%q is no time by RFC 3339, for example 2026-11-21T05:30:00Z", created)
		}
		req.TokenCreated = at.UTC()
	}
	return req
}

// account takes the account's URI. Of an account that is another client's, no authorization is made or relied upon.
func (f *form) account(top map[string]any) string {
	uri := f.text(top, "", "account_uri")
	if uri != "" && !f.speaksFor(uri) {
		f.wrong("/account_uri", "request.account", "%q begins with none of the account_uri_prefixes that this client is configured with", uri)
	}
	return uri
}

// only refuses members that are not among the known ones.
func (f *form) only(object map[string]any, pointer string, known ...string) {
	var unknown []string
	for name := range object {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		at := pointer + front.Pointer(name)
		if slices.Contains(settled, name) {
			f.wrong(at, "request.settled", "this is settled by the gate's configuration and the rules of the day; a request cannot ask for it")
			continue
		}
		f.wrong(at, "request.unknown-member", "unknown member; known here: %s", strings.Join(known, ", "))
	}
}

// text takes a required text that is not empty.
func (f *form) text(object map[string]any, pointer, name string) string {
	v, there := object[name]
	s, ok := v.(string)
	switch {
	case !there || v == nil:
		f.wrong(pointer+"/"+name, "request.missing", "the member is required")
	case !ok:
		f.wrong(pointer+"/"+name, "request.type", "a text is needed")
	case s == "":
		f.wrong(pointer+"/"+name, "request.missing", "the text is empty")
	}
	return s
}
