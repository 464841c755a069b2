package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/cmd/internal/config"
	"github.com/quorate/quorate/mpic/perspective"
)

type initCmd struct {
	Dir    string   `arg:"" help:"A directory that does not exist yet, or is empty."`
	Host   []string `default:"localhost,127.0.0.1,::1" help:"Names and addresses of the gate, for its REST certificate (${default})."`
	Issuer string   `default:"ca.example.com" help:"The CA's issuer domain name (${default})."`

	Templates string `type:"existingdir" placeholder:"DIR" help:"Take quorate.yaml.tmpl and perspective.yaml.tmpl from this directory instead of the built-in ones."`
	Passwords bool   `help:"Make passwords for a PostgreSQL server too: in <dir>/database, and the gate's in <dir>/gate/database-password."`
	Keep      bool   `help:"Where all is there already, leave it as it is, and succeed."`
}

// Help is shown below the flags' list.
func (initCmd) Help() string {
	return "The perspectives' places and addresses are examples: put your own there before you start. Nothing is overwritten."
}

var (
	//go:embed quorate.yaml.tmpl
	gateTemplate string
	//go:embed perspective.yaml.tmpl
	perspectiveTemplate string
)

// example is a perspective of the configuration that init writes: real cities, 500 km and more apart, in all five regions.
type example struct {
	Name, Title, Region string
	Latitude, Longitude float64
	TLSKey, SigningKey  string
	// Gate is the gate's TLS key, for the perspective's own configuration.
	Gate string
}

func examples() []example {
	return []example{
		{Name: "ashburn", Title: "Ashburn", Region: "ARIN", Latitude: 39.04, Longitude: -77.49},
		{Name: "sao-paulo", Title: "São Paulo", Region: "LACNIC", Latitude: -23.55, Longitude: -46.63},
		{Name: "johannesburg", Title: "Johannesburg", Region: "AFRINIC", Latitude: -26.20, Longitude: 28.05},
		{Name: "singapore", Title: "Singapore", Region: "APNIC", Latitude: 1.35, Longitude: 103.82},
		{Name: "stockholm", Title: "Stockholm", Region: "RIPE NCC", Latitude: 59.33, Longitude: 18.07},
	}
}

// restLife is how long the REST front's self-signed certificate is good for: its clients look at the date.
const restLife = 397 * 24 * time.Hour

func (c initCmd) Run(out console) error {
	if err := c.check(); err != nil { // before keys are written for a configuration that cannot be used
		return err
	}
	if done, err := c.begin(); done || err != nil {
		return err
	}
	now := time.Now()
	gate := filepath.Join(c.Dir, "gate")
	if err := os.MkdirAll(gate, 0o700); err != nil {
		return err
	}
	if c.Passwords {
		if err := c.writePasswords(); err != nil {
			return err
		}
	}
	id, err := perspective.GenerateGateIdentity("quorate gate", now)
	if err != nil {
		return err
	}
	if err := id.Save(perspective.Files{Certificate: filepath.Join(gate, "identity.pem"), TLSKey: filepath.Join(gate, "identity-key.pem")}); err != nil {
		return err
	}
	remotes := examples()
	for i := range remotes {
		remotes[i].Gate = id.TLSKey()
		if err := c.writePerspective(&remotes[i], now); err != nil {
			return err
		}
	}
	if err := c.writeREST(gate, now); err != nil {
		return err
	}
	digest, err := writeAPIKey(filepath.Join(gate, "ra-1.api-key"))
	if err != nil {
		return err
	}
	origin := c.Issuer + "/quorate"
	key, err := merkle.GenerateLogKey(origin)
	if err == nil {
		err = key.Save(filepath.Join(gate, "log.key"))
	}
	if err != nil {
		return err
	}
	if err := writePermitsKey(filepath.Join(gate, "permits-key.pem")); err != nil {
		return err
	}
	text, err := c.template("quorate.yaml.tmpl", gateTemplate)
	if err != nil {
		return err
	}
	if err := writeConfig(filepath.Join(gate, "quorate.yaml"), text, map[string]any{"Issuer": c.Issuer, "APIKey": digest, "Origin": origin,
		"Remotes": remotes}); err != nil {
		return err
	}
	// What was written must be what the program reads.
	if _, err := config.LoadGate(filepath.Join(gate, "quorate.yaml")); err != nil {
		return err
	}
	return c.nextSteps(out, remotes)
}

