package boulder

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	corepb "github.com/letsencrypt/boulder/core/proto"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
	"github.com/quorate/quorate/va/resolver"
)

// Problem types as Boulder has them: the last part of RFC 8555's (section 6.7).
const (
	typeCAA          = "caa"
	typeConnection   = "connection"
	typeDNS          = "dns"
	typeInternal     = "serverInternal"
	typeMalformed    = "malformed"
	typeRejected     = "rejectedIdentifier"
	typeTLS          = "tls"
	typeUnauthorized = "unauthorized"
	typeUnsupported  = "unsupportedIdentifier"
)

const (
	// maxDetail bounds what a subscriber is told, in octets: Boulder stores it with the authorization.
	maxDetail = 2000
	// maxServers bounds the name servers listed in a validation record.
	maxServers = 8
)

// types gives Boulder's problem type for each area of codes, or for one code where it is another than its area's.
func types() map[string]string {
	return map[string]string{
		"request.": typeMalformed, "name.": typeRejected, "name.address": typeUnsupported, "name.onion": typeUnsupported,
		"dns.": typeDNS, "dnssec.": typeDNS, "address.": typeDNS, "address.unreachable": typeConnection,
		"http.": typeConnection, "http.status": typeUnauthorized, "http.body": typeUnauthorized, "http.size": typeUnauthorized,
		"http.echo": typeUnauthorized,
		"txt.":      typeUnauthorized,
		"tls.":      typeUnauthorized, "tls.handshake": typeTLS, "tls.timeout": typeConnection,
		"caa.": typeCAA, "caa.lookup": typeDNS, "caa.bogus": typeDNS,
	}
}

// problemType gives the type of a code; what is neither the subscriber's nor the network's doing is serverInternal.
func problemType(code string) string {
	if t, ok := strings.CutPrefix(code, saidArea); ok && slices.Contains(saidTypes(), t) {
		return t
	}
	table := types()
	if t, ok := table[code]; ok {
		return t
	}
	area, _, _ := strings.Cut(code, ".")
	if t, ok := table[area+"."]; ok {
		return t
	}
	return typeInternal
}

// httpStatus is the status that Boulder's WFE gives problems of a type.
func httpStatus(t string) int32 {
	switch t {
	case typeUnauthorized, typeCAA:
		return http.StatusForbidden
	case typeInternal:
		return http.StatusInternalServerError
	default:
		return http.StatusBadRequest
	}
}

func problem(t, format string, args ...any) *corepb.ProblemDetails {
	return &corepb.ProblemDetails{ProblemType: t, Detail: cut(fmt.Sprintf(format, args...), maxDetail), HttpStatus: httpStatus(t)}
}

// explain says why a decision is not granted, to a subscriber: our code and its sentence, with Boulder's words in front where it was
// not the primary that saw it. It never gives nil.
func explain(d mpic.Decision, of func(mpic.View) (va.Outcome, *va.Problem)) *corepb.ProblemDetails {
	reasons := d.Reasons()
	if len(reasons) == 0 {
		return problem(typeInternal, "decision.refused: the validation was not granted")
	}
	weightiest := reasons[0]
	told := weightiest.Error()
	if !strings.HasPrefix(weightiest.Code, "quorum.") {
		return problem(problemType(weightiest.Code), "%s", told)
	}
	seen := weightiest
	if v := dissenter(d, of); v != nil {
		_, seen = of(*v)
		told = fmt.Sprintf("%s; at %s %s", told, v.Perspective, seen.Error())
	}
	return problem(problemType(seen.Code), "During secondary validation: %s", told)
}

// dissenter gives the remote whose view explains best why the quorum was missed: one that looked and saw something else, before one
// that could not look.
func dissenter(d mpic.Decision, of func(mpic.View) (va.Outcome, *va.Problem)) *mpic.View {
	var best *mpic.View
	for _, v := range d.Views() {
		outcome, p := of(v)
		if v.Role != mpic.RemoteRole || p == nil {
			continue
		}
		if outcome == va.Fail {
			return &v
		}
		if best == nil {
			best = &v
		}
	}
	return best
}

func dcvOf(v mpic.View) (va.Outcome, *va.Problem) { return v.DCV, v.DCVProblem }
func caaOf(v mpic.View) (va.Outcome, *va.Problem) { return v.CAA, v.CAAProblem }

