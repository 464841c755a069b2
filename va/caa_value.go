package va

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// property is one CAA record (RFC 8659 section 4.1).
type property struct {
	flags uint8
	// tag is in lower case: tags are matched without regard to case.
	tag string
	// value is the octets of the value, escapes resolved.
	value string
	// text is the record as it was given.
	text string
}

// String gives the record on one line for people: the library writes it with tabs.
func (p property) String() string { return strings.ReplaceAll(p.text, "\t", " ") }

// critical is the Issuer Critical flag; the other bits are reserved and ignored (RFC 8659 section 4.1).
const critical = 0x80

// known are the tags beside those that decide. They say nothing about an issuance of this type; being known, they may carry the
// critical flag (C7; RFC 8659 section 4.4; BR appendix A; RFC 9495; issuevmc of the BIMI requirements).
var known = []string{"issue", "issuewild", "issuemail", "issuevmc", "iodef", "contactemail", "contactphone"}

// decides tells whether properties with a tag, in lower case, decide on certificates of a type: issue and issuewild on those for
// TLS, issuemail alone on those for S/MIME, where the others restrict nothing (CAA-10, RFC 9495 section 4).
func (t CertificateType) decides(tag string) bool {
	switch t {
	case TLSServer:
		return tag == "issue" || tag == "issuewild"
	case SMIME:
		return tag == "issuemail"
	}
	return false
}

// Contact is an iodef property (RFC 8659 section 4.4): where a report of a refused request is to go.
type Contact struct {
	// Value is a URL; it comes from the DNS and may be anything.
	Value string
	// Plain tells that the value is visible ASCII that the record's text does not escape. No URL needs more, and the presentation
	// format of the DNS library does not tell a backslash from an escape, so that what is not plain is no proof of an address.
	Plain bool
}