func (c initCmd) check() error {
	if c.Dir == "" {
		return errors.New("<dir>: a directory is needed")
	}
	if !config.IssuerName(c.Issuer) {
		return fmt.Errorf("--issuer: %q is no issuer domain name: labels of lower case letters, digits and hyphens (RFC 8659 section 4.2)", c.Issuer)
	}
	for _, host := range c.Host {
		if net.ParseIP(host) == nil && (len(host) > 253 || !hostName.MatchString(host)) {
			return fmt.Errorf("--host: %q is neither a host name nor an IP address", host)
		}
	}
	return nil
}

// hostName is what may stand in a certificate for a server (RFC 5890 LDH labels).
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

func (c initCmd) writePerspective(e *example, now time.Time) error {
	dir := filepath.Join(c.Dir, "perspectives", e.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	id, err := perspective.GenerateIdentity(e.Name, now)
	if err != nil {
		return err
	}
	e.TLSKey, e.SigningKey = id.TLSKey(), id.SigningKey()
	if err := id.Save(perspective.Files{Certificate: filepath.Join(dir, "tls.pem"), TLSKey: filepath.Join(dir, "tls-key.pem"),
		SigningKey: filepath.Join(dir, "signing-key.pem")}); err != nil {
		return err
	}
	text, err := c.template("perspective.yaml.tmpl", perspectiveTemplate)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "perspective.yaml")
	if err := writeConfig(file, text, e); err != nil {
		return err
	}
	_, err = config.LoadPerspective(file)
	return err
}

// writeREST makes the certificate that the gate shows its API clients.
func (c initCmd) writeREST(dir string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "quorate gate"}, NotBefore: now.UTC().Add(-time.Minute),
		NotAfter: now.UTC().Add(restLife), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, host := range c.Host {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("the REST certificate for %s: %w", strings.Join(c.Host, ", "), err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(dir, "tls.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, "tls-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)
}

// writePermitsKey makes the key that signs permits, and its public key for the CA and for auditors.
func writePermitsKey(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return errors.Join(writeNew(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		writeNew(file+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644))
}

// writeAPIKey makes an API key of 256 random bits, writes it for the client, and gives its digest for the gate.
func writeAPIKey(file string) (string, error) {
	raw := make([]byte, 32)
	rand.Read(raw) // crypto/rand.Read returns no error: it ends the program instead
	key := base64.RawURLEncoding.EncodeToString(raw)
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:]), writeNew(file, []byte(key+"\n"), 0o600)
}

func writeConfig(file, text string, data any) error {
	t, err := template.New(filepath.Base(file)).Parse(text)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	return writeNew(file, []byte(b.String()), 0o644)
}

// writeNew never overwrites.
func writeNew(file string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(filepath.Clean(file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

func (c initCmd) nextSteps(out console, remotes []example) error {
	var b strings.Builder
	gate := filepath.Join(c.Dir, "gate", "quorate.yaml")
	fmt.Fprintf(&b, `A gate and %d remote perspectives are in %s, with keys of their own.

Next:

  1. Edit %s: the CA's issuer domain names, and for the
     primary and each perspective the place where it really stands and the URL where it is reached.
     What it must come to:  quorate policy --config %s
  2. Bring each directory below %s to its machine, and remove it here.
     Start there:           quorate perspective --config perspective.yaml
  3. Start the gate:        quorate serve --config %s
  4. Try a name, on dry:    quorate check www.example.com --method http-01 --new --config %s
  5. Ask as the RA "ra-1", with the key in %s:

     curl --cacert %s -H "Authorization: Bearer $(cat %s)" \
       -H 'Content-Type: application/json' -d @request.json https://localhost:8443/v1/validations
`, len(remotes), c.Dir, gate, gate, filepath.Join(c.Dir, "perspectives"), gate, gate, filepath.Join(c.Dir, "gate", "ra-1.api-key"),
		filepath.Join(c.Dir, "gate", "tls.pem"), filepath.Join(c.Dir, "gate", "ra-1.api-key"))
	_, err := fmt.Fprint(out.stdout, b.String())
	return err
}
