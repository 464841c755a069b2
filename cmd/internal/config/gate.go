package config

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/audit/merkle"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// Gate is the configuration of a gate, quorate.yaml. docs/configuration.md describes each field.
type Gate struct {
	// Listen is the address and port of the REST front; TLS what it shows its clients.
	Listen string `yaml:"listen"`
	TLS    Pair   `yaml:"tls"`
	// Clients are those who may ask. One at least, or the REST front answers nobody.
	Clients []Client `yaml:"clients"`
	// Identity is what the gate shows to its remote perspectives.
	Identity Pair    `yaml:"identity"`
	Journal  Journal `yaml:"journal"`
	// Checkpoints say who signs the log of the records; left out, nobody does.
	Checkpoints *Checkpoints `yaml:"checkpoints"`
	// Permits say what is signed before issuance; left out, the gate gives no permits.
	Permits *Permits `yaml:"permits"`
	// IODEF reports refusals to those whom CAA records name; left out, nothing is reported.
	IODEF *IODEF `yaml:"iodef"`
	// AuditLog is the log for auditors; left out, there is none.
	AuditLog *AuditLog `yaml:"audit_log"`
	// DraftMPIC is left out where nothing is done by draft-westerbaan-mpic.
	DraftMPIC *DraftMPIC `yaml:"draft_mpic"`
	// Issuers are the CA's Issuer Domain Names (BR 3.2.2.8).
	Issuers []string `yaml:"issuers"`
	// CAALookupFailure is what a failed CAA lookup counts for (va.FailureRule): "deny", the default, or "permit-when-proven".
	CAALookupFailure string     `yaml:"caa_lookup_failure"`
	Primary          Standpoint `yaml:"primary"`
	Perspectives     []Remote   `yaml:"perspectives"`
	// Cohort is left out where all of them take part in each attempt.
	Cohort *Cohort `yaml:"cohort"`
	// OpenMPIC is the front for Open MPIC's clients, at the REST front's address; left out, there is none.
	OpenMPIC *OpenMPIC `yaml:"open_mpic"`
	// Boulder is the front for Boulder's RA; left out, there is none. BoulderRemotes are what the gate shows Boulder's remoteva.
	Boulder        *Boulder        `yaml:"boulder"`
	BoulderRemotes *BoulderRemotes `yaml:"boulder_remotes"`
	Limits         GateLimits      `yaml:"limits"`
	// SourceAddress is where the primary's packets come from; empty lets the host choose.
	SourceAddress string  `yaml:"source_address"`
	Metrics       Metrics `yaml:"metrics"`
	Log           Log     `yaml:"log"`
	// SHA256 is that of the file, in hexadecimal; it is no field of the file.
	SHA256 string `yaml:"-"`
}

// Pair is a certificate and its private key: paths of PEM files.
type Pair struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Load reads both. field is the pair's name in the configuration, for errors. A key that everybody may read is refused.
func (p Pair) Load(field string) (tls.Certificate, error) {
	info, err := os.Stat(p.Key)
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("the key may be read by everybody (mode %04o)", info.Mode().Perm())
	}
	var certificate tls.Certificate
	if err == nil {
		certificate, err = tls.LoadX509KeyPair(p.Certificate, p.Key)
	}
	if err != nil {
		return certificate, fmt.Errorf("%[1]s.certificate %[2]s with %[1]s.key %[3]s: %[4]w", field, p.Certificate, p.Key, err)
	}
	return certificate, nil
}

// Journal is where the records are: a file, or a database on a server.
type Journal struct {
	SQLite string `yaml:"sqlite"`
	// Postgres is the server's address, a URL or libpq's keywords, without the password.
	Postgres string `yaml:"postgres"`
	// PostgresPasswordFile holds the password, and perhaps a newline behind it.
	PostgresPasswordFile string `yaml:"postgres_password_file"`
	// Tokens says how tokens are kept: "values", the default, or "digests".
	Tokens string `yaml:"tokens"`
}

