package iodef

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// element is an element as it is read.
type element struct {
	name     xml.Name
	attrs    map[string]string
	children []*element
	text     string
}

// parse reads one document strictly.
func parse(t *testing.T, doc []byte) *element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(doc)))
	var stack []*element
	var root *element
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			require.Empty(t, stack)
			return root
		}
		require.NoError(t, err)
		switch x := token.(type) {
		case xml.StartElement:
			e := &element{name: x.Name, attrs: map[string]string{}}
			for _, a := range x.Attr {
				if a.Name.Local != "xmlns" && a.Name.Space != "xmlns" {
					e.attrs[strings.TrimPrefix(a.Name.Space+" "+a.Name.Local, " ")] = a.Value
				}
			}
			if len(stack) > 0 {
				stack[len(stack)-1].children = append(stack[len(stack)-1].children, e)
			} else {
				require.Nil(t, root, "one root")
				root = e
			}
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text += string(x)
			} else {
				require.Empty(t, strings.TrimSpace(string(x)))
			}
		}
	}
}

// class is what RFC 7970 (RFC 6545 for the envelope) says of an element: its children in their order, each with how often it may be
// there ("1", "?", "*", "+"), its attributes with their values (those of an enumeration, "" for any text), the mandatory ones marked "!",
// and what its text is.
type class struct {
	children string
	attrs    map[string]string
	text     string
}

const lang = "http://www.w3.org/XML/1998/namespace lang"

// classes has the part of RFC 7970 section 3 that reports use, with all children that the sections name.
var classes = map[string]class{
	"IODEF-Document": {children: "Incident+ AdditionalData*", attrs: map[string]string{"!version": "2.00", "!" + lang: "", "format-id": ""}},
	"Incident": {children: "IncidentID1 AlternativeID? RelatedActivity* DetectTime? StartTime? EndTime? RecoveryTime? ReportTime? GenerationTime1 Description* " +
		"Discovery* Assessment* Method* Contact+ EventData* IndicatorData? History? AdditionalData*",
		attrs: map[string]string{"!purpose": "traceback|mitigation|reporting|watch|other", "status": "", "restriction": "public|partner|need-to-know|private|default"}},
	"IncidentID":     {attrs: map[string]string{"!name": "", "instance": "", "restriction": ""}, text: "some"},
	"DetectTime":     {text: "time"},
	"ReportTime":     {text: "time"},
	"GenerationTime": {text: "time"},
	"Description":    {text: "some"},
	"Contact": {children: "ContactName* ContactTitle* Description* RegistryHandle* PostalAddress* Email* Telephone* Timezone? Contact* AdditionalData*",
		attrs: map[string]string{"!role": "creator|reporter|admin|tech|provider", "!type": "person|organization", "restriction": ""}},
	"ContactName": {text: "some"},
	"Email":       {children: "EmailTo1 Description*"},
	"EmailTo":     {text: "some"},
	"EventData": {children: "Description* DetectTime? StartTime? EndTime? RecoveryTime? ReportTime? Contact* Discovery* Assessment? Method* Flow* Expectation* " +
		"Record? EventData* AdditionalData*"},
	"Flow":           {children: "System+"},
	"System":         {children: "Node1 NodeRole* Service* OperatingSystem* Counter* AssetID* Description* AdditionalData*", attrs: map[string]string{"category": "source|target"}},
	"Node":           {children: "DomainData* Address* PostalAddress? Location* Counter*"},
	"DomainData":     {children: "Name1 DateDomainWasChecked? RegistrationDate? ExpirationDate? RelatedDNS* Nameservers* DomainContacts?", attrs: map[string]string{"!system-status": "spoofed|fraudulent|innocent-hacked|innocent-hijacked|unknown", "!domain-status": "reservedDelegation|assignedAndActive|assignedAndInactive|other|unknown"}},
	"Name":           {text: "some"},
	"AdditionalData": {attrs: map[string]string{"!dtype": "string|integer|xml", "name": "", "meaning": "", "formatid": ""}, text: "some"},
}

// ridClasses are those of RFC 6545 section 5, with the two elements of RFC 5070 that they use.
var ridClasses = map[string]class{
	"RID": {children: "RIDPolicy1 RequestStatus? IncidentSource?", attrs: map[string]string{"lang": ""}},
	"RIDPolicy": {children: "PolicyRegion+ Node1 TrafficType+ IncidentID? ReportSchema?",
		attrs: map[string]string{"!MsgType": "Request|Acknowledgement|Result|Report|Query", "!MsgDestination": "RIDSystem|SourceOfIncident"}},
	"PolicyRegion": {attrs: map[string]string{"!region": "ClientToSP|SPToClient|IntraConsortium|PeerToPeer|BetweenConsortiums"}},
	"TrafficType":  {attrs: map[string]string{"!type": "Attack|Network|Content|DataWithHandlingRequirements|AudienceRestriction|Other"}},
	"Node":         {children: "NodeName1"},
	"NodeName":     {text: "some"},
	"IncidentID":   {attrs: map[string]string{"!name": ""}, text: "some"},
	"ReportSchema": {children: "XMLDocument1"},
	"XMLDocument":  {children: "IODEF-Document1", attrs: map[string]string{"!dtype": "xml", "meaning": ""}},
}

