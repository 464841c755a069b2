package iodef

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// submission is a small mail server on loopback: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA.
type submission struct {
	t        testing.TB
	listener net.Listener
	config   *tls.Config
	roots    *x509.CertPool
	conduct  conduct

	mu    sync.Mutex
	mails []mailed
	calls []string // the commands that came, over all connections
	conns map[net.Conn]bool
	work  sync.WaitGroup
}

// conduct is how the server behaves.
type conduct struct {
	implicit bool
	// without says what it does not offer: "STARTTLS".
	without string
	// password is what it asks for; empty for no login.
	password string
	// replies are its answers to a command in place of the usual ones; "hang" never answers, "close" hangs up, "flood" does not end.
	replies map[string]string
}

// mailed is a mail that was taken.
type mailed struct {
	from, to string
	text     string
	secure   bool
}

// certificate makes a certificate for a name or an address, and the roots that verify it.
func certificate(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func startSubmission(t testing.TB, c conduct) *submission {
	t.Helper()
	cert, roots := certificate(t, "127.0.0.1")
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &submission{t: t, listener: l, config: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, roots: roots, conduct: c,
		conns: map[net.Conn]bool{}}
	s.work.Go(s.accept)
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.work.Wait()
	})
	return s
}

// mail is the configuration that reaches it.
func (s *submission) mail() *Mail {
	at := netip.MustParseAddrPort(s.listener.Addr().String())
	return &Mail{Host: "127.0.0.1", Port: at.Port(), Roots: s.roots, Implicit: s.conduct.implicit, From: "Example CA <caa@ca.example.net>"}
}

func (s *submission) taken() []mailed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]mailed(nil), s.mails...)
}

// heard tells how often a command came.
func (s *submission) heard(command string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c == command {
			n++
		}
	}
	return n
}

func (s *submission) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.work.Go(func() {
			defer conn.Close()
			if s.conduct.implicit {
				s.serve(tls.Server(conn, s.config), true)
			} else {
				s.serve(conn, false)
			}
		})
	}
}

func (s *submission) serve(conn net.Conn, secure bool) {
	in := bufio.NewReader(conn)
	say := func(text string) bool { _, err := conn.Write([]byte(text + "\r\n")); return err == nil }
	// odd does what the conduct has for a command, and tells whether the connection goes on; done tells that it was answered.
	odd := func(command string) (on, done bool) {
		s.mu.Lock()
		s.calls = append(s.calls, command)
		s.mu.Unlock()
		switch reply := s.conduct.replies[command]; reply {
		case "":
			return true, false
		case "hang":
			for { // until the client is gone
				if _, err := in.ReadByte(); err != nil {
					return false, true
				}
			}
		case "close":
			return false, true
		case "flood":
			for say("250-" + strings.Repeat("x", 500)) {
			}
			return false, true
		default:
			return say(reply), true
		}
	}
	if on, done := odd("greeting"); !on || !done && !say("220 ready") {
		return
	}
	var m mailed
	login := s.conduct.password == ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		on, done := odd(verb)
		if !on {
			return
		}
		if done {
			continue
		}
		switch verb {
		case "EHLO":
			text := "250-submission\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
			if !secure && s.conduct.without != "STARTTLS" {
				text += "250-STARTTLS\r\n"
			}
			if secure && s.conduct.password != "" {
				text += "250-AUTH PLAIN\r\n"
			}
			say(text + "250 SIZE 1000000")
		case "STARTTLS":
			say("220 go")
			conn = tls.Server(conn, s.config)
			in, secure = bufio.NewReader(conn), true
		case "AUTH":
			got, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			if login = secure && string(got) == "\x00robot\x00"+s.conduct.password; login {
				say("235 welcome")
			} else {
				say("535 no")
			}
		case "MAIL":
			if !login {
				say("530 who are you")
				continue
			}
			m = mailed{from: rest, secure: secure}
			say("250 ok")
		case "RCPT":
			m.to += rest
			say("250 ok")
		case "DATA":
			say("354 go")
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				m.text += line
			}
			if on, done := odd("end"); !on {
				return
			} else if !done {
				s.mu.Lock()
				s.mails = append(s.mails, m)
				s.mu.Unlock()
				say("250 taken")
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
