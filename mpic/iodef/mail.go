package iodef

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/quorate/quorate/mpic"
)

// Mail is the submission server and what mail through it looks like. It is the only mail server that is spoken to: nothing is looked up
// for a receiver's domain.
type Mail struct {
	// Host and Port are the server's; its certificate must be for Host.
	Host string
	Port uint16
	// Implicit begins with TLS (RFC 8314 section 3.3). Otherwise STARTTLS comes first, and without it nothing is sent.
	Implicit bool
	// Roots verify the certificate; nil for the system's.
	Roots *x509.CertPool
	// Username and Password log in; without a name nobody does.
	Username, Password string
	// From is the sender, one address in ASCII with or without a name.
	From string
	// Subject stands in front of the name that was refused.
	Subject string
}

const (
	// DefaultSubject is Mail.Subject where it is empty.
	DefaultSubject = "Certificate request refused by CAA"
	// maxAnswers is how many octets the mail server may send in one connection, TLS included.
	maxAnswers = 256 << 10
)

func (m *Mail) validate() (errs []error) {
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf("iodef: mail: "+format, args...)) }
	if m.Host == "" || m.Port == 0 {
		refuse("the server has no name or no port")
	}
	if m.Subject == "" {
		m.Subject = DefaultSubject
	}
	if !printable(m.Subject) || len(m.Subject) > 200 {
		refuse("the subject has something other than visible ASCII and spaces, or more than 200 of them")
	}
	if _, err := ParseSender(m.From); err != nil {
		refuse("%w", err)
	}
	if m.Username == "" && m.Password != "" {
		refuse("there is a password and no user name")
	}
	return errs
}

// ParseSender reads a sender: one address in ASCII with or without a name, in one line.
func ParseSender(text string) (*netmail.Address, error) {
	a, err := netmail.ParseAddress(text)
	if err != nil || !printable(text) || !printable(a.Name) || !printable(a.Address) || strings.Contains(a.Address, " ") {
		return nil, fmt.Errorf("%q is no sender: NAME <ADDRESS> or ADDRESS, in ASCII", text)
	}
	return a, nil
}

// printable tells whether a text is visible ASCII and spaces.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// send submits one mail over a connection of its own. There is one try: a server that hangs up after the text may have taken it.
func (m *Mail) send(ctx context.Context, to string, f facts, document []byte) end {
	message, err := m.message(to, f, document)
	if err != nil {
		return end{outcome: mpic.NoticeFailed, code: "notice.fault", detail: "the mail cannot be made: " + err.Error()}
	}
	// go-mail extends deadlines with each command, and leaves a connection open whose greeting or login failed.
	var open net.Conn
	defer func() {
		if open != nil {
			_ = open.Close() // it is over, whatever the other side says
		}
	}()
	dial := func(ctx2 context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx2, network, address)
		if err != nil {
			return nil, err
		}
		open = conn
		// Whatever deadline a command sets: the delivery's holds.
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		bounded := &boundedConn{Conn: conn, left: maxAnswers}
		if !m.Implicit {
			return bounded, nil
		}
		secure := tls.Client(bounded, m.tls())
		return secure, secure.HandshakeContext(ctx2)
	}
	policy := mail.TLSMandatory
	if m.Implicit { // the connection is TLS already, and go-mail has to find that out
		policy = mail.TLSOpportunistic
	}
	from, _ := ParseSender(m.From)
	_, helo, _ := strings.Cut(from.Address, "@")
	options := []mail.Option{mail.WithPort(int(m.Port)), mail.WithTLSPolicy(policy), mail.WithTLSConfig(m.tls()), mail.WithDialContextFunc(dial),
		mail.WithHELO(helo), mail.WithoutNoop(), mail.WithoutSMTPUTF8()}
	if left, ok := ctx.Deadline(); ok {
		options = append(options, mail.WithTimeout(max(time.Until(left), time.Millisecond)))
	}
	if m.Username != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(m.Username), mail.WithPassword(m.Password))
	}
	client, err := mail.NewClient(m.Host, options...)
	if err != nil {
		return end{outcome: mpic.NoticeFailed, code: "notice.fault", detail: "the mail client cannot be made: " + err.Error()}
	}
	return m.submit(ctx, client, message)
}

// submit logs in and hands the message over.
func (m *Mail) submit(ctx context.Context, client *mail.Client, message *mail.Msg) end {
	if err := client.DialWithContext(ctx); err != nil {
		return end{outcome: mpic.NoticeFailed, code: "notice.mail-server", detail: "the mail server cannot be used: " + told(err), reply: replied(err)}
	}
	err := client.Send(message)
	if message.IsDelivered() { // what came behind the acceptance changes nothing
		_ = client.Close()
		return end{outcome: mpic.NoticeDelivered, code: "notice.delivered", detail: "the mail server took it", reply: 250}
	}
	if code := replied(err); code != 0 {
		return end{outcome: mpic.NoticeRefused, code: "notice.mail-refused", detail: "the mail server did not take it: " + told(err), reply: code}
	}
	return end{outcome: mpic.NoticeFailed, code: "notice.mail-broken", detail: "the mail server was lost on the way: " + told(err)}
}

func (m *Mail) tls() *tls.Config {
	return &tls.Config{ServerName: m.Host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12}
}

// message makes the mail: a brief text, and the document as an attachment (RFC 8659 section 4.4). RFC 3834 section 5 tells those who
// answer mail by themselves not to.
func (m *Mail) message(to string, f facts, document []byte) (*mail.Msg, error) {
	from, err := ParseSender(m.From)
	if err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(from)
	if err := msg.EnvelopeFrom(from.Address); err != nil {
		return nil, err
	}
	if err := msg.To(to); err != nil {
		return nil, err
	}
	if rcpts, err := msg.GetRecipients(); err != nil || len(rcpts) != 1 || strings.Trim(rcpts[0], "<>") != to {
		return nil, errors.Join(fmt.Errorf("the library makes %q of the one receiver %q", rcpts, to), err)
	}
	msg.Subject(m.Subject + ": " + f.name)
	msg.SetDateWithValue(f.made)
	msg.SetMessageIDWithValue(fmt.Sprintf("%s.%d@%s", f.id(), f.made.UnixNano(), domain))
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(mail.TypeTextPlain, f.letter())
	return msg, msg.AttachReader(f.id()+".xml", bytes.NewReader(document), mail.WithFileContentType("application/xml"))
}

// replied gives the status of the mail server's answer in an error, 0 where it holds none.
func replied(err error) int {
	if answer := (*textproto.Error)(nil); errors.As(err, &answer) {
		return answer.Code
	}
	var sent *mail.SendError
	if errors.As(err, &sent) {
		return sent.ErrorCode()
	}
	return 0
}

// told is an error as a record holds it: on one line, cut, and with nothing in it that a terminal obeys.
func told(err error) string {
	if err == nil {
		return "no error was given"
	}
	return oneLine(strings.ReplaceAll(err.Error(), "\n", " "))
}

// boundedConn reads so many octets and no more.
type boundedConn struct {
	net.Conn
	left int
}

var errTooMuch = errors.New("the mail server sent more than " + strconv.Itoa(maxAnswers) + " octets")

func (c *boundedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}