// Checkpoints are the signed heads of the log of records.
type Checkpoints struct {
	// Key is the log's private key, Memory the file in which its signer remembers what it signed.
	Key    string `yaml:"key"`
	Memory string `yaml:"memory"`
	// Interval is how often one is signed while the log grows: 10s, from 1s to 1h.
	Interval time.Duration `yaml:"interval"`
	// Witnesses cosign.
	Witnesses []Cosigner `yaml:"witnesses"`
}

// Permits are what a CA asks for before it issues.
type Permits struct {
	// Key is the private key that signs them, a PEM file (PKCS #8): Ed25519, or ECDSA on P-256.
	Key string `yaml:"key"`
	// Lifetime is how long one is good at most: 1h, from 1m to 8h.
	Lifetime time.Duration `yaml:"lifetime"`
	// Scope is what a validation by DNS is good for: "exact", the default, or "subtree", all names below too (BR 3.2.2.4.7).
	Scope string `yaml:"scope"`
}

// Cosigner is a witness that cosigns checkpoints.
type Cosigner struct {
	// URL is what stands before /add-checkpoint. Key is its verifier key.
	URL string `yaml:"url"`
	Key string `yaml:"key"`
	// Roots is a PEM file of the CAs of an https URL; empty for the system's.
	Roots string `yaml:"roots"`
}

// Cohort says how many of the remote perspectives take part in an attempt.
type Cohort struct {
	Size int `yaml:"size"`
	// SecretFile has 32 octets or more that choose them; any octets, the same for all gates of a CA.
	SecretFile string `yaml:"secret_file"`
}

// Client is one API client. It has a certificate, a key, or both ways to show who it is.
type Client struct {
	Name string `yaml:"name"`
	// CertificateKey is the SHA-256 of the SubjectPublicKeyInfo of the client's certificate, in hexadecimal.
	CertificateKey string `yaml:"certificate_key"`
	// APIKeySHA256 is the SHA-256 of the API key, in hexadecimal: the file does not hold the key.
	APIKeySHA256 string `yaml:"api_key_sha256"`
	// InFlight is how many of the client's validations may run at a time; 0 means 64.
	InFlight int `yaml:"in_flight"`
	// AccountURIPrefixes are the beginnings of the URIs of all accounts that the client may speak for; without any, it may for all.
	AccountURIPrefixes []string `yaml:"account_uri_prefixes"`
}

// Standpoint is a perspective's name and place, and its resolver's place.
type Standpoint struct {
	Name      string  `yaml:"name"`
	Title     string  `yaml:"title"`
	Region    string  `yaml:"region"`
	Latitude  float64 `yaml:"latitude"`
	Longitude float64 `yaml:"longitude"`
	// Resolver is left out where the resolver is the perspective's own, in its process: it then stands where it stands.
	Resolver *Place `yaml:"resolver"`
}

// Place is mpic.Place.
type Place struct {
	Region    string  `yaml:"region"`
	Latitude  float64 `yaml:"latitude"`
	Longitude float64 `yaml:"longitude"`
}

// Remote is a remote perspective: a standpoint, where it is reached, and its pinned keys.
type Remote struct {
	Name       string  `yaml:"name"`
	Title      string  `yaml:"title"`
	URL        string  `yaml:"url"`
	Region     string  `yaml:"region"`
	Latitude   float64 `yaml:"latitude"`
	Longitude  float64 `yaml:"longitude"`
	Resolver   *Place  `yaml:"resolver"`
	TLSKey     string  `yaml:"tls_key"`
	SigningKey string  `yaml:"signing_key"`
	// Protocol is mpic.Member's; left out, ours. Code is what the remote is called in it, where that is not Name.
	Protocol string `yaml:"protocol"`
	Code     string `yaml:"code"`
	// APIKeyFile holds the key that is shown to an Open MPIC checker or coordinator; Roots, a PEM file, has the CAs of its certificate,
	// the system's where it is left out.
	APIKeyFile string `yaml:"api_key_file"`
	Roots      string `yaml:"roots"`
}

