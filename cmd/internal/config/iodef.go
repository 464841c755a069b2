package config

import (
	"net"
	"net/mail"
	"strconv"
	"strings"

	"github.com/quorate/quorate/mpic/iodef"
)

// IODEF says how refusals are reported to those whom the CAA records name (CAA-09).
type IODEF struct {
	// Organization is the CA's name, Contact its mail address, in each report.
	Organization string `yaml:"organization"`
	Contact      string `yaml:"contact"`
	// HTTPS posts reports to https URLs.
	HTTPS bool `yaml:"https"`
	// Mail sends reports to mail addresses; left out, none is sent.
	Mail *IODEFMail `yaml:"mail"`
	// Text is what the CA adds to each report.
	Text string `yaml:"text"`
	// PerDomain is how many reports an hour may have that concern one registered domain: 5, at most 1000. Total is how many it may have
	// in all: 200, at most 100000.
	PerDomain int `yaml:"per_domain"`
	Total     int `yaml:"total"`
}

// IODEFMail is the submission server and what mail through it looks like.
type IODEFMail struct {
	// Server is HOST:PORT.
	Server string `yaml:"server"`
	// TLS is "starttls", the default, or "implicit".
	TLS string `yaml:"tls"`
	// Roots is a PEM file of the CAs of the server's certificate; empty for the system's.
	Roots string `yaml:"roots"`
	// Username logs in with the password in PasswordFile; without it nobody logs in.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	// From is the sender: NAME <ADDRESS> or ADDRESS. Subject stands in front of the refused name.
	From    string `yaml:"from"`
	Subject string `yaml:"subject"`
}

func (d *document) iodef(i *IODEF) {
	if i == nil {
		return
	}
	d.require("iodef", "organization", "contact")
	if d.has("iodef.organization") && (i.Organization == "" || len(i.Organization) > 200 || !ascii(i.Organization)) {
		d.refuse("iodef.organization", "CAA-09", "a name has 1 to 200 characters of ASCII")
	}
	if a, err := mail.ParseAddress(i.Contact); d.has("iodef.contact") && (err != nil || a.Address != i.Contact || !ascii(i.Contact)) {
		d.refuse("iodef.contact", "CAA-09", "%q is no mail address in ASCII", i.Contact)
	}
	if !i.HTTPS && i.Mail == nil {
		d.refuse("iodef", "CAA-09", "reports go by mail, or with https: true over HTTPS; one of them at least is needed")
	}
	for _, f := range []struct {
		field      string
		value, max int
	}{{"per_domain", i.PerDomain, 1000}, {"total", i.Total, 100_000}} {
		if d.has("iodef."+f.field) && (f.value < 1 || f.value > f.max) {
			d.refuse("iodef."+f.field, "", "%d is not between 1 and %d", f.value, f.max)
		}
	}
	if len(i.Text) > 4096 || strings.ContainsFunc(i.Text, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
		d.refuse("iodef.text", "", "the text has more than 4096 octets, or control characters")
	}
	if i.Mail != nil {
		d.iodefMail(i.Mail)
	}
}

func (d *document) iodefMail(m *IODEFMail) {
	d.require("iodef.mail", "server", "from")
	if _, _, err := m.HostPort(); d.has("iodef.mail.server") && err != nil {
		d.refuse("iodef.mail.server", "", "%q: HOST:PORT is needed, for example smtp.ca.example:587", m.Server)
	}
	if d.has("iodef.mail.tls") && m.TLS != "starttls" && m.TLS != "implicit" {
		d.refuse("iodef.mail.tls", "", "%q is neither \"starttls\" nor \"implicit\"", m.TLS)
	}
	if _, err := iodef.ParseSender(m.From); d.has("iodef.mail.from") && err != nil {
		d.refuse("iodef.mail.from", "", "%v", err)
	}
	if len(m.Subject) > 200 || !ascii(m.Subject) {
		d.refuse("iodef.mail.subject", "", "a subject has at most 200 characters of ASCII, on one line")
	}
	if (m.Username == "") != (m.PasswordFile == "") {
		d.refuse("iodef.mail", "", "username and password_file go together")
	}
	m.Roots, m.PasswordFile = d.path(m.Roots), d.path(m.PasswordFile)
}

// HostPort takes the server's address apart.
func (m IODEFMail) HostPort() (string, uint16, error) {
	host, port, err := net.SplitHostPort(m.Server)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err == nil && (n == 0 || host == "") {
		err = net.InvalidAddrError("no host, or no port")
	}
	return host, uint16(n), err
}

// Password reads the password, empty where nobody logs in.
func (m IODEFMail) Password() (string, error) {
	if m.PasswordFile == "" {
		return "", nil
	}
	return readPassword("iodef.mail.password_file", m.PasswordFile)
}

// ascii tells whether a text is visible ASCII and spaces.
func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}