// Contacts gives the iodef properties of an RRset in its order. records is as in EvaluateCAA; one that cannot be read is none. It is
// pure.
func Contacts(records []string) (all []Contact) {
	for _, r := range records {
		if p, err := parseProperty(r); err == nil && p.tag == "iodef" {
			all = append(all, Contact{p.value, !strings.Contains(r, `\`) && printable(p.value)})
		}
	}
	return all
}

// Forbidding gives the records of an RRset that EvaluateCAA refuses for: those that cannot be read and the critical ones that are
// unknown; where there is none, the properties that decide. It is pure.
func Forbidding(records []string, req Request) (all []string) {
	var deciding, wild []string
	for _, r := range records {
		p, err := parseProperty(r)
		switch {
		case err != nil:
			all = append(all, r)
		case p.tag == "issuewild" && req.CertificateType.decides(p.tag):
			wild = append(wild, r)
		case req.CertificateType.decides(p.tag):
			deciding = append(deciding, r)
		case !slices.Contains(known, p.tag) && p.flags&critical != 0:
			all = append(all, r)
		}
	}
	switch {
	case len(all) > 0:
		return all
	case req.Wildcard() && len(wild) > 0: // CAA-02
		return wild
	}
	return deciding
}

// EvaluateCAA decides by RFC 8659 section 4, RFC 8657 and, for S/MIME, RFC 9495 whether an RRset permits the issuance that the
// request asks for. records is the relevant RRset in presentation format, one record each with owner, TTL, class and type; it is
// empty where there is none. permits is the record that permits, empty where none is needed. It is pure.
//
// Whatever cannot be read does not permit. A property with parameters that are not known permits: RFC 8659 section 4.2
// leaves them to the issuer.
//
// RFC 8657 defines accounturi and validationmethods for issue and issuewild, and RFC 9495 defines no parameters. Whoever writes them
// into an issuemail property means to restrict it, so they are held to there too.
func EvaluateCAA(records []string, req Request) (permits string, problem *Problem) {
	if p := checkCertificateType(req); p != nil {
		return "", p
	}
	var deciding, wild []property
	for _, r := range records {
		p, err := parseProperty(r)
		switch {
		case err != nil:
			return "", refuse("caa.malformed", "%q is not a CAA record: %v", cut(r, 300), err)
		case p.tag == "issuewild" && req.CertificateType.decides(p.tag):
			wild = append(wild, p)
		case req.CertificateType.decides(p.tag):
			deciding = append(deciding, p)
		case slices.Contains(known, p.tag):
		case p.flags&critical != 0: // CAA-03
			return "", refuse("caa.critical",
				"the property %q is critical and unknown, so that no certificate may be issued: %s", p.tag, p)
		}
	}
	relevant := deciding
	// CAA-02, C2: issuewild replaces issue for wildcards, and is nothing to other names.
	if req.Wildcard() && len(wild) > 0 {
		relevant = wild
	}
	if len(relevant) == 0 {
		return "", nil
	}
	var worst *Problem
	for _, p := range relevant {
		refusal := p.refuses(req)
		if refusal == nil {
			return p.text, nil
		}
		if worst == nil || weight(refusal) > weight(worst) {
			worst = refusal
		}
	}
	return "", worst
}

// weight orders refusals: the subscriber is told the one that came closest to permission.
func weight(p *Problem) int {
	return slices.Index([]string{"caa.forbidden", "caa.malformed", "caa.method", "caa.account"}, p.Code)
}

// refuses tells why an issue, issuewild or issuemail property does not permit; nil when it does.
func (p property) refuses(req Request) *Problem {
	issuer, parameters, err := parseIssue(p.value)
	if err != nil {
		return refuse("caa.malformed", "%s permits nobody: %v", p, err)
	}
	if issuer == "" || !slices.Contains(req.Issuers, strings.ToLower(issuer)) { // C2: compared whole
		return refuse("caa.forbidden", "the CAA records name other issuers than %s: %s", strings.Join(req.Issuers, ", "), p)
	}
	// CAA-04. C4: tags have no case, and two of a kind can not both be meant, so that nothing satisfies them.
	account, method := pick(parameters, "accounturi"), pick(parameters, "validationmethods")
	switch {
	case len(account) > 1 || len(account) == 1 && (account[0] == "" || !req.account(account[0])):
		return refuse("caa.account", "%s permits another account than %s", p, req.AccountURI)
	case len(method) > 0 && req.Method.Section() == "": // CAA alone need not name one, and then none is among those listed
		return refuse("caa.method", "%s permits some validation methods, and the request names none", p)
	case len(method) > 1 || len(method) == 1 && !methodListed(method[0], req.Method):
		return refuse("caa.method", "%s does not permit validation by %s", p, req.Method)
	}
	return nil
}

// methodListed reads the value of validationmethods (RFC 8657 section 4): labels with commas between them. The method's
// ACME label counts, and the label ca-tbr-<n> after the last number of its BR section (Ballot SC-098v2). One bad label
// spoils the whole list.
func methodListed(list string, m Method) bool {
	section := m.Section()
	names := []string{m.String(), "ca-tbr-" + section[strings.LastIndexByte(section, '.')+1:]}
	found := false
	for label := range strings.SplitSeq(list, ",") {
		if label == "" || !alphanumericOr(label, '-', '-') {
			return false
		}
		found = found || slices.Contains(names, strings.ToLower(label))
	}
	return found && section != ""
}

type parameter struct{ tag, value string }

func pick(parameters []parameter, tag string) (values []string) {
	for _, p := range parameters {
		if strings.EqualFold(p.tag, tag) {
			values = append(values, p.value)
		}
	}
	return values
}

const wsp = " \t"

// parseIssue reads the value of an issue, issuewild or issuemail property by the grammar of RFC 8659 section 4.2, which is also
// that of RFC 9495 section 3. issuer is empty where the value names nobody.
func parseIssue(value string) (issuer string, parameters []parameter, err error) {
	issuer, rest, hasParameters := strings.Cut(value, ";")
	issuer = strings.Trim(issuer, wsp)
	if issuer != "" && !issuerDomain(issuer) {
		return "", nil, fmt.Errorf("%q is not an issuer domain name", issuer)
	}
	if !hasParameters || strings.Trim(rest, wsp) == "" {
		return issuer, nil, nil
	}
	for text := range strings.SplitSeq(rest, ";") {
		tag, v, ok := strings.Cut(strings.Trim(text, wsp), "=")
		tag, v = strings.TrimRight(tag, wsp), strings.TrimLeft(v, wsp)
		if !ok || !ldh(tag) || !printable(v) {
			return "", nil, fmt.Errorf("%q is not a parameter", text)
		}
		parameters = append(parameters, parameter{tag, v})
	}
	return issuer, parameters, nil
}

// issuerDomain is issuer-domain-name of RFC 8659 section 4.2.
func issuerDomain(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !ldh(label) {
			return false
		}
	}
	return true
}

// ldh is the label and the tag of RFC 8659 section 4.2: letters, digits, and hyphens between them.
func ldh(s string) bool {
	return s != "" && s[0] != '-' && s[len(s)-1] != '-' && alphanumericOr(s, '-', '-')
}

// alphanumericOr tells whether s has nothing but ASCII letters, digits and the two other characters.
func alphanumericOr(s string, this, that byte) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == this, c == that:
		default:
			return false
		}
	}
	return true
}

// parseProperty reads one record in presentation format (RFC 1035 section 5.1): owner, TTL, class, CAA, flags, tag, and
// the value in quotes. One blank stands before the tag and one behind it: the DNS library does not escape a blank in a tag, so that
// with more of them nobody knows whose tag it is.
func parseProperty(text string) (property, error) {
	rest := text
	var fields [6]string
	for i := range fields {
		if i == len(fields)-1 {
			rest = rest[1:]
		} else {
			rest = strings.TrimLeft(rest, wsp)
		}
		n := strings.IndexAny(rest, wsp)
		if n <= 0 {
			return property{}, fmt.Errorf("it has fewer than %d fields before the value", len(fields))
		}
		fields[i], rest = rest[:n], rest[n:]
	}
	if fields[2] != "IN" || fields[3] != "CAA" {
		return property{}, fmt.Errorf("class and type are %s %s", fields[2], fields[3])
	}
	flags, err := strconv.ParseUint(fields[4], 10, 8)
	if err != nil {
		return property{}, fmt.Errorf("flags %q are not a number up to 255", fields[4])
	}
	value, err := unquote(strings.TrimRight(rest[1:], wsp))
	if err != nil {
		return property{}, err
	}
	return property{flags: uint8(flags), tag: strings.ToLower(fields[5]), value: value, text: text}, nil
}

// unquote resolves the escapes of a quoted character-string: \DDD and \X.
func unquote(s string) (string, error) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", fmt.Errorf("the value is not in quotes")
	}
	s = s[1 : len(s)-1]
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return "", fmt.Errorf("a quote inside the value is not escaped")
		case s[i] != '\\':
			out = append(out, s[i])
		case i+1 >= len(s):
			return "", fmt.Errorf("the value ends in the middle of an escape")
		case s[i+1] < '0' || s[i+1] > '9':
			out = append(out, s[i+1])
			i++
		default:
			if i+4 > len(s) {
				return "", fmt.Errorf("the value ends in the middle of an escape")
			}
			n, err := strconv.ParseUint(s[i+1:i+4], 10, 8)
			if err != nil {
				return "", fmt.Errorf("%q is not an escape", s[i:i+4])
			}
			out = append(out, byte(n))
			i += 3
		}
	}
	return string(out), nil
}