// GateLimits bound time and work. A zero field takes the default.
type GateLimits struct {
	// Attempt is the deadline of an attempt: 20s, from 1s to 5m.
	Attempt time.Duration `yaml:"attempt"`
	// GrantGrace and RefusalGrace are how long to wait for stragglers, for the record: 0s and 2s.
	GrantGrace   time.Duration `yaml:"grant_grace"`
	RefusalGrace time.Duration `yaml:"refusal_grace"`
	// Resolution bounds one DNS lookup of the primary: 15s, at most 60s.
	Resolution time.Duration `yaml:"resolution"`
	// Shutdown is how long running attempts may take to end: 30s, at most 10m.
	Shutdown time.Duration `yaml:"shutdown"`
	// InFlight is how many attempts run at once: 256, at most 65536.
	InFlight int `yaml:"in_flight"`
	// Waiting is how many more wait for their turn, 5 s at most: 256, at most 65536.
	Waiting int `yaml:"waiting"`
}

// Places is how many attempts run and wait at most.
func (l GateLimits) Places() int {
	n := l.InFlight + l.Waiting
	if l.InFlight == 0 {
		n += mpic.DefaultMaxInFlight
	}
	if l.Waiting == 0 {
		n += mpic.DefaultMaxWaiting
	}
	return n
}

// Metrics says where operators read metrics and profiles, over plain HTTP.
type Metrics struct {
	// Listen is an address and port of a private network; empty serves none.
	Listen string `yaml:"listen"`
}

// Log says what is written to standard error.
type Log struct {
	// Level is debug, info (the default), warn or error.
	Level string `yaml:"level"`
	// Format is text (the default) or json.
	Format string `yaml:"format"`
}

var (
	memberName    = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	clientName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	hexDigest     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	keyThumbprint = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	issuerName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
)

// IssuerName tells whether a text is an Issuer Domain Name as CAA records name it (RFC 8659 section 4.2), in lower case.
func IssuerName(name string) bool { return len(name) <= 253 && issuerName.MatchString(name) }

// LoadGate reads a gate's configuration. Paths in the result are absolute or relative to the working directory; in the
// file they are relative to the file. The error has one Mistake for each thing that is wrong.
func LoadGate(file string) (Gate, error) {
	text, err := read(file)
	if err != nil {
		return Gate{}, err
	}
	return ParseGate(file, text)
}

// ParseGate is LoadGate over a text that is already read; file stands in the mistakes and is what paths are relative to.
func ParseGate(file string, text []byte) (Gate, error) {
	var g Gate
	d, err := parse(file, text, &g)
	if err != nil {
		return Gate{}, err
	}
	sum := sha256.Sum256(text)
	g.SHA256 = hex.EncodeToString(sum[:])
	return d.gate(g)
}