// check holds an element to its class.
func (e *element) check(t *testing.T, namespaces map[string]string, all map[string]class) {
	t.Helper()
	c, known := all[e.name.Local]
	require.True(t, known, "%s is none of the elements", e.name.Local)
	require.Equal(t, namespaces[e.name.Local], e.name.Space, e.name.Local)
	for name, values := range c.attrs {
		bare, mandatory := strings.CutPrefix(name, "!")
		value, there := e.attrs[bare]
		require.True(t, there || !mandatory, "%s has no %s", e.name.Local, bare)
		if there && values != "" {
			require.Contains(t, strings.Split(values, "|"), value, "%s %s", e.name.Local, bare)
		}
	}
	for name := range e.attrs {
		_, there := c.attrs[name]
		_, must := c.attrs["!"+name]
		require.True(t, there || must, "%s may not have %s", e.name.Local, name)
	}
	switch c.text {
	case "some":
		require.NotEmpty(t, strings.TrimSpace(e.text), e.name.Local)
	case "time":
		_, err := time.Parse(time.RFC3339, e.text)
		require.NoError(t, err, e.name.Local)
	default:
		require.Empty(t, strings.TrimSpace(e.text), "%s has no text", e.name.Local)
	}
	i := 0
	for _, rule := range strings.Fields(c.children) {
		name, often, n := rule[:len(rule)-1], rule[len(rule)-1], 0
		for i < len(e.children) && e.children[i].name.Local == name {
			i, n = i+1, n+1
		}
		require.True(t, n > 0 || often == '?' || often == '*', "%s has no %s", e.name.Local, name)
		require.True(t, n < 2 || often == '+' || often == '*', "%s has %d of %s", e.name.Local, n, name)
	}
	require.Equal(t, len(e.children), i, "%s has children that it may not have, or in another order", e.name.Local)
	for _, child := range e.children {
		if child.name.Local == "IODEF-Document" && all["RID"].children != "" {
			continue
		}
		child.check(t, namespaces, all)
	}
}

func checkIODEF(t *testing.T, e *element) {
	t.Helper()
	namespaces := map[string]string{}
	for name := range classes {
		namespaces[name] = nsIODEF
	}
	e.check(t, namespaces, classes)
}

func (e *element) find(name string) (all []*element) {
	for _, c := range e.children {
		if c.name.Local == name {
			all = append(all, c)
		}
		all = append(all, c.find(name)...)
	}
	return all
}

// Holds: CAA-09
func TestRFC7970_TheDocumentHasItsStructure(t *testing.T) {
	for name, j := range map[string]job{
		"plain":        work(17, "shop.example.com", "mailto:a@example.com"),
		"markup":       work(18, "shop.example.com", `mailto:a@example.com<\"&'>]]>`),
		"other octets": work(19, "shop.example.com", `\000\001\255`),
		"a great many": func() job {
			j := work(20, "shop.example.com")
			j.facts.records, j.facts.more = shown(slices.Repeat([]string{"x.\t300\tIN\tCAA\t0 issue \"" + strings.Repeat("y", 9000) + "\""}, 1000))
			return j
		}(),
		"no text": func() job { j := work(21, "*.example.com"); j.facts.text = ""; return j }(),
		"text as a trap": func() job {
			j := work(22, "example.com")
			j.facts.text = "]]></Description><Incident/>\x00\ufffe"
			return j
		}(),
		"another account": func() job { j := work(23, "example.com"); j.facts.code = "caa.account"; return j }(),
	} {
		t.Run(name, func(t *testing.T) {
			f := j.facts
			f.made = time.Now()
			doc, err := f.iodef()
			require.NoError(t, err)
			require.Less(t, len(doc), 64<<10)
			root := parse(t, doc)
			checkIODEF(t, root)
			told := map[string][]string{}
			for _, a := range root.find("AdditionalData") {
				told[a.attrs["name"]] = append(told[a.attrs["name"]], a.text)
			}
			require.Equal(t, []string{f.name}, told["identifier"])
			require.Equal(t, []string{strconv.FormatInt(f.number, 10)}, told["record"])
			require.Equal(t, f.issuers, told["issuer"])
			require.Equal(t, f.records, told["caa-record"])
			require.Equal(t, f.more > 0, len(told["caa-records-left-out"]) == 1)
			require.Equal(t, f.contact, root.find("EmailTo")[0].text)
			require.Equal(t, strings.TrimPrefix(f.name, "*."), root.find("Name")[0].text)

			message, err := f.rid(doc, "report.example.com")
			require.NoError(t, err)
			envelope := parse(t, message)
			namespaces := map[string]string{"Node": nsIODEF1, "NodeName": nsIODEF1, "IncidentID": nsIODEF1}
			for name := range ridClasses {
				if namespaces[name] == "" {
					namespaces[name] = nsRID
				}
			}
			envelope.check(t, namespaces, ridClasses)
			inner := envelope.find("IODEF-Document")
			require.Len(t, inner, 1)
			checkIODEF(t, inner[0])
		})
	}
}

// What a report tells is the name, the issuer, the time, the record and the CAA records, and no secret of the request.
//
// Holds: CAA-09
func TestCAA_09_WhatAReportTells(t *testing.T) {
	f := work(17, "shop.example.com", "mailto:a@example.com").facts
	f.made = time.Now()
	doc, err := f.iodef()
	require.NoError(t, err)
	for _, text := range []string{string(doc), f.letter()} {
		for _, want := range []string{"shop.example.com", "ca.example.net", f.started.UTC().Format(time.RFC3339), "17", "other.example", "caa@ca.example.net",
			"Questions? Ask us."} {
			require.Contains(t, text, want)
		}
		require.NotContains(t, text, "mailto:", "whom else the records name is not told")
	}
	for code, want := range map[string]string{"caa.forbidden": "do not permit this CA", "caa.account": "another account", "caa.method": "validation method",
		"caa.critical": "critical", "caa.malformed": "cannot be read"} {
		f.code = code
		require.Contains(t, f.summary(), want, fmt.Sprint(code))
	}
}
