package differential

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// class is a kind of difference that differences.md explains. It holds for nothing but what it describes.
type class struct {
	name string
	// kinds are the zones that it concerns: the question's, or one that an alias leads to.
	kinds []kind
	is    func(a ask, ours, theirs verdict) bool
}

var classes = []class{
	{"iterations", []kind{"iterations-120", "iterations-600"}, func(_ ask, ours, theirs verdict) bool {
		return ours.status == "failure" && strings.HasPrefix(ours.why, "dnssec.nsec3-iterations: ") && theirs.usable()
	}},
	{"soa", []kind{"soa-tampered"}, func(_ ask, ours, theirs verdict) bool {
		return ours.usable() && theirs.status == "bogus"
	}},
	{"rcode-nxdomain", []kind{"says-no-name"}, func(_ ask, ours, theirs verdict) bool {
		return ours.usable() && theirs.status == "bogus"
	}},
	{"rcode-nxdomain-after-alias", []kind{"says-no-name"}, func(_ ask, ours, theirs verdict) bool {
		return ours.status == theirs.status && ours.rcode == "NOERROR" && theirs.rcode == "NXDOMAIN" &&
			len(ours.data) > 0 && slices.Equal(ours.data, theirs.data)
	}},
	{"nothing-below-nxdomain", []kind{"says-no-name", "caa-servfail"}, func(a ask, ours, theirs verdict) bool {
		empty := !slices.ContainsFunc(theirs.data, func(rr string) bool { return strings.Contains(rr, dns.Type(a.qtype).String()) })
		return theirs.usable() && theirs.rcode == "NXDOMAIN" && empty &&
			(ours.status == theirs.status || strings.HasPrefix(ours.why, "dns.no-server: "))
	}},
	{"rcode-noerror", []kind{"says-no-error"}, func(_ ask, ours, theirs verdict) bool {
		return ours.usable() && ours.rcode == "NXDOMAIN" && (theirs.status == "bogus" || theirs.usable() && theirs.rcode == "NOERROR")
	}},
	{"dname-twice", []kind{"all-twice"}, func(_ ask, ours, theirs verdict) bool {
		return ours.usable() && hasDNAME(ours) && theirs.status == "failure"
	}},
	{"no-aa", []kind{"lame"}, func(_ ask, ours, theirs verdict) bool {
		return strings.HasPrefix(ours.why, "dns.no-server: not authoritative ") && theirs.usable()
	}},
	{"other-records", []kind{"foreign-records"}, func(_ ask, ours, theirs verdict) bool {
		return theirs.usable() && (strings.HasPrefix(ours.why, "dns.no-server: not authoritative ") ||
			strings.HasPrefix(ours.why, "dns.no-server: ") && strings.HasSuffix(ours.why, " with other records"))
	}},
	{"no-edns-below-signed", []kind{"unsigned-no-edns"}, func(_ ask, ours, theirs verdict) bool {
		return strings.HasPrefix(ours.why, "dns.no-server: ") && strings.HasSuffix(ours.why, " with FORMERR") &&
			theirs.status == "insecure"
	}},
	{"opt-out-span", []kind{"one-proof"}, func(_ ask, ours, theirs verdict) bool {
		return ours.status == "insecure" && strings.HasPrefix(ours.why, "dnssec.opt-out: ") && theirs.status == "bogus"
	}},
	{"two-cnames", []kind{"tampered"}, func(_ ask, ours, theirs verdict) bool {
		return strings.HasPrefix(ours.why, "dns.alias-ambiguous: ") && theirs.status == "insecure"
	}},
	{"dname-remembered", []kind{"caa-servfail"}, func(a ask, ours, theirs verdict) bool {
		return a.qtype == dns.TypeCAA && strings.HasPrefix(ours.why, "dns.no-server: ") && theirs.usable() && hasDNAME(theirs)
	}},
}

func hasDNAME(v verdict) bool {
	return slices.ContainsFunc(v.data, func(rr string) bool { return strings.Contains(rr, " in dname ") })
}

// explain gives the class of a difference, or nothing.
func explain(p plan, a ask, ours, theirs verdict) string {
	touched := p.touched(a, ours, theirs)
	for _, c := range classes {
		concerns := slices.ContainsFunc(touched, func(k kind) bool { return slices.Contains(c.kinds, k) })
		if concerns && c.is(a, ours, theirs) {
			return c.name
		}
	}
	return ""
}

// touched gives the kinds of the zones of all names that a question led to, and of the zones above them.
func (p plan) touched(a ask, verdicts ...verdict) []kind {
	names := []string{a.name}
	for _, v := range verdicts {
		for _, rr := range append(v.data, v.why) {
			for _, word := range strings.Fields(rr) {
				names = append(names, strings.TrimRight(word, ",;:"))
			}
		}
	}
	var kinds []kind
	for _, n := range names {
		for up := strings.ToLower(n); strings.HasSuffix(up, "."); {
			if k, ok := p.kinds[up]; ok {
				kinds = append(kinds, k)
			}
			_, rest, ok := strings.Cut(up, ".")
			if !ok || rest == "" {
				break
			}
			up = rest
		}
	}
	return kinds
}