func (d *document) gate(g Gate) (Gate, error) {
	d.require("", "listen", "tls", "clients", "identity", "journal", "issuers", "primary", "perspectives")
	d.address("listen", g.Listen)
	d.pair("tls", &g.TLS)
	d.pair("identity", &g.Identity)
	d.journal(&g.Journal)
	d.checkpoints(g.Checkpoints)
	if p := g.Permits; p != nil {
		d.require("permits", "key")
		p.Key = d.path(p.Key)
		if d.has("permits.lifetime") && (p.Lifetime < time.Minute || p.Lifetime > mpic.MaxPermitLifetime) {
			d.refuse("permits.lifetime", "CAA-05", "%s is not between 1m and %s", p.Lifetime, mpic.MaxPermitLifetime)
		}
		if d.has("permits.scope") && p.Scope != "exact" && p.Scope != "subtree" {
			d.refuse("permits.scope", "DCV-03", "%q is neither \"exact\" nor \"subtree\"", p.Scope)
		}
	}
	d.iodef(g.IODEF)
	d.auditLog(g.AuditLog)
	d.clients(g.Clients)
	if d.has("issuers") && len(g.Issuers) == 0 {
		d.refuse("issuers", "CAA-01", "one name at least is needed: without one no CAA record could permit")
	}
	for i, name := range g.Issuers {
		if !IssuerName(name) {
			d.refuse(fmt.Sprintf("issuers[%d]", i), "CAA-02", "%q is no issuer domain name: labels of lower case letters, digits "+
				"and hyphens (RFC 8659 section 4.2)", name)
		}
	}
	if _, err := va.ParseFailureRule(g.CAALookupFailure); d.has("caa_lookup_failure") && err != nil {
		d.refuse("caa_lookup_failure", "CAA-06", "%q is neither \"deny\" nor \"permit-when-proven\"", g.CAALookupFailure)
	}
	d.standpoint("primary", g.Primary)
	names := map[string]string{g.Primary.Name: "primary"}
	for i, r := range g.Perspectives {
		field := fmt.Sprintf("perspectives[%d]", i)
		d.remote(field, r)
		g.Perspectives[i].APIKeyFile, g.Perspectives[i].Roots = d.path(r.APIKeyFile), d.path(r.Roots)
		if other, taken := names[r.Name]; taken && r.Name != "" {
			d.refuse(field+".name", "MPIC-05", "%q is the name of %s already", r.Name, other)
		}
		names[r.Name] = field
	}
	d.draft(g.DraftMPIC, names)
	if c := g.Cohort; c != nil {
		d.require("cohort", "size", "secret_file")
		if n := len(g.Roster().Remotes); d.has("cohort.size") && (c.Size < 1 || c.Size > n) {
			d.refuse("cohort.size", "MPIC-02", "%d is not between 1 and the number of perspectives, %d", c.Size, n)
		}
		c.SecretFile = d.path(c.SecretFile)
	}
	d.openMPIC(g.OpenMPIC)
	d.boulder(g.Boulder)
	d.shadow(g)
	d.boulderRemotes(g.BoulderRemotes, g.Perspectives)
	d.limits(g.Limits)
	d.source("source_address", g.SourceAddress)
	d.metrics(g.Metrics)
	d.log(g.Log)
	return g, d.err()
}

func (d *document) checkpoints(c *Checkpoints) {
	if c == nil {
		return
	}
	d.require("checkpoints", "key", "memory")
	c.Key, c.Memory = d.path(c.Key), d.path(c.Memory)
	if d.has("checkpoints.interval") && (c.Interval < time.Second || c.Interval > time.Hour) {
		d.refuse("checkpoints.interval", "", "%s is not between 1s and 1h", c.Interval)
	}
	for i := range c.Witnesses {
		w, field := &c.Witnesses[i], fmt.Sprintf("checkpoints.witnesses[%d]", i)
		d.require(field, "url", "key")
		if u, err := url.Parse(w.URL); d.has(field+".url") && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
			d.refuse(field+".url", "", "%q is no http or https URL", w.URL)
		}
		if _, err := merkle.NewWitnessVerifier(w.Key); d.has(field+".key") && err != nil {
			d.refuse(field+".key", "", "this is no verifier key of a witness: %v", err)
		}
		w.Roots = d.path(w.Roots)
	}
}

func (d *document) limits(l GateLimits) {
	for _, f := range []struct {
		field    string
		value    time.Duration
		min, max time.Duration
	}{
		{"attempt", l.Attempt, time.Second, 5 * time.Minute},
		{"grant_grace", l.GrantGrace, 0, time.Minute},
		{"refusal_grace", l.RefusalGrace, time.Millisecond, time.Minute},
		{"resolution", l.Resolution, 100 * time.Millisecond, time.Minute},
		{"shutdown", l.Shutdown, time.Second, 10 * time.Minute},
	} {
		if d.has("limits."+f.field) && (f.value < f.min || f.value > f.max) {
			d.refuse("limits."+f.field, "", "%s is not between %s and %s", f.value, f.min, f.max)
		}
	}
	attempt := l.Attempt
	if attempt == 0 {
		attempt = mpic.DefaultDeadline
	}
	for field, grace := range map[string]time.Duration{"grant_grace": l.GrantGrace, "refusal_grace": l.RefusalGrace} {
		if grace > attempt {
			d.refuse("limits."+field, "", "%s is more than an attempt may take, %s", grace, attempt)
		}
	}
	if d.has("limits.in_flight") && (l.InFlight < 1 || l.InFlight > 65536) {
		d.refuse("limits.in_flight", "", "%d is not between 1 and 65536", l.InFlight)
	}
	if d.has("limits.waiting") && (l.Waiting < 1 || l.Waiting > 65536) {
		d.refuse("limits.waiting", "", "%d is not between 1 and 65536", l.Waiting)
	}
}

