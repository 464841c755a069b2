package va

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type caaCase struct {
	name, want string
	request    Request
	records    []string
}

// caaCases reads testdata/caa.txt.
func caaCases(t testing.TB) []caaCase {
	t.Helper()
	var all []caaCase
	for _, line := range lines(t, "caa.txt") {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "":
			continue
		case "case":
			all = append(all, caaCase{name: rest, request: request(HTTP01)})
			continue
		}
		c := &all[len(all)-1]
		switch word {
		case "wildcard":
			c.request.Identifier, c.request.Method = "*.shop.example.com", DNS01
		case "s-mime":
			c.request.CertificateType = SMIME
		case "no-method":
			c.request.Method = 0
		case "method":
			m, err := ParseMethod(rest)
			require.NoError(t, err)
			c.request.Method = m
		case "want":
			c.want = rest
		default:
			c.records = append(c.records, "shop.example.com.\t300\tIN\tCAA\t"+line)
		}
	}
	require.Greater(t, len(all), 100)
	return all
}

// Holds: CAA-02, CAA-03, CAA-04, CAA-10, C2, C4, C5, C7
func TestRFC8659_4_Evaluation(t *testing.T) {
	for _, c := range caaCases(t) {
		t.Run(c.name, func(t *testing.T) {
			permits, problem := EvaluateCAA(c.records, c.request)
			number, permitted := strings.CutPrefix(c.want, "permits ")
			if !permitted {
				require.Equal(t, c.want, code(problem))
				require.Empty(t, permits)
				require.NotEmpty(t, problem.Rules)
				return
			}
			require.Nil(t, problem)
			n, err := strconv.Atoi(number)
			require.NoError(t, err)
			if n == 0 {
				require.Empty(t, permits)
				return
			}
			require.Equal(t, c.records[n-1], permits)
		})
	}
}

// TestRFC8659_4_OrderDoesNotMatter: an RRset is a set.
func TestRFC8659_4_OrderDoesNotMatter(t *testing.T) {
	for _, c := range caaCases(t) {
		var turned []string
		for i := range c.records {
			turned = append(turned, c.records[len(c.records)-1-i])
		}
		there, problem := EvaluateCAA(c.records, c.request)
		back, turnedProblem := EvaluateCAA(turned, c.request)
		require.Equal(t, there == "", back == "", c.name)
		require.Equal(t, code(problem), code(turnedProblem), c.name)
	}
}

func TestRecordsThatAreNotCAAPermitNobody(t *testing.T) {
	for _, text := range []string{
		"", "shop.example.com.", `shop.example.com. 300 CH CAA 0 issue "ca.example"`,
		`shop.example.com. 300 IN TXT 0 issue "ca.example"`,
		`shop.example.com. 300 IN CAA -1 issue "ca.example"`, `shop.example.com. 300 IN CAA 0 issue "ca.example" x`,
		`shop.example.com. 300 IN CAA 0 issue "ca.example`, `shop.example.com. 300 IN CAA 0 issue "`,
		`shop.example.com. 300 IN CAA 0 issue "a\"`,
		`shop.example.com. 300 IN CAA 0 issue "a"b"`, `shop.example.com. 300 IN CAA 0 issue "a\25"`,
		`shop.example.com. 300 IN CAA 0 issue "a\256"`,
	} {
		permits, problem := EvaluateCAA([]string{text}, request(HTTP01))
		require.Empty(t, permits)
		require.Equal(t, "caa.malformed", code(problem), "%q", text)
	}
}

// The grammar of RFC 8659 section 4.2 once more, as one expression: a second opinion on parseIssue.
const (
	abnfLabel     = `[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*`
	abnfParameter = abnfLabel + `[ \t]*=[ \t]*[!-:<-~]*`
	abnfIssue     = `^[ \t]*(?:` + abnfLabel + `(?:\.` + abnfLabel + `)*[ \t]*)?` +
		`(?:;[ \t]*(?:` + abnfParameter + `(?:[ \t]*;[ \t]*` + abnfParameter + `)*[ \t]*)?)?$`
)

func FuzzIssueValue(f *testing.F) {
	grammar := regexp.MustCompile(abnfIssue)
	for _, c := range caaCases(f) {
		for _, r := range c.records {
			if p, err := parseProperty(r); err == nil {
				f.Add(p.value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, value string) {
		issuer, parameters, err := parseIssue(value)
		require.Equal(t, grammar.MatchString(value), err == nil, "%q: %v", value, err)
		if err != nil {
			return
		}
		// What was read, written again, reads the same.
		again := issuer + ";"
		for i, p := range parameters {
			again += strings.Repeat(";", min(i, 1)) + p.tag + "=" + p.value
		}
		issuer2, parameters2, err := parseIssue(again)
		require.NoError(t, err)
		require.Equal(t, issuer, issuer2)
		require.Equal(t, parameters, parameters2)
	})
}

func FuzzEvaluateCAA(f *testing.F) {
	for _, c := range caaCases(f) {
		f.Add(strings.Join(c.records, "\n"), c.request.Wildcard(), c.request.CertificateType == SMIME)
	}
	f.Fuzz(func(t *testing.T, text string, wildcard, mail bool) {
		req := request(DNS01)
		// idle is a property of the other type, which changes nothing.
		idle := `x. 0 IN CAA 128 issuemail "%%%"`
		if mail {
			req.CertificateType, idle = SMIME, `x. 0 IN CAA 128 issue "%%%"`
		}
		if wildcard {
			req.Identifier = "*.shop.example.com"
		}
		records := strings.Split(text, "\n")
		permits, problem := EvaluateCAA(records, req)
		beside, besideProblem := EvaluateCAA(append(slices.Clone(records), idle), req)
		require.Equal(t, permits, beside)
		require.Equal(t, problem, besideProblem)
		if problem != nil {
			require.Empty(t, permits)
			return
		}
		require.False(t, mail && wildcard)
		if permits != "" {
			require.Contains(t, records, permits)
		}
		// Another critical property can only take the permission away.
		_, problem = EvaluateCAA(append(records, `x. 0 IN CAA 128 fuzzunknown ""`), req)
		require.Equal(t, "caa.critical", code(problem))
		// Nor does a permission survive when only another CA is meant.
		req.Issuers = []string{"nobody.invalid"}
		again, problem := EvaluateCAA(records, req)
		require.True(t, again == "" || strings.Contains(strings.ToLower(text), "nobody.invalid"), "%v", problem)
	})
}
