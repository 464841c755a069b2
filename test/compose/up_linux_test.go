package compose

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/stretchr/testify/require"
)

// TestTheServicesRun starts what `docker compose up` would.
//
// Holds: REC-05, REC-06, MPIC-08
func TestTheServicesRun(t *testing.T) { isolate(t, "TestTheServicesRunInside") }

// TestTheSandboxIssues starts what `docker compose --profile sandbox up sandbox` would.
func TestTheSandboxIssues(t *testing.T) { isolate(t, "TestTheSandboxIssuesInside") }

// validation is what the REST front says of one.
type validation struct {
	Number       int
	Outcome      string
	Perspectives []struct{ Name, Role, State string }
}

// states counts the remotes in each state.
func (v validation) states() map[string]int {
	out := map[string]int{}
	for _, p := range v.Perspectives {
		if p.Role == "remote" {
			out[p.State]++
		}
	}
	return out
}

// trusting is a client for a server that shows one of these certificates.
func trusting(t *testing.T, pem []byte) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
}

// validate asks the gate as the RA would, at the port that is published to the host.
func (e *engine) validate(name string) validation {
	e.t.Helper()
	own := e.volume("gate", "")
	certificate, err := os.ReadFile(filepath.Join(own, "tls.pem"))
	require.NoError(e.t, err)
	key, err := os.ReadFile(filepath.Join(own, "ra-1.api-key"))
	require.NoError(e.t, err)
	token := strings.Repeat("t", 43)
	body, err := json.Marshal(map[string]any{"identifier": map[string]string{"type": "dns", "value": name}, "method": "dns-01",
		"token": token, "key_authorization": token + "." + strings.Repeat("A", 43), "token_created": time.Now().Add(-time.Second).UTC().Format(time.RFC3339),
		"account_uri": "https://ca.example.com/acct/1"})
	require.NoError(e.t, err)
	request, err := http.NewRequest(http.MethodPost, "https://localhost:8443/v1/validations", bytes.NewReader(body))
	require.NoError(e.t, err)
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
	request.Header.Set("Content-Type", "application/json")
	response, err := trusting(e.t, certificate).Do(request)
	require.NoError(e.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(e.t, err)
	v := validation{}
	require.NoError(e.t, json.Unmarshal(text, &v), "%s", text)
	require.Equal(e.t, http.StatusUnprocessableEntity, response.StatusCode, "%s", text)
	require.Equal(e.t, "refused", v.Outcome, "%s", text)
	return v
}

// reaches validates a name that nobody can look up here, until the remotes are in these states: on a busy machine one of them
// may answer after the gate has waited as long as it is worth for the record.
func (e *engine) reaches(want map[string]int) validation {
	e.t.Helper()
	for tries := 1; ; tries++ {
		v := e.validate("www.example.com")
		if maps.Equal(want, v.states()) {
			return v
		}
		require.Less(e.t, tries, 5, "%v", v.states())
	}
}

// audit runs quorate audit beside the gate, as docs/docker.md says, and holds it to its success.
func (e *engine) audit(args ...string) string {
	e.t.Helper()
	out, err := e.exec("gate", append(append([]string{"/quorate", "audit"}, args...), "--config", "/etc/quorate/quorate.yaml")...)
	require.NoError(e.t, err, "%s", out)
	return out
}

// changesNothing logs in as a user of the database, with the password in a file of a volume, and is refused what would change
// or remove a record, make a trigger, or read a password.
func (e *engine) changesNothing(user, file string) {
	e.t.Helper()
	password, err := os.ReadFile(filepath.Join(e.dir, "volumes", file))
	require.NoError(e.t, err)
	at := url.URL{Scheme: "postgres", User: url.UserPassword(user, strings.TrimSpace(string(password))),
		Host: e.members["records/database"].String() + ":5432", Path: "/quorate"}
	conn, err := pgx.Connect(e.t.Context(), at.String())
	require.NoError(e.t, err)
	defer func() { require.NoError(e.t, conn.Close(context.WithoutCancel(e.t.Context()))) }()
	var records int
	require.NoError(e.t, conn.QueryRow(e.t.Context(), "SELECT count(*) FROM decisions").Scan(&records))
	require.Positive(e.t, records)
	for _, statement := range []string{"UPDATE decisions SET outcome = 'granted'", "DELETE FROM decisions", "TRUNCATE decisions CASCADE",
		"DROP TABLE decisions", "ALTER TABLE decisions DISABLE TRIGGER ALL", "CREATE TABLE another (a int)", "SET ROLE quorate",
		"SELECT rolpassword FROM pg_authid", "SELECT pg_read_file('/etc/passwd')"} {
		_, err := conn.Exec(e.t.Context(), statement)
		var refused *pgconn.PgError
		require.ErrorAs(e.t, err, &refused, statement)
		require.Equal(e.t, "42501", refused.Code, "%s: %v", statement, err) // insufficient_privilege
	}
}

func TestTheServicesRunInside(t *testing.T) {
	if *inside == "" {
		t.Skip("TestTheServicesRun runs this in a namespace")
	}
	e := newEngine(t)
	e.up("gate")
	e.healthy("gate")
	e.publish("gate")
	perspectives := []string{"ashburn", "sao-paulo", "johannesburg", "singapore", "stockholm"}
	for _, name := range perspectives {
		e.healthy(name)
	}

	// What no rule allows is refused without a packet, and is on record.
	v := e.validate("*.*.example.com")
	require.Equal(t, 1, v.Number)
	// There is no way to the Internet here: the primary can see nothing, but all five remotes are reached, and sign.
	e.reaches(map[string]int{"answered": 5})

	// The records are in PostgreSQL, and the gate could not change one.
	require.Contains(t, e.audit("list"), "www.example.com")
	require.Contains(t, e.audit("show", "2"), "Johannesburg")
	e.audit("verify", "--depth", "decisions", "--log-key", "/etc/quorate/log.key.pub")
	e.changesNothing("gate", "gate/database-password")
	out, err := e.exec("gate", "/quorate", "audit", "list", "--postgres", "postgres://quorate@database:5432/quorate")
	require.Error(t, err)
	require.Contains(t, out, "password", "the owner is not let in without one")

	// Nothing in a container can be written to but its volumes.
	out, err = e.exec("gate", "/quorate", "init", "/new")
	require.Error(t, err)
	require.Contains(t, out, "read-only file system")

	// A perspective is killed: the gate goes on, and says so.
	require.Error(t, e.stop("singapore", syscall.SIGKILL))
	v = e.reaches(map[string]int{"answered": 4, "unreachable": 1})
	e.healthy("gate")
	e.up("singapore") // as the restart policy has it
	e.healthy("singapore")

	// All end in good order, and go on where they were: `docker compose up` again.
	require.NoError(t, e.stop("gate", syscall.SIGTERM))
	for _, name := range perspectives {
		require.NoError(t, e.stop(name, syscall.SIGTERM), name)
	}
	before, err := os.ReadFile(filepath.Join(e.volume("gate", ""), "quorate.yaml"))
	require.NoError(t, err)
	e.up("gate")
	e.healthy("gate")
	after, err := os.ReadFile(filepath.Join(e.volume("gate", ""), "quorate.yaml"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "init leaves alone what it made")
	require.Greater(t, e.reaches(map[string]int{"answered": 5}).Number, v.Number, "on the same records")

	// A gate whose signer's memory is lost does not begin a new one by itself.
	require.NoError(t, e.stop("gate", syscall.SIGTERM))
	memory := filepath.Join(e.volume("log-memory", ""), "log.memory")
	require.NoError(t, os.Rename(memory, memory+".away"))
	e.up("gate")
	<-e.running["gate"].ended
	require.Error(t, e.running["gate"].err)
	require.NoError(t, os.Rename(memory+".away", memory))
	e.up("gate")
	e.healthy("gate")
	require.NoError(t, e.stop("gate", syscall.SIGTERM))
}

// byHTTP publishes dns-01's records in the sandbox, as docs/docker.md says.
type byHTTP struct{ url string }

func (b byHTTP) Present(ctx context.Context, c acme.Challenge) error {
	return b.post(ctx, "/present", c)
}
func (b byHTTP) CleanUp(ctx context.Context, c acme.Challenge) error {
	return b.post(ctx, "/cleanup", c)
}

func (b byHTTP) post(ctx context.Context, path string, c acme.Challenge) error {
	body, err := json.Marshal(map[string]string{"fqdn": c.DNS01TXTRecordName() + ".", "value": c.DNS01KeyAuthorization()})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func TestTheSandboxIssuesInside(t *testing.T) {
	if *inside == "" {
		t.Skip("TestTheSandboxIssues runs this in a namespace")
	}
	e := newEngine(t)
	e.up("sandbox")
	e.healthy("sandbox")
	e.publish("sandbox")
	response, err := http.Get("http://localhost:8055/ca.pem")
	require.NoError(t, err)
	defer response.Body.Close()
	ca, err := io.ReadAll(response.Body)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := acmez.Client{
		Client:           &acme.Client{Directory: "https://localhost:14000/dir", HTTPClient: trusting(t, ca)},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeDNS01: byHTTP{"http://localhost:8055"}},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	account, err := client.NewAccount(ctx, acme.Account{TermsOfServiceAgreed: true, PrivateKey: key})
	require.NoError(t, err)
	certified, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	chains, err := client.ObtainCertificateForSANs(ctx, account, certified, []string{"*.here.example.com"})
	require.NoError(t, err)
	block, _ := pem.Decode(chains[0].ChainPEM)
	require.NotNil(t, block)
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.Equal(t, []string{"*.here.example.com"}, leaf.DNSNames)

	require.NoError(t, e.stop("sandbox", syscall.SIGTERM))
	require.Contains(t, e.running["sandbox"].out.String(), "5/5", "the table of the attempt that was granted")
}