func (d *document) clients(clients []Client) {
	if d.has("clients") && len(clients) == 0 {
		d.refuse("clients", "", "one client at least is needed: without one the gate would answer nobody")
	}
	d.clientsAt("clients", clients)
}

// clientsAt checks the clients of one front: each has a name and a key of its own.
func (d *document) clientsAt(list string, clients []Client) {
	names, keys := map[string]bool{}, map[string]string{}
	for i, c := range clients {
		field := fmt.Sprintf("%s[%d]", list, i)
		d.require(field, "name")
		if d.has(field+".name") && !clientName.MatchString(c.Name) {
			d.refuse(field+".name", "REC-03", "%q: a name is 1 to 63 letters, digits, dots, underscores and hyphens", c.Name)
		}
		if names[c.Name] && c.Name != "" {
			d.refuse(field+".name", "REC-03", "%q is the name of two clients", c.Name)
		}
		names[c.Name] = true
		if c.CertificateKey == "" && c.APIKeySHA256 == "" {
			d.refuse(field, "", "certificate_key or api_key_sha256 is needed: a client must be able to show who it is")
		}
		for name, value := range map[string]string{"certificate_key": c.CertificateKey, "api_key_sha256": c.APIKeySHA256} {
			if value == "" {
				continue
			}
			if !hexDigest.MatchString(value) {
				d.refuse(field+"."+name, "", "a SHA-256 digest in lower case hexadecimal is needed, 64 characters")
			} else if other, taken := keys[value]; taken {
				d.refuse(field+"."+name, "REC-03", "this is the key of client %q already", other)
			}
			keys[value] = c.Name
		}
		if d.has(field+".in_flight") && (c.InFlight < 1 || c.InFlight > 4096) {
			d.refuse(field+".in_flight", "", "%d is not between 1 and 4096", c.InFlight)
		}
		d.accounts(field+".account_uri_prefixes", c.AccountURIPrefixes)
	}
}

func (d *document) remote(field string, r Remote) {
	d.protocol(field, r)
	d.standpoint(field, Standpoint{r.Name, r.Title, r.Region, r.Latitude, r.Longitude, r.Resolver})
	if d.has(field + ".url") {
		u, err := url.Parse(r.URL)
		switch {
		case err != nil:
			d.refuse(field+".url", "", "%q is no URL", r.URL)
		case u.Scheme != "https": // MPIC-08: plain-text remotes are refused at start
			d.refuse(field+".url", "MPIC-08", "%q is not https: the channel to a remote is authenticated and encrypted", r.URL)
		case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
			d.refuse(field+".url", "", "%q: https://HOST[:PORT][/PATH] is needed, and nothing more", r.URL)
		}
	}
	if d.has(field+".tls_key") && !hexDigest.MatchString(r.TLSKey) {
		d.refuse(field+".tls_key", "MPIC-08", "the SHA-256 of the perspective's public TLS key is needed, 64 characters of lower "+
			"case hexadecimal")
	}
	if d.has(field+".signing_key") && !keyThumbprint.MatchString(r.SigningKey) {
		d.refuse(field+".signing_key", "MPIC-08", "the RFC 7638 thumbprint of the perspective's signing key is needed, 43 "+
			"characters of base64url")
	}
}

func (d *document) standpoint(field string, s Standpoint) {
	if !d.has(field) {
		return
	}
	d.require(field, "name", "title")
	if d.has(field+".name") && !memberName.MatchString(s.Name) {
		d.refuse(field+".name", "REC-01", "%q: a name is 1 to 63 lower case letters, digits and hyphens", s.Name)
	}
	if d.has(field+".title") && (s.Title == "" || len(s.Title) > 63) {
		d.refuse(field+".title", "", "a title has 1 to 63 characters")
	}
	d.earthly(field, Place{s.Region, s.Latitude, s.Longitude})
	if s.Resolver != nil {
		d.earthly(field+".resolver", *s.Resolver)
		if s.Resolver.Region != s.Region && d.has(field+".resolver.region") {
			d.refuse(field+".resolver.region", "MPIC-06", "the resolver stands in %q and the perspective in %q: one region is needed",
				s.Resolver.Region, s.Region)
		}
	}
}

