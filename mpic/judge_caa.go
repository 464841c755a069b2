package mpic

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/va"
)

// permission works out again, from the lookups of a CAA finding, whether they permit issuance: the climb of RFC 8659
// section 3 over the recorded answers, and then the property that permits. It returns the permitting property, empty
// where no name of the climb has CAA records.
func permission(req va.Request, f va.CAAFinding) (permits string, problem *va.Problem) {
	refuse := func(format string, args ...any) (string, *va.Problem) {
		return "", &va.Problem{Code: "caa.unproven", Rules: []string{"CAA-01", "MPIC-11"}, Detail: fmt.Sprintf(format, args...)}
	}
	i := 0
	for name := req.FQDN(); name != ""; name, i = parent(name), i+1 {
		if i == len(f.Lookups) {
			return refuse("there is no CAA lookup for %s", name)
		}
		records, err := answers(f.Lookups[i], name, "CAA")
		if err != nil {
			return refuse("%v", err)
		}
		if len(records) == 0 {
			continue
		}
		if f.Found != name || !slices.Equal(slices.Sorted(slices.Values(records)), slices.Sorted(slices.Values(f.Records))) {
			return refuse("the relevant records stand at %s, and the finding names others", name)
		}
		if i+1 < len(f.Lookups) {
			return refuse("the climb ended at %s, and there are lookups beyond it", name)
		}
		return va.EvaluateCAA(f.Records, req)
	}
	if i < len(f.Lookups) {
		return refuse("the climb ended at the top, and there are lookups beyond it")
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
