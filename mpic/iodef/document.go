package iodef

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/va"
)

// Namespaces: RFC 7970 section 8; RFC 6545 section 5, whose envelope has its addresses in the form of RFC 5070.
const (
	nsIODEF  = "urn:ietf:params:xml:ns:iodef-2.0"
	nsIODEF1 = "urn:ietf:params:xml:ns:iodef-1.0"
	nsRID    = "urn:ietf:params:xml:ns:iodef-rid-2.0"
)

const (
	// maxRecords is how many records a report shows, maxRecord how many octets of each.
	maxRecords = 32
	maxRecord  = 512
)

// facts are all that a report tells: nothing of the token, and of the account nothing but what the CAA records themselves say.
type facts struct {
	// name is the name applied for, found where the records stand.
	name, found string
	// code is the CAA finding's.
	code    string
	issuers []string
	// records forbade; more is how many others did that are not shown.
	records []string
	more    int
	// started is when the request was made, made when the report was.
	started, made time.Time
	number        int64
	organization  string
	contact       string
	// text is the CA's own addition.
	text string
}

// why says in a sentence for the domain's holder what the records did.
func (f facts) why() string {
	switch f.code {
	case "caa.account":
		return "permit another account of the CA than the one that asked"
	case "caa.method":
		return "do not permit the validation method that was asked for"
	case "caa.critical":
		return "have a critical property that the CA does not know"
	case "caa.malformed":
		return "have a property that cannot be read, and so permits nobody"
	}
	return "do not permit this CA to issue"
}

func (f facts) summary() string {
	return fmt.Sprintf("A certificate for %s was requested from %s and refused: the CAA records at %s %s.", f.name, f.organization, f.found, f.why())
}

// The elements that are used, in the order in which RFC 7970 section 8 has them.
type (
	document struct {
		XMLName  xml.Name `xml:"urn:ietf:params:xml:ns:iodef-2.0 IODEF-Document"`
		Version  string   `xml:"version,attr"`
		Lang     string   `xml:"http://www.w3.org/XML/1998/namespace lang,attr"`
		Incident incident `xml:"Incident"`
	}
	incident struct {
		Purpose        string       `xml:"purpose,attr"`
		Restriction    string       `xml:"restriction,attr"`
		IncidentID     incidentID   `xml:"IncidentID"`
		DetectTime     string       `xml:"DetectTime"`
		ReportTime     string       `xml:"ReportTime"`
		GenerationTime string       `xml:"GenerationTime"`
		Description    []string     `xml:"Description"`
		Contact        contact      `xml:"Contact"`
		EventData      eventData    `xml:"EventData"`
		AdditionalData []additional `xml:"AdditionalData"`
	}
	incidentID struct {
		Name  string `xml:"name,attr"`
		Value string `xml:",chardata"`
	}
	contact struct {
		Role        string `xml:"role,attr"`
		Type        string `xml:"type,attr"`
		ContactName string `xml:"ContactName"`
		EmailTo     string `xml:"Email>EmailTo"`
	}
	eventData struct {
		Description string `xml:"Description"`
		System      system `xml:"Flow>System"`
	}
	system struct {
		Category   string     `xml:"category,attr"`
		DomainData domainData `xml:"Node>DomainData"`
	}
	domainData struct {
		SystemStatus string `xml:"system-status,attr"`
		DomainStatus string `xml:"domain-status,attr"`
		Name         string `xml:"Name"`
	}
	additional struct {
		Name    string `xml:"name,attr"`
		Type    string `xml:"dtype,attr"`
		Meaning string `xml:"meaning,attr"`
		Value   string `xml:",chardata"`
	}
)

// iodef is the document of RFC 7970.
func (f facts) iodef() ([]byte, error) {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	d := document{Version: "2.00", Lang: "en", Incident: incident{
		Purpose: "reporting", Restriction: "need-to-know",
		IncidentID: incidentID{Name: f.issuers[0], Value: f.id()},
		DetectTime: stamp(f.started), ReportTime: stamp(f.made), GenerationTime: stamp(f.made),
		Description: []string{f.summary()},
		Contact:     contact{Role: "creator", Type: "organization", ContactName: f.organization, EmailTo: f.contact},
		EventData: eventData{Description: f.code, System: system{Category: "target",
			DomainData: domainData{SystemStatus: "unknown", DomainStatus: "unknown", Name: strings.TrimPrefix(f.name, "*.")}}},
	}}
	if f.text != "" {
		d.Incident.Description = append(d.Incident.Description, f.text)
	}
	add := func(name, kind, meaning, value string) {
		d.Incident.AdditionalData = append(d.Incident.AdditionalData, additional{name, kind, meaning, value})
	}
	add("identifier", "string", "the name that the certificate was requested for", f.name)
	add("record", "integer", "the number of the CA's record of this request", strconv.FormatInt(f.number, 10))
	for _, issuer := range f.issuers {
		add("issuer", "string", "an Issuer Domain Name of the CA (RFC 8659 section 4.2)", issuer)
	}
	add("caa-owner", "string", "the name at which the relevant CAA records stand", f.found)
	for _, r := range f.records {
		add("caa-record", "string", "a CAA record that forbade", r)
	}
	if f.more > 0 {
		add("caa-records-left-out", "integer", "how many more CAA records forbade", strconv.Itoa(f.more))
	}
	body, err := xml.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(body, '\n')...), nil
}