func (d *document) earthly(field string, p Place) {
	d.require(field, "region", "latitude", "longitude")
	if d.has(field+".region") && !slices.Contains(mpic.Regions(), mpic.Region(p.Region)) {
		d.refuse(field+".region", "MPIC-04", "%q is none of AFRINIC, APNIC, ARIN, LACNIC, RIPE NCC", p.Region)
	}
	if d.has(field+".latitude") && !(p.Latitude >= -90 && p.Latitude <= 90) {
		d.refuse(field+".latitude", "MPIC-05", "%v is not between -90 and 90 degrees", p.Latitude)
	}
	if d.has(field+".longitude") && !(p.Longitude >= -180 && p.Longitude <= 180) {
		d.refuse(field+".longitude", "MPIC-05", "%v is not between -180 and 180 degrees", p.Longitude)
	}
}

func (d *document) pair(field string, p *Pair) {
	if !d.has(field) {
		return
	}
	d.require(field, "certificate", "key")
	p.Certificate, p.Key = d.path(p.Certificate), d.path(p.Key)
}

// path makes a path of the file, which is relative to the file, one of the process.
func (d *document) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(d.file), p)
}

// address checks a listening address: an IP address or nothing, and a port.
func (d *document) address(field, value string) {
	if !d.has(field) {
		return
	}
	host, port, err := net.SplitHostPort(value)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if n, numErr := net.LookupPort("tcp", port); err != nil || numErr != nil || strings.Trim(port, "0123456789") != "" || n < 0 {
		d.refuse(field, "", "%q: ADDRESS:PORT or :PORT is needed, for example 127.0.0.1:8443", value)
	}
}

func (d *document) source(field, value string) {
	if !d.has(field) {
		return
	}
	if a, err := netip.ParseAddr(value); err != nil || a.IsUnspecified() || a.Zone() != "" {
		d.refuse(field, "", "%q is no IP address of this host to send from", value)
	}
}

func (d *document) metrics(m Metrics) {
	if d.has("metrics") {
		d.require("metrics", "listen")
		d.address("metrics.listen", m.Listen)
	}
}

func (d *document) log(l Log) {
	if d.has("log.level") && !slices.Contains([]string{"debug", "info", "warn", "error"}, l.Level) {
		d.refuse("log.level", "", "%q is none of debug, info, warn, error", l.Level)
	}
	if d.has("log.format") && l.Format != "text" && l.Format != "json" {
		d.refuse("log.format", "", "%q is neither text nor json", l.Format)
	}
}

// Roster gives the perspectives in the form in which they are judged.
func (g Gate) Roster() mpic.Roster {
	roster := mpic.Roster{Primary: member(g.Primary)}
	for _, r := range g.Perspectives {
		m := member(Standpoint{r.Name, r.Title, r.Region, r.Latitude, r.Longitude, r.Resolver})
		m.URL, m.TLSKey, m.SigningKey = r.URL, r.TLSKey, r.SigningKey
		m.Protocol, m.Code = mpic.Protocol(r.Protocol), r.Code
		roster.Remotes = append(roster.Remotes, m)
	}
	roster.Remotes = append(roster.Remotes, g.DraftMPIC.members()...)
	return roster
}

func member(s Standpoint) mpic.Member {
	m := mpic.Member{Name: s.Name, Title: s.Title,
		Place: mpic.Place{Region: mpic.Region(s.Region), Latitude: s.Latitude, Longitude: s.Longitude}}
	m.Resolver = m.Place
	if s.Resolver != nil {
		m.Resolver = mpic.Place{Region: mpic.Region(s.Resolver.Region), Latitude: s.Resolver.Latitude, Longitude: s.Resolver.Longitude}
	}
	return m
}
