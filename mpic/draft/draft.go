// Package draft speaks draft-westerbaan-alldispatch-mpic-00 (October 2024), as a server and as a client. It is experimental: the draft
// leaves errors, authentication and security open, and says nothing of a primary. docs/draft-mpic.md tells what is made of it here.
package draft

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
	"github.com/quorate/quorate/mpic/front"
)

// Path is the resource below a service's URL.
const Path = "/mpic/draft-00"

// The methods, and the one kind of record and the one prefix by which dns asks for what dns-01 does (RFC 8555 section 8.4).
const (
	methodCAA  = "caa"
	methodHTTP = "http-acme"
	methodDNS  = "dns"

	recordTXT       = "TXT"
	prefixChallenge = "_acme-challenge"
)

const (
	// maxDepth is how deep values may nest; the draft's have three levels.
	maxDepth = 8
	// maxPerspectives and maxRecords bound the lists of a reply.
	maxPerspectives = 64
	maxRecords      = 100
	// maxError is how much of an error's text is repeated, in octets.
	maxError = 1000
)

// decode reads one JSON object that no two readers understand differently.
func decode(text []byte) (map[string]any, error) { return front.Strict[map[string]any](text, maxDepth) }

// reply is what a service answered. Its `success` is read for its form alone, and not believed.
type reply struct {
	// perspectives tells of each code whether it succeeded.
	perspectives map[string]bool
	// caa tells that there were CAA records to be told, or none; domain is where they were found, records their presentation.
	caa     bool
	domain  string
	records []string
	text    string
}

// readReply refuses what is not in the draft's form. Members that the draft does not have are left to later drafts.
func readReply(text []byte) (r reply, err error) {
	top, err := decode(text)
	if err != nil {
		return r, err
	}
	if _, ok := top["success"].(bool); !ok {
		return r, errors.New("success is missing, or neither true nor false")
	}
	all, ok := top["perspectives"].(map[string]any)
	if !ok || len(all) > maxPerspectives {
		return r, fmt.Errorf("perspectives is missing, no object, or has more than %d members", maxPerspectives)
	}
	r.perspectives = map[string]bool{}
	for code, v := range all {
		one, _ := v.(map[string]any)
		success, ok := one["success"].(bool)
		if !ok {
			return r, fmt.Errorf("the perspective %q has no success that is true or false", front.Cut(code, 64))
		}
		r.perspectives[code] = success
	}
	if v, there := top["error"]; there && v != nil {
		if r.text, ok = v.(string); !ok {
			return r, errors.New("error is no text")
		}
	}
	if v, there := top["caa"]; there && v != nil {
		return r, r.readCAA(v)
	}
	return r, nil
}

func (r *reply) readCAA(v any) error {
	object, ok := v.(map[string]any)
	if !ok {
		return errors.New("caa is no object")
	}
	r.caa = true
	if v, there := object["domain"]; there && v != nil {
		if r.domain, ok = v.(string); !ok {
			return errors.New("caa.domain is no text")
		}
		r.domain = strings.ToLower(strings.TrimSuffix(r.domain, "."))
	}
	list, ok := object["records"].([]any)
	if !ok || len(list) > maxRecords {
		return fmt.Errorf("caa.records is missing, no list, or has more than %d records", maxRecords)
	}
	for _, v := range list {
		text, _ := v.(string)
		data, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || text == "" {
			return errors.New("caa.records has what is no base64")
		}
		record, err := present(r.domain, data)
		if err != nil {
			return err
		}
		r.records = append(r.records, record)
	}
	return nil
}

// present gives the RDATA of a CAA record (RFC 8659 section 4.1) in presentation format. The draft tells no TTL, so that 0 stands there.
func present(owner string, data []byte) (string, error) {
	if len(data) < 2 || int(data[1]) == 0 || len(data) < 2+int(data[1]) {
		return "", errors.New("caa.records has what is no CAA record")
	}
	end := 2 + int(data[1]) // not in octets, of which 254 and 2 are 0
	tag, value := data[2:end], data[end:]
	for _, c := range tag {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return "", errors.New("caa.records has a CAA record whose tag is none")
		}
	}
	if _, ok := dns.IsDomainName(owner); !ok || owner == "" || strings.ContainsAny(owner, " \t\\\"();") {
		return "", errors.New("caa.domain is not the name at which there are CAA records")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\t0\tIN\tCAA\t%d %s \"", owner, data[0], tag)
	for _, c := range value {
		switch {
		case c == '"' || c == '\\':
			b.Write([]byte{'\\', c})
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + `"`, nil
}

// rdata is what present takes: the base64 of a record's RDATA, from its presentation format.
// One with a backslash is an error: the presentation format of the DNS library does not tell it from an escape.
func rdata(record string) (string, error) {
	if strings.Contains(record, `\`) {
		return "", errors.New("the record has a backslash")
	}
	rr, err := dns.NewRR(record)
	if err != nil {
		return "", err
	}
	packed := make([]byte, dns.Len(rr)+1)
	n, err := dns.PackRR(rr, packed, 0, nil, false)
	if err != nil {
		return "", err
	}
	_, header, err := dns.UnpackDomainName(packed, 0)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(packed[header+10 : n]), nil // behind type, class, TTL and length
}
