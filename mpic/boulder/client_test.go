package boulder

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// connect makes the Remote of a member.
func connect(t testing.TB, p *pki, m mpic.Member, log *slog.Logger) *Remote {
	t.Helper()
	r, err := NewRemote(ClientConfig{Member: m, Certificate: p.show("va.boulder"), Roots: p.roots, Accounts: accounts,
		Issuers: []string{"ca.example"}, Logger: log, Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// Holds: MPIC-08, MPIC-10, MPIC-11
func TestARemoteVAIsAskedAndAnswers(t *testing.T) {
	p, rva := newPKI(t), &remoteVA{}
	m := ashburn()
	m.URL = "https://" + rva.start(t, p, p.issue("rva.boulder", "127.0.0.1"))
	r := connect(t, p, m, slog.New(slog.DiscardHandler))
	require.Equal(t, m, r.Member())
	asked := probe(va.HTTP01, mpic.Issuance)
	asked.Request.AccountURI = accounts[1] + "7"
	a := r.Attest(t.Context(), asked)
	require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
	require.Equal(t, "ashburn", a.Perspective)
	require.Equal(t, va.Pass, a.Statement.DCV.Outcome)
	require.Equal(t, va.Pass, a.Statement.CAA.Outcome)
	again, err := Read(m, asked, a.Statement.Exchanges)
	require.NoError(t, err)
	require.Equal(t, again, *a.Statement)
	require.Len(t, rva.asked, 2)
	for _, in := range rva.asked {
		switch in := in.(type) {
		case *vapb.PerformValidationRequest:
			require.True(t, proto.Equal(in, &vapb.PerformValidationRequest{Identifier: dnsName("example.com"),
				Challenge: &corepb.Challenge{Type: "http-01", Status: "pending", Token: token}, Authz: &vapb.AuthzMeta{RegID: 7, Id: attemptNumber("ATTEMPT1")},
				ExpectedKeyAuthorization: asked.Request.KeyAuthorization}), "%v", in)
		case *vapb.IsCAAValidRequest:
			require.True(t, proto.Equal(in, &vapb.IsCAAValidRequest{Identifier: dnsName("example.com"), ValidationMethod: "http-01", AccountURIID: 7,
				AuthzID: attemptNumber("ATTEMPT1")}), "%v", in)
		}
	}
	for kind := range map[mpic.Kind]bool{mpic.DCVAlone: true, mpic.CAAAlone: true} {
		before := len(rva.asked)
		a := r.Attest(t.Context(), probe(va.HTTP01, kind))
		require.Equal(t, mpic.Answered, a.State, "%v", a.Problem)
		require.Len(t, rva.asked, before+1, "what is not asked for is not called")
		require.Len(t, a.Statement.Exchanges, 1)
	}
}

// Holds: F6, F9, D11, MPIC-08
func TestRemoteVAsThatAreHostile(t *testing.T) {
	long := func(n int) *vapb.ValidationResult {
		r := dcvPass(va.HTTP01)
		r.Problem = &corepb.ProblemDetails{ProblemType: "dns", Detail: strings.Repeat("x", n)}
		return r
	}
	type dcv = func(context.Context, *vapb.PerformValidationRequest) (*vapb.ValidationResult, error)
	answer := func(r *vapb.ValidationResult) dcv {
		return func(context.Context, *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) { return r, nil }
	}
	refuse := func(c codes.Code) dcv {
		return func(context.Context, *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
			return nil, status.Error(c, strings.Repeat("no ", 2000))
		}
	}
	for name, c := range map[string]struct {
		dcv   dcv
		state mpic.State
		code  string
	}{
		"empty":              {answer(&vapb.ValidationResult{}), mpic.Answered, "perspective.garbage"},
		"a problem of 60 KB": {answer(long(60 << 10)), mpic.Answered, "boulder.dns"},
		"a problem of 5 MB":  {answer(long(5 << 20)), mpic.Rejected, "perspective.too-large"},
		"100000 records": {func(context.Context, *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
			r := dcvPass(va.HTTP01)
			for range 100_000 {
				r.Records = append(r.Records, r.Records[0])
			}
			return r, nil
		}, mpic.Rejected, "perspective.too-large"},
		"never": {func(ctx context.Context, _ *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, mpic.TimedOut, "perspective.timeout"},
		"unimplemented": {refuse(codes.Unimplemented), mpic.Rejected, "perspective.refused"},
		"denied":        {refuse(codes.PermissionDenied), mpic.Rejected, "perspective.refused"},
		"unknown":       {refuse(codes.Unknown), mpic.Rejected, "perspective.refused"},
		"internal":      {refuse(codes.Internal), mpic.Rejected, "perspective.garbage"},
		"unavailable":   {refuse(codes.Unavailable), mpic.Unreachable, "perspective.unreachable"},
		"exhausted":     {refuse(codes.ResourceExhausted), mpic.Rejected, "perspective.too-large"},
		"breaks down": {func(context.Context, *vapb.PerformValidationRequest) (*vapb.ValidationResult, error) {
			return nil, status.Error(codes.Internal, "\xff\x00")
		}, mpic.Rejected, "perspective.garbage"},
	} {
		t.Run(name, func(t *testing.T) {
			p, rva := newPKI(t), &remoteVA{dcv: c.dcv}
			m := ashburn()
			m.URL = "https://" + rva.start(t, p, p.issue("127.0.0.1"))
			asked := probe(va.HTTP01, mpic.Issuance)
			if name == "never" {
				asked.Deadline = time.Now().Add(500 * time.Millisecond)
			}
			a := connect(t, p, m, slog.New(slog.DiscardHandler)).Attest(t.Context(), asked)
			require.Equal(t, c.state, a.State, "%v", a.Problem)
			problem := a.Problem
			if c.state == mpic.Answered {
				problem = a.Statement.DCV.Problem
			} else {
				require.Nil(t, a.Statement, "one check alone is no answer")
			}
			require.Equal(t, c.code, problem.Code)
			require.Less(t, len(problem.Detail), 2000)
		})
	}
}

// Who answers is known by the certificate: by chain and name, and by its key where that is pinned.
//
// Holds: F9, MPIC-08
func TestF9_RemoteVAsThatAreSomebodyElse(t *testing.T) {
	p, stranger := newPKI(t), newPKI(t)
	own := p.issue("127.0.0.1")
	for name, c := range map[string]struct {
		shown tls.Certificate
		pin   string
		state mpic.State
	}{
		"the one":           {own, keyDigest(own.Leaf), mpic.Answered},
		"without a pin":     {own, "", mpic.Answered},
		"another name":      {p.issue("rva2.boulder", "127.0.0.2"), "", mpic.Rejected},
		"another authority": {stranger.issue("127.0.0.1"), "", mpic.Rejected},
		"another key":       {p.issue("127.0.0.1"), keyDigest(own.Leaf), mpic.Rejected},
	} {
		t.Run(name, func(t *testing.T) {
			m := ashburn()
			m.TLSKey, m.URL = c.pin, "https://"+(&remoteVA{}).start(t, p, c.shown)
			var log bytes.Buffer
			a := connect(t, p, m, slog.New(slog.NewTextHandler(&log, nil))).Attest(t.Context(), probe(va.HTTP01, mpic.DCVAlone))
			require.Equal(t, c.state, a.State, "%v", a.Problem)
			if c.state == mpic.Rejected {
				require.Equal(t, "perspective.identity", a.Problem.Code)
				require.Contains(t, log.String(), "another answers for a perspective")
			}
		})
	}
	t.Run("a remoteva that does not take the gate for one of its clients", func(t *testing.T) {
		m := ashburn()
		m.URL = "https://" + (&remoteVA{}).start(t, p, own)
		r, err := NewRemote(ClientConfig{Member: m, Certificate: stranger.show("va.boulder"), Roots: p.roots, Accounts: accounts,
			Issuers: []string{"ca.example"}, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
		require.NoError(t, err)
		a := r.Attest(t.Context(), probe(va.HTTP01, mpic.DCVAlone))
		require.Equal(t, mpic.Unreachable, a.State)
		require.NoError(t, r.Close())
	})
}

// Holds: MPIC-08
func TestRemoteVAsThatAreNotThere(t *testing.T) {
	p := newPKI(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m := ashburn()
	m.URL = "https://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	r := connect(t, p, m, slog.New(slog.DiscardHandler))
	a := r.Attest(t.Context(), probe(va.HTTP01, mpic.DCVAlone))
	require.Equal(t, mpic.Unreachable, a.State)
	require.Equal(t, "perspective.unreachable", a.Problem.Code)

	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, mute.Close()) })
	m.URL = "https://" + mute.Addr().String()
	asked := probe(va.HTTP01, mpic.DCVAlone)
	asked.Deadline = time.Now().Add(300 * time.Millisecond)
	a = connect(t, p, m, slog.New(slog.DiscardHandler)).Attest(t.Context(), asked)
	require.Equal(t, mpic.TimedOut, a.State, "%v", a.Problem)
}

// Holds: CAA-04
func TestWhatARemoteVACannotBeAsked(t *testing.T) {
	p, rva := newPKI(t), &remoteVA{}
	m := ashburn()
	m.URL = "https://" + rva.start(t, p, p.issue("127.0.0.1"))
	r := connect(t, p, m, slog.New(slog.DiscardHandler))
	for name, c := range map[string]struct {
		kind   mpic.Kind
		change func(*va.Request)
		code   string
	}{
		"another CA's account":  {mpic.Issuance, func(r *va.Request) { r.AccountURI = "https://other.example/acct/7" }, "perspective.account"},
		"no account":            {mpic.CAAAlone, func(r *va.Request) { r.AccountURI = "" }, "perspective.account"},
		"an account and a path": {mpic.Issuance, func(r *va.Request) { r.AccountURI += "/orders" }, "perspective.account"},
		"no method":             {mpic.CAAAlone, func(r *va.Request) { r.Method = 0 }, "perspective.refused"},
		"a digest":              {mpic.DCVAlone, func(r *va.Request) { r.Token, r.KeyAuthorization, r.KeyAuthorizationDigest = "", "", "x" }, "perspective.refused"},
		"mail":                  {mpic.CAAAlone, func(r *va.Request) { r.CertificateType = va.SMIME }, "perspective.refused"},
		"another issuer":        {mpic.CAAAlone, func(r *va.Request) { r.Issuers = []string{"other.example"} }, "perspective.refused"},
		"issuers more":          {mpic.CAAAlone, func(r *va.Request) { r.Issuers = append(r.Issuers, "other.example") }, "perspective.refused"},
		"no issuers":            {mpic.Issuance, func(r *va.Request) { r.Issuers = nil }, "perspective.refused"},
		"a short token":         {mpic.DCVAlone, func(r *va.Request) { r.Token = r.Token[:22] }, "perspective.refused"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := probe(va.HTTP01, c.kind)
			c.change(&asked.Request)
			a := r.Attest(t.Context(), asked)
			require.Equal(t, mpic.Rejected, a.State)
			require.Equal(t, c.code, a.Problem.Code)
			require.Contains(t, a.Problem.Detail, "was not asked")
		})
	}
	require.Empty(t, rva.asked)
}

// Holds: MPIC-08
func TestMPIC08_NoRemoteVAWithoutAnAuthenticatedChannel(t *testing.T) {
	p := newPKI(t)
	for name, change := range map[string]func(*ClientConfig){
		"plain text":     func(c *ClientConfig) { c.Member.URL = "http://127.0.0.1:9397" },
		"no port":        func(c *ClientConfig) { c.Member.URL = "https://127.0.0.1" },
		"a path":         func(c *ClientConfig) { c.Member.URL += "/va" },
		"another's":      func(c *ClientConfig) { c.Member.Protocol = mpic.Native },
		"no key":         func(c *ClientConfig) { c.Member.TLSKey = "abc" },
		"no roots":       func(c *ClientConfig) { c.Roots = nil },
		"no certificate": func(c *ClientConfig) { c.Certificate = nil },
		"no logger":      func(c *ClientConfig) { c.Logger = nil },
		"no clock":       func(c *ClientConfig) { c.Now = nil },
		"no accounts":    func(c *ClientConfig) { c.Accounts = nil },
		"no issuers":     func(c *ClientConfig) { c.Issuers = nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := ClientConfig{Member: ashburn(), Certificate: p.show("va.boulder"), Roots: p.roots, Accounts: accounts,
				Issuers: []string{"ca.example"}, Logger: slog.New(slog.DiscardHandler), Now: time.Now}
			change(&c)
			_, err := NewRemote(c)
			require.ErrorContains(t, err, `boulder: remote "ashburn"`)
		})
	}
}
