package va

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weppos/publicsuffix-go/publicsuffix"
)

// Holds: DCV-02, DCV-19, DCV-27, DCV-28, D2
func TestBR_4_2_2_NamesThatAreAdmitted(t *testing.T) {
	checked := 0
	for _, line := range lines(t, "names.txt") {
		if line == "" {
			continue
		}
		c := columns(line)
		require.Len(t, c, 3, line)
		t.Run(c[0]+" "+c[1], func(t *testing.T) {
			method, err := ParseMethod(c[1])
			require.NoError(t, err)
			req := request(method)
			req.Identifier = c[0]
			p := Admit(req, now)
			require.Equal(t, c[2], code(p), "%v", p)
			if p != nil {
				require.Equal(t, "identifier", p.Field)
				require.NotEmpty(t, p.Rules)
			}
		})
		checked++
	}
	require.Greater(t, checked, 70)
}

func TestRFC1035_2_3_4_Lengths(t *testing.T) {
	label := strings.Repeat("a", 63)
	name := func(n int) string { // n characters, below example.com
		s := strings.Repeat(label+".", 4)
		return s[len(s)-(n-len("example.com")):] + "example.com"
	}
	for what, c := range map[string]struct {
		name   string
		method Method
		want   string
	}{
		"label of 63":                         {label + ".com", HTTP01, "ok"},
		"label of 64":                         {label + "a.com", HTTP01, "name.syntax"},
		"name of 253":                         {name(253), HTTP01, "ok"},
		"name of 254":                         {name(254), HTTP01, "name.syntax"},
		"name of 237 with the label in front": {name(237), DNS01, "ok"},
		"name of 238 with the label in front": {name(238), DNS01, "name.syntax"},
	} {
		t.Run(what, func(t *testing.T) {
			req := request(c.method)
			req.Identifier = c.name
			require.Equal(t, c.want, code(Admit(req, now)))
		})
	}
	require.Equal(t, "ok", code(AdmitName("*."+name(251))))
	require.Equal(t, "name.syntax", code(AdmitName("*."+name(252))), "no name has room for a label in the asterisk's place")
	caa := recheck(HTTP01)
	caa.Request.Identifier, caa.Request.Method = "*."+name(252), 0
	require.Equal(t, "name.syntax", code(caa.Admit(now)))
}

func TestAProblemIsShortWhateverTheNameIs(t *testing.T) {
	for _, name := range []string{strings.Repeat("a.", 1<<20), "*." + strings.Repeat("*", 1<<20),
		"fe80::1%" + strings.Repeat("a", 1<<20)} {
		req := request(DNS01)
		req.Identifier = name
		p := Admit(req, now)
		require.NotNil(t, p)
		require.Less(t, len(p.Detail)+len(p.Name), 2048)
	}
}

// Holds: DCV-12, D6
func TestBR_1_6_1_TokenIsRefusedAfterThirtyDays(t *testing.T) {
	for what, c := range map[string]struct {
		created time.Time
		want    string
	}{
		"new":                            {now, "ok"},
		"a second short of thirty days":  {now.Add(-TokenLife + time.Second), "ok"},
		"thirty days":                    {now.Add(-TokenLife), "request.token-age"},
		"a year":                         {now.AddDate(-1, 0, 0), "request.token-age"},
		"in the skew of another clock":   {now.Add(TokenSkew), "ok"},
		"in the future":                  {now.Add(TokenSkew + time.Second), "request.token-age"},
		"at no known time":               {time.Time{}, "request.token-age"},
		"so far ahead that it overflows": {now.AddDate(1000, 0, 0), "request.token-age"},
		"so long ago that it overflows":  {now.AddDate(-1000, 0, 0), "request.token-age"},
	} {
		t.Run(what, func(t *testing.T) {
			req := request(HTTP01)
			req.TokenCreated = c.created
			p := Admit(req, now)
			require.Equal(t, c.want, code(p))
			if p != nil {
				require.Equal(t, "token_created", p.Field)
				require.Equal(t, []string{"DCV-12"}, p.Rules)
			}
		})
	}
}

