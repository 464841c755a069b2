package mpic

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// permission works out again, from the lookups of a CAA finding, whether they permit issuance: the climb of RFC 8659
// section 3 over the recorded answers, and then the property that permits. It returns the permitting property, empty where
// no name of the climb has CAA records.
func permission(req va.Request, f va.CAAFinding) (permits string, problem *va.Problem) {
	refuse := func(format string, args ...any) (string, *va.Problem) {
		return "", &va.Problem{Code: "caa.unproven", Rules: []string{"CAA-01", "MPIC-11"}, Detail: fmt.Sprintf(format, args...)}
	}
	for name := req.FQDN(); name != ""; name = parent(name) {
		i := slices.IndexFunc(f.Lookups, func(l resolver.Lookup) bool { return l.Name == name+"." && l.Type == "CAA" })
		if i < 0 {
			return refuse("there is no CAA lookup for %s", name)
		}
		l := f.Lookups[i]
		if !l.Status.Usable() {
			return refuse("the CAA lookup for %s is %s", name, l.Status)
		}
		records, err := caaRecords(l.Answers)
		if err != nil {
			return refuse("the CAA lookup for %s holds what is no record: %v", name, err)
		}
		if len(records) == 0 {
			if f.Found == name {
				return refuse("the lookup for %s, named as the place of the relevant records, has none", name)
			}
			continue
		}
		if f.Found != name || !slices.Equal(slices.Sorted(slices.Values(records)), slices.Sorted(slices.Values(f.Records))) {
			return refuse("the relevant records stand at %s, and the finding names others", name)
		}
		return va.EvaluateCAA(f.Records, req)
	}
	if f.Found != "" || len(f.Records) != 0 {
		return refuse("the finding names records at %q that no lookup returned", f.Found)
	}
	return "", nil
}

// parent takes one label from the left; the root is not asked.
func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return rest
}

// caaRecords picks the CAA records of an answer in presentation format; alias records may stand before them. It parses
// them, since an owner name may hold anything, blanks too.
func caaRecords(answers []string) ([]string, error) {
	var out []string
	for _, a := range answers {
		rr, err := dns.NewRR(a)
		if err != nil {
			return nil, err
		}
		if rr == nil { // blank, or a comment
			return nil, fmt.Errorf("%q", a)
		}
		if rr.Header().Rrtype == dns.TypeCAA {
			out = append(out, a)
		}
	}
	return out, nil
}
