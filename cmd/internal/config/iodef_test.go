package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const goodIODEF = `iodef:
  organization: Example CA
  contact: caa@ca.example
  https: true
  mail:
    server: smtp.ca.example:587
    tls: starttls
    roots: smtp-ca.pem
    username: quorate
    password_file: smtp-password
    from: Example CA <caa-reports@ca.example>
    subject: Refused by CAA
  text: |
    Questions?
    Ask us.
  per_domain: 5
  total: 200
`

// Holds: CAA-09
func TestIODEFIsRead(t *testing.T) {
	dir := t.TempDir()
	g, err := ParseGate(filepath.Join(dir, "quorate.yaml"), []byte(goodGate+goodIODEF))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "smtp-ca.pem"), g.IODEF.Mail.Roots)
	host, port, err := g.IODEF.Mail.HostPort()
	require.NoError(t, err)
	require.Equal(t, "smtp.ca.example", host)
	require.EqualValues(t, 587, port)
	_, err = g.IODEF.Mail.Password()
	require.ErrorContains(t, err, "iodef.mail.password_file")
	require.NoError(t, os.WriteFile(g.IODEF.Mail.PasswordFile, []byte("x y\n"), 0o600))
	word, err := g.IODEF.Mail.Password()
	require.NoError(t, err)
	require.Equal(t, "x y", word)
	require.NoError(t, os.Chmod(g.IODEF.Mail.PasswordFile, 0o604))
	_, err = g.IODEF.Mail.Password()
	require.ErrorContains(t, err, "may be read by everybody")

	off, err := ParseGate("quorate.yaml", []byte(goodGate))
	require.NoError(t, err)
	require.Nil(t, off.IODEF, "off by default")
}

// Holds: CAA-09
func TestIODEFMistakes(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no organization":          {"  organization: Example CA\n", "", "iodef.organization: this field is required"},
		"organization in lines":    {"organization: Example CA", `organization: "Example\r\nBcc: x"`, "iodef.organization: a name has"},
		"contact with a name":      {"contact: caa@ca.example", "contact: CA <caa@ca.example>", "iodef.contact: "},
		"no contact":               {"  contact: caa@ca.example\n", "", "iodef.contact: this field is required"},
		"server without a port":    {"smtp.ca.example:587", "smtp.ca.example", "iodef.mail.server: "},
		"server, port 0":           {"smtp.ca.example:587", "smtp.ca.example:0", "iodef.mail.server: "},
		"no TLS":                   {"tls: starttls", "tls: none", `iodef.mail.tls: "none" is neither`},
		"sender":                   {"from: Example CA <caa-reports@ca.example>", "from: Example CA", "iodef.mail.from: "},
		"no sender":                {"    from: Example CA <caa-reports@ca.example>\n", "", "iodef.mail.from: this field is required"},
		"subject in lines":         {"subject: Refused by CAA", `subject: "a\nBcc: b"`, "iodef.mail.subject: "},
		"a name without password":  {"    password_file: smtp-password\n", "", "username and password_file go together"},
		"a password without name":  {"    username: quorate\n", "", "username and password_file go together"},
		"the password itself":      {"password_file: smtp-password", "password: hunter2", "iodef.mail.password: unknown key"},
		"a bell in the text":       {"Ask us.", "Ask\tus.", "iodef.text: "},
		"no reports per domain":    {"per_domain: 5", "per_domain: 0", "iodef.per_domain: 0 is not between 1 and 1000"},
		"too many reports in all":  {"total: 200", "total: 1000000", "iodef.total: 1000000 is not between"},
		"HTTPS, in words":          {"https: true", "https: \"yes\"", "iodef.https: true or false is needed here, and there is a text"},
		"neither mail nor HTTPS":   {goodIODEF, "iodef: {organization: CA, contact: caa@ca.example}\n", "one of them at least is needed"},
		"certificates not checked": {"tls: starttls", "insecure_skip_verify: true", "insecure_skip_verify"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodIODEF, c.old)
			_, err := ParseGate("quorate.yaml", []byte(goodGate+strings.Replace(goodIODEF, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}
