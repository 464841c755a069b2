package mpic

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// clockSkew is how far a perspective's clock may be behind the gate's. Its deadlines count by its own clock.
const clockSkew = time.Minute

// permission works out again, from the lookups of a CAA finding, whether they permit issuance: the climb of RFC 8659
// section 3 over the recorded answers, and then the property that permits. It returns the permitting property, empty
// where no name of the climb has CAA records, and the names whose failed lookups were excused.
func (a *asked) permission(f *va.CAAFinding) (permits string, excused []string, problem *va.Problem) {
	refuse := func(format string, args ...any) (string, []string, *va.Problem) {
		return "", nil, &va.Problem{Code: "caa.unproven", Rules: []string{"CAA-01", "MPIC-11"}, Detail: fmt.Sprintf(format, args...)}
	}
	i, failures := 0, f.Failures
	for name := a.fqdn; name != ""; name, i = parent(name), i+1 {
		if i == len(f.Lookups) {
			return refuse("there is no CAA lookup for %s", name)
		}
		l := &f.Lookups[i]
		if len(failures) > 0 && failures[0].Name == name {
			retried, err := a.excuse(f, *l, failures[0])
			if err != nil {
				return refuse("the failed lookup of %s CAA: %v", name, err)
			}
			failures = failures[1:]
			if retried == nil {
				excused = append(excused, name)
				continue // as the perspective does, for the reason given there
			}
			l = retried
		}
		records, err := answers(l, name, "CAA")
		if err != nil {
			return refuse("%v", err)
		}
		if len(records) == 0 {
			continue
		}
		if f.Found != name || !sameRecords(records, f.Records) {
			return refuse("the relevant records stand at %s, and the finding names others", name)
		}
		if i+1 < len(f.Lookups) || len(failures) > 0 {
			return refuse("the climb ended at %s, and there are lookups beyond it", name)
		}
		permits, problem = a.permits(f.Records)
		return permits, excused, problem
	}
	if i < len(f.Lookups) || len(failures) > 0 {
		return refuse("the climb ended at the top, and there are lookups beyond it")
	}
	if f.Found != "" || len(f.Records) != 0 {
		return refuse("the finding names records at %q that no lookup returned", f.Found)
	}
	return "", excused, nil
}

// excuse judges what was asked after a lookup had failed: CAA-06, at the primary and at a remote alike (BR 3.2.2.8 lets one
// or both have an acceptable failure). It gives the retry where that was answered, so that its answer counts, nil where
// the failure is permission, and an error where it is not.
func (a *asked) excuse(f *va.CAAFinding, first resolver.Lookup, failure va.LookupFailure) (retried *resolver.Lookup, err error) {
	switch {
	case a.Probe.CAALookupFailure != va.PermitProvenFailure:
		return nil, fmt.Errorf("the rule of this attempt is %q, so that nothing excuses it", a.Probe.CAALookupFailure)
	case f.Started.Before(a.Started.Add(-clockSkew)):
		return nil, errors.New("it was found before the attempt started")
	}
	until := f.Finished
	if a.Probe.Deadline.Before(until) {
		until = a.Probe.Deadline
	}
	if err := failure.Excuse(first, f.Started, until); err == nil {
		return nil, nil
	} else if first.Status != dnssec.Failure || !failure.Retry.Status.Usable() {
		return nil, fmt.Errorf("it is not excused: %w", err)
	}
	if r := failure.Retry; first.Started.Before(f.Started) || r.Started.Before(first.Finished) || r.Finished.After(until) {
		return nil, errors.New("the retry was not made after it, or not in time")
	}
	return &failure.Retry, nil
}

// sameRecords tells whether two lists hold the same records, in whatever order.
func sameRecords(a, b []string) bool {
	return slices.Equal(a, b) || slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// parent takes one label from the left; the root is not asked.
func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return rest
}