// records gives what the primary saw in the form in which Boulder stores it with the authorization. As with Boulder, what came to no connection
// has no record.
func records(req va.Request, r va.Report) []*corepb.ValidationRecord {
	switch req.Method {
	case va.DNS01:
		if r.DCV.Outcome != va.Pass {
			return nil
		}
		return []*corepb.ValidationRecord{withServers(&corepb.ValidationRecord{Hostname: req.FQDN()}, r.DCV.Lookups)}
	case va.HTTP01:
		var out []*corepb.ValidationRecord
		for i, f := range r.DCV.Fetches {
			u, err := url.Parse(f.URL)
			if err != nil {
				continue
			}
			record, ok := connected(u.Hostname(), f.Address, f.Considered)
			if !ok {
				continue
			}
			record.Url = f.URL
			out = append(out, withServers(record, pair(r.DCV.Lookups, i)))
		}
		return out
	case va.TLSALPN01:
		for i, h := range r.DCV.Handshakes {
			if record, ok := connected(req.FQDN(), h.Address, h.Considered); ok {
				return []*corepb.ValidationRecord{withServers(record, pair(r.DCV.Lookups, i))}
			}
		}
	}
	return nil
}

// pair gives the lookups of the i-th connection: see va.DCVFinding.Lookups.
func pair(lookups []resolver.Lookup, i int) []resolver.Lookup {
	return lookups[min(2*i, len(lookups)):min(2*i+2, len(lookups))]
}

// connected makes the record of a connection; false where none was made.
func connected(host, at string, considered []string) (*corepb.ValidationRecord, bool) {
	used, err := netip.ParseAddrPort(at)
	if err != nil || host == "" {
		return nil, false
	}
	record := &corepb.ValidationRecord{Hostname: host, Port: fmt.Sprint(used.Port()), AddressUsed: []byte(used.Addr().String())}
	for _, text := range considered {
		if a, err := netip.ParseAddr(text); err == nil {
			record.AddressesResolved = append(record.AddressesResolved, a.AsSlice())
		}
	}
	return record, true
}

// withServers lists the name servers that gave the answers. Boulder has the resolvers here that it asked; the primary is its own.
func withServers(record *corepb.ValidationRecord, lookups []resolver.Lookup) *corepb.ValidationRecord {
	for _, l := range lookups {
		for _, q := range slices.Backward(l.Queries) {
			if q.Rcode == "" || q.Error != "" {
				continue
			}
			if !slices.Contains(record.Authorities, q.Server) && len(record.Authorities) < maxServers {
				record.Authorities = append(record.Authorities, q.Server)
			}
			break
		}
	}
	record.ResolverAddrs = slices.Clone(record.Authorities)
	return record
}

// sane holds records to what Boulder requires of a validation that passed, and to the name that was asked about: an answer without them
// is no pass, neither of ours nor of a remoteva's (F6).
func sane(req va.Request, records []*corepb.ValidationRecord) error {
	if len(records) == 0 {
		return errors.New("there is no validation record")
	}
	if req.Method != va.HTTP01 && len(records) > 1 {
		return fmt.Errorf("%d validation records, where %s has one", len(records), req.Method)
	}
	for i, r := range records {
		if r == nil {
			return fmt.Errorf("the validation record %d is empty", i+1)
		}
		if r.Hostname == "" || i == 0 && r.Hostname != req.FQDN() { // C1
			return fmt.Errorf("the validation record %d is of %q, where %q was asked", i+1, cut(r.Hostname, 260), req.FQDN())
		}
		if req.Method == va.DNS01 {
			continue
		}
		used, err := netip.ParseAddr(string(r.AddressUsed))
		if err != nil || !slices.ContainsFunc(r.AddressesResolved, func(b []byte) bool {
			a, ok := netip.AddrFromSlice(b)
			return ok && a.Unmap() == used.Unmap()
		}) {
			return fmt.Errorf("the validation record %d has no address used, or one that was not resolved", i+1)
		}
		if r.Port == "" || (r.Url != "") != (req.Method == va.HTTP01) {
			return fmt.Errorf("the validation record %d has no port, or has the URL %q for %s", i+1, cut(r.Url, 260), req.Method)
		}
	}
	if first := "http://" + req.FQDN() + "/.well-known/acme-challenge/" + req.Token; req.Method == va.HTTP01 && records[0].Url != first {
		return fmt.Errorf("the first validation record is of %q, where %q was to be fetched", cut(records[0].Url, 260), first)
	}
	return nil
}