// Holds: DCV-01, DCV-12
func TestRequestsThatAreNotAdmitted(t *testing.T) {
	withToken := func(token string) func(*Request) {
		return func(r *Request) { r.Token, r.KeyAuthorization = token, token+"."+thumb }
	}
	for what, c := range map[string]struct {
		change      func(*Request)
		code, field string
	}{
		"no method":            {func(r *Request) { r.Method = 0 }, "request.method", "method"},
		"an unknown method":    {func(r *Request) { r.Method = 200 }, "request.method", "method"},
		"no token":             {withToken(""), "request.token", "token"},
		"a token of 21":        {withToken(strings.Repeat("a", 21)), "request.token", "token"},
		"a token of 257":       {withToken(strings.Repeat("a", 257)), "request.token", "token"},
		"a token with padding": {withToken(strings.Repeat("a", 22) + "=="), "request.token", "token"},
		"a token of base64":    {withToken(strings.Repeat("a", 22) + "+"), "request.token", "token"},
		"a token with a slash": {withToken(strings.Repeat("a", 22) + "/../x"), "request.token", "token"},
		"a token with a break": {withToken(strings.Repeat("a", 22) + "\r\nHost: x"), "request.token", "token"},
		"no key authorization": {func(r *Request) { r.KeyAuthorization = "" }, "request.key-authorization",
			"key_authorization"},
		"another token's": {func(r *Request) { r.KeyAuthorization = "x" + secret }, "request.key-authorization",
			"key_authorization"},
		"the token alone": {func(r *Request) { r.KeyAuthorization = token }, "request.key-authorization",
			"key_authorization"},
		"no thumbprint": {func(r *Request) { r.KeyAuthorization = token + "." }, "request.key-authorization",
			"key_authorization"},
		"a short thumbprint": {func(r *Request) { r.KeyAuthorization = secret[:len(secret)-1] },
			"request.key-authorization", "key_authorization"},
		"a long thumbprint": {func(r *Request) { r.KeyAuthorization = secret + "A" }, "request.key-authorization",
			"key_authorization"},
		"a thumbprint of base64": {func(r *Request) { r.KeyAuthorization = secret[:len(secret)-2] + "+I" },
			"request.key-authorization", "key_authorization"},
		"a thumbprint with a break": {func(r *Request) { r.KeyAuthorization = secret[:len(secret)-2] + "\nI" },
			"request.key-authorization", "key_authorization"},
		"a thumbprint with spare bits": {func(r *Request) { r.KeyAuthorization = secret[:len(secret)-1] + "J" },
			"request.key-authorization", "key_authorization"},
		"no account":         {func(r *Request) { r.AccountURI = "" }, "request.account", "account_uri"},
		"a relative account": {func(r *Request) { r.AccountURI = "/acct/1" }, "request.account", "account_uri"},
		"an account without host": {func(r *Request) { r.AccountURI = "https:///acct/1" }, "request.account",
			"account_uri"},
		"an account with a blank": {func(r *Request) { r.AccountURI = "https://ca.example/a b" }, "request.account",
			"account_uri"},
		"no issuer": {func(r *Request) { r.Issuers = nil }, "request.issuers", "issuers"},
		"an empty issuer": {func(r *Request) { r.Issuers = []string{"ca.example", ""} }, "request.issuers",
			"issuers"},
		"an issuer in upper case": {func(r *Request) { r.Issuers = []string{"CA.example"} }, "request.issuers",
			"issuers"},
		"an issuer that is a URL": {func(r *Request) { r.Issuers = []string{"https://ca.example"} },
			"request.issuers", "issuers"},
		"an issuer with a dot end": {func(r *Request) { r.Issuers = []string{"ca.example."} }, "request.issuers",
			"issuers"},
	} {
		t.Run(what, func(t *testing.T) {
			req := request(HTTP01)
			require.Nil(t, Admit(req, now))
			c.change(&req)
			p := Admit(req, now)
			require.Equal(t, c.code, code(p))
			require.Equal(t, c.field, p.Field)
			require.NotEmpty(t, p.Detail)
		})
	}
	none := request(0)
	require.Contains(t, Admit(none, now).Detail, "2026-11-21", "the day is named")
	acct := request(HTTP01)
	acct.AccountURI = "acct:user@ca.example" // RFC 7565, for accounts that are not ACME's
	require.Nil(t, Admit(acct, now))
}

// TestThePublicSuffixListHoldsWhatIsReliedUpon: the library keeps one rule per name, so that a private rule, or a
// second one of the registry, could hide the one that counts.
//
// Holds: DCV-27
func TestThePublicSuffixListHoldsWhatIsReliedUpon(t *testing.T) {
	seen := map[string]bool{}
	for _, rule := range publicsuffix.DefaultRules() {
		require.False(t, seen[rule.Value], "two rules for %q", rule.Value)
		seen[rule.Value] = true
		if rule.Private {
			continue
		}
		base := rule.Value
		if rule.Type == publicsuffix.ExceptionType {
			require.Nil(t, checkWildcardBase(base), "*.%s", base)
			continue
		}
		require.Equal(t, "name.public-suffix", code(checkWildcardBase(base)), "*.%s", base)
	}
	require.Greater(t, len(seen), 8000)
	require.Equal(t, "name.public-suffix", code(checkWildcardBase("nosuchtld")),
		"no rule is invented, and no label is free")
}

func FuzzNames(f *testing.F) {
	for _, line := range lines(f, "names.txt") {
		if line != "" {
			f.Add(columns(line)[0])
		}
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil {
			return
		}
		require.LessOrEqual(t, len(name), 253)
		require.Regexp(t, `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, name)
		for _, no := range []string{"onion", "localhost", "local", "test", "invalid", "in-addr.arpa", "ip6.arpa"} {
			require.False(t, within(name, no), name)
		}
	})
}