func (f facts) id() string { return "caa-" + strconv.FormatInt(f.number, 10) }

// The envelope of RFC 6545 section 5: a Report from one peer to another, with the document of RFC 7970 in it.
type (
	envelope struct {
		XMLName xml.Name `xml:"urn:ietf:params:xml:ns:iodef-rid-2.0 RID"`
		Lang    string   `xml:"lang,attr"`
		Policy  policy   `xml:"RIDPolicy"`
	}
	policy struct {
		Type        string       `xml:"MsgType,attr"`
		Destination string       `xml:"MsgDestination,attr"`
		Region      ridRegion    `xml:"PolicyRegion"`
		Node        ridNode      `xml:"urn:ietf:params:xml:ns:iodef-1.0 Node"`
		Traffic     ridTraffic   `xml:"TrafficType"`
		IncidentID  ridIncident  `xml:"urn:ietf:params:xml:ns:iodef-1.0 IncidentID"`
		Report      ridXMLReport `xml:"ReportSchema>XMLDocument"`
	}
	ridRegion struct {
		Region string `xml:"region,attr"`
	}
	ridNode struct {
		NodeName string `xml:"NodeName"`
	}
	ridTraffic struct {
		Type string `xml:"type,attr"`
	}
	ridIncident struct {
		Name  string `xml:"name,attr"`
		Value string `xml:",chardata"`
	}
	ridXMLReport struct {
		Type     string `xml:"dtype,attr"`
		Meaning  string `xml:"meaning,attr"`
		Document string `xml:",innerxml"`
	}
)

// rid is the message of RFC 6545 that RFC 6546 posts: a document of RFC 7970 for a receiver.
func (f facts) rid(doc []byte, receiver string) ([]byte, error) {
	e := envelope{Lang: "en", Policy: policy{Type: "Report", Destination: "RIDSystem", Region: ridRegion{"PeerToPeer"},
		Node: ridNode{receiver}, Traffic: ridTraffic{"Other"}, IncidentID: ridIncident{f.issuers[0], f.id()},
		Report: ridXMLReport{"xml", "xml", "\n" + strings.TrimPrefix(string(doc), xml.Header)}}}
	body, err := xml.MarshalIndent(e, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(body, '\n')...), nil
}

// letter is the brief text of a mail (RFC 8659 section 4.4).
func (f facts) letter() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nName:     %s\nIssuer:   %s\nTime:     %s\nRecord:   %d\nReason:   %s\n\nThe records that forbade:\n\n", f.summary(), f.name,
		strings.Join(f.issuers, ", "), f.started.UTC().Format(time.RFC3339), f.number, f.code)
	for _, r := range f.records {
		fmt.Fprintf(&b, "  %s\n", r)
	}
	if f.more > 0 {
		fmt.Fprintf(&b, "  and %d more\n", f.more)
	}
	if f.text != "" {
		fmt.Fprintf(&b, "\n%s\n", f.text)
	}
	fmt.Fprintf(&b, "\nYou get this report because an iodef property of these records names this address (RFC 8659 section 4.4).\n"+
		"The same in machine-readable form (IODEF, RFC 7970) is attached. Contact: %s\n", f.contact)
	return b.String()
}

// shown gives the records that a report shows, on one line each, and how many are left out.
func shown(records []string) (out []string, more int) {
	for _, r := range records {
		if len(out) == maxRecords {
			return out, len(records) - maxRecords
		}
		out = append(out, oneLine(r))
	}
	return out, 0
}

// oneLine gives visible ASCII and single spaces alone, cut: what else the DNS has is an escape of the presentation format already, or
// a question mark here.
func oneLine(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, strings.ReplaceAll(s, "\t", " "))
	if len(s) > maxRecord {
		s = s[:maxRecord] + "..."
	}
	return s
}

// forbade gives the facts about the records.
func (f *facts) forbade(finding va.CAAFinding, req va.Request) {
	f.found = finding.Found
	f.records, f.more = shown(va.Forbidding(finding.Records, req))
}
