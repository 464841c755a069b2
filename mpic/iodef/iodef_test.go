package iodef

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token  = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
	secret = token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
)

// book keeps notices in memory, and holds its caller to the contract.
type book struct {
	mu   sync.Mutex
	all  []mpic.Notice
	fail error
	// hang makes Notice wait for it.
	hang chan struct{}
}

func (b *book) Notice(ctx context.Context, n mpic.Notice) error {
	if b.hang != nil {
		select {
		case <-b.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	b.all = append(b.all, n)
	return nil
}

// of gives the notices of a record, in their order.
func (b *book) of(number int64) (all []mpic.Notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.all {
		if n.Number == number {
			all = append(all, n)
		}
	}
	return all
}

func outcomes(all []mpic.Notice) (out []string) {
	for _, n := range all {
		out = append(out, fmt.Sprintf("%d %s %s", n.Position, n.Outcome, n.Code))
	}
	return out
}

func config(b *book, m *Mail) Config {
	return Config{Records: b, Mail: m, Organization: "Example CA", Contact: "caa@ca.example.net", Text: "Questions? Ask us.", Timeout: 5 * time.Second,
		Drain: 5 * time.Second}
}

func start(t testing.TB, c Config) *Reporter {
	t.Helper()
	r, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close(context.Background())) })
	return r
}

// job is one as Refused makes it, of a name whose CAA records have these iodef properties.
func work(number int64, name string, properties ...string) job {
	records := []string{name + ".\t300\tIN\tCAA\t0 issue \"other.example\""}
	for _, p := range properties {
		records = append(records, name+".\t300\tIN\tCAA\t0 iodef \""+p+"\"")
	}
	j := job{attempt: fmt.Sprintf("A%d", number), number: number, domain: va.RegisteredDomain(name), contacts: va.Contacts(records),
		facts: facts{name: name, code: "caa.forbidden", issuers: []string{"ca.example.net"}, started: time.Now().Add(-time.Second), number: number,
			organization: "Example CA", contact: "caa@ca.example.net", text: "Questions? Ask us."}}
	j.facts.forbade(va.CAAFinding{Found: name, Records: records}, va.Request{Identifier: name})
	return j
}

// done ends a reporter, so that all is on record.
func done(t testing.TB, r *Reporter) {
	t.Helper()
	require.NoError(t, r.Close(t.Context()))
}

// Holds: CAA-09
func TestCAA_09_MailIsDelivered(t *testing.T) {
	for name, c := range map[string]conduct{
		"STARTTLS":            {},
		"implicit TLS":        {implicit: true},
		"STARTTLS and login":  {password: "x y"},
		"implicit with login": {implicit: true, password: "x y"},
		"RSET is refused":     {replies: map[string]string{"RSET": "500 what"}},
		"hangs up at the end": {replies: map[string]string{"RSET": "close"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, b := startSubmission(t, c), &book{}
			m := s.mail()
			if c.password != "" {
				m.Username, m.Password = "robot", c.password
			}
			r := start(t, config(b, m))
			r.enqueue(work(17, "shop.example.com", "mailto:CAA+x@Example.ORG"))
			done(t, r)
			all := b.of(17)
			require.Equal(t, []string{"0 begun notice.begun", "0 delivered notice.delivered"}, outcomes(all), "%v", all)
			require.Equal(t, "A17", all[0].Attempt)
			require.Len(t, all[0].Report, 64)
			require.Equal(t, all[0].Report, all[1].Report)
			taken := s.taken()
			require.Len(t, taken, 1)
			require.True(t, taken[0].secure)
			require.Equal(t, "TO:<CAA+x@example.org>", taken[0].to)
			require.True(t, strings.HasPrefix(taken[0].from, "FROM:<caa@ca.example.net>"), taken[0].from)
			require.NotContains(t, taken[0].from, "SMTPUTF8")
			head, _, _ := strings.Cut(taken[0].text, "\r\n\r\n")
			for _, field := range []string{"Subject: Certificate request refused by CAA: shop.example.com", "Auto-Submitted: auto-generated",
				"To: <CAA+x@example.org>", "From: \"Example CA\" <caa@ca.example.net>"} {
				require.Contains(t, head, field)
			}
			require.Contains(t, taken[0].text, `filename="caa-17.xml"`)
			require.NotContains(t, taken[0].text, token)
		})
	}
}

// Holds: CAA-09
func TestCAA_09_MailServersThatDoNotTakeIt(t *testing.T) {
	for name, c := range map[string]struct {
		conduct
		want  string
		reply int
	}{
		"no STARTTLS":            {conduct{without: "STARTTLS"}, "failed notice.mail-server", 0},
		"STARTTLS refused":       {conduct{replies: map[string]string{"STARTTLS": "454 later"}}, "failed notice.mail-server", 454},
		"a wrong password":       {conduct{password: "another"}, "failed notice.mail-server", 535},
		"a greeting that is no":  {conduct{replies: map[string]string{"greeting": "554 go away"}}, "failed notice.mail-server", 554},
		"hangs up at once":       {conduct{replies: map[string]string{"greeting": "close"}}, "failed notice.mail-server", 0},
		"never greets":           {conduct{replies: map[string]string{"greeting": "hang"}}, "failed notice.mail-server", 0},
		"does not stop talking":  {conduct{replies: map[string]string{"EHLO": "flood"}}, "failed notice.mail-server", 0},
		"the sender is refused":  {conduct{replies: map[string]string{"MAIL": "550 not you"}}, "refused notice.mail-refused", 550},
		"nobody of that name":    {conduct{replies: map[string]string{"RCPT": "550 nobody"}}, "refused notice.mail-refused", 550},
		"later, please":          {conduct{replies: map[string]string{"RCPT": "451 later"}}, "refused notice.mail-refused", 451},
		"the text is refused":    {conduct{replies: map[string]string{"end": "554 spam"}}, "refused notice.mail-refused", 554},
		"an answer of no words":  {conduct{replies: map[string]string{"RCPT": "550"}}, "failed notice.mail-broken", 0},
		"hangs up at the rcpt":   {conduct{replies: map[string]string{"RCPT": "close"}}, "failed notice.mail-broken", 0},
		"hangs up after text":    {conduct{replies: map[string]string{"end": "close"}}, "failed notice.mail-broken", 0},
		"never answers the text": {conduct{replies: map[string]string{"end": "hang"}}, "failed notice.mail-broken", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, b := startSubmission(t, c.conduct), &book{}
			m := s.mail()
			if c.password != "" {
				m.Username, m.Password = "robot", "secret-word"
			}
			conf := config(b, m)
			conf.Timeout = time.Second
			r := start(t, conf)
			r.enqueue(work(1, "example.com", "mailto:a@example.com"))
			done(t, r)
			all := b.of(1)
			require.Equal(t, []string{"0 begun notice.begun", "0 " + c.want}, outcomes(all), "%v", all)
			require.Equal(t, c.reply, all[1].Reply, "%v", all[1])
			require.NotContains(t, all[1].Detail, "secret-word")
			require.Empty(t, s.taken())
			require.Equal(t, 1, s.heard("greeting"), "there is one try")
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		s, b := startSubmission(t, conduct{}), &book{}
		m := s.mail()
		require.NoError(t, s.listener.Close())
		r := start(t, config(b, m))
		r.enqueue(work(1, "example.com", "mailto:a@example.com"))
		done(t, r)
		require.Equal(t, []string{"0 begun notice.begun", "0 failed notice.mail-server"}, outcomes(b.of(1)))
	})
	t.Run("another's certificate", func(t *testing.T) {
		s, b := startSubmission(t, conduct{}), &book{}
		m := s.mail()
		_, m.Roots = certificate(t, "127.0.0.1")
		r := start(t, config(b, m))
		r.enqueue(work(1, "example.com", "mailto:a@example.com"))
		done(t, r)
		require.Equal(t, []string{"0 begun notice.begun", "0 failed notice.mail-server"}, outcomes(b.of(1)))
		require.Zero(t, s.heard("MAIL"))
	})
}

// What a stranger writes into the DNS cannot become a second receiver, a header field or a command.
//
// Holds: CAA-09
func TestCAA_09_PropertiesThatAreNoAddress(t *testing.T) {
	for value, want := range map[string]string{
		"mailto:a@example.com":                               "",
		"MAILTO:a@example.com":                               "",
		"mailto:caa+test.x@xn--bcher-kva.example.com":        "",
		"https://example.com/iodef":                          "",
		"mailto:a@example.com,b@example.com":                 "notice.malformed",
		"mailto:a@example.com;b@example.com":                 "notice.malformed",
		"mailto:a@example.com?cc=b@example.net":              "notice.malformed",
		"mailto:a@example.com?bcc=b@example.net":             "notice.malformed",
		"mailto:a@example.com?subject=x&body=y":              "notice.malformed",
		"mailto:a@example.com%0d%0aBcc:b@example.net":        "notice.malformed",
		"mailto:a%40example.com@example.net":                 "notice.malformed",
		`mailto:a@example.com\013\010Bcc: b@example.net`:     "notice.malformed",
		"mailto:a@b@example.com":                             "notice.malformed",
		"mailto:<a@example.com>":                             "notice.malformed",
		`mailto:\"a b\"@example.com`:                         "notice.malformed",
		"mailto:a b@example.com":                             "notice.malformed",
		"mailto:":                                            "notice.malformed",
		"mailto:@example.com":                                "notice.malformed",
		"mailto:a@":                                          "notice.malformed",
		"mailto:.a@example.com":                              "notice.malformed",
		"mailto:a..b@example.com":                            "notice.malformed",
		"mailto:a@[127.0.0.1]":                               "notice.malformed",
		"mailto:a@127.0.0.1":                                 "notice.malformed",
		"mailto:a@localhost":                                 "notice.malformed",
		"mailto:a@mail.internal":                             "notice.malformed",
		`mailto:a@b\195\188cher.example.com`:                 "notice.malformed",
		"mailto:" + strings.Repeat("a", 65) + "@example.com": "notice.malformed",
		"https://127.0.0.1/":                                 "notice.malformed",
		"https://169.254.169.254/latest/meta-data":           "notice.malformed",
		"https://[::ffff:10.0.0.1]/":                         "notice.malformed",
		"https://user:word@example.com/":                     "notice.malformed",
		"https://example.com:8443/":                          "notice.malformed",
		"https://" + strings.Repeat("a", 1100) + ".com/":     "notice.malformed",
		"http://example.com/":                                "notice.scheme",
		"ftp://example.com/":                                 "notice.scheme",
		"javascript:alert(1)":                                "notice.scheme",
		"tel:+1":                                             "notice.scheme",
		"example.com":                                        "notice.malformed",
		"":                                                   "notice.malformed",
	} {
		t.Run(value, func(t *testing.T) {
			contacts := va.Contacts([]string{"example.com.\t300\tIN\tCAA\t0 iodef \"" + value + "\""})
			require.Len(t, contacts, 1)
			got, code, detail := read(contacts[0])
			require.Equal(t, want, code, detail)
			require.Equal(t, want == "", got.way() != "none")
			require.Equal(t, want == "", detail == "")
		})
	}
}

// Holds: CAA-09
func TestCAA_09_UnusablePropertiesAreOnRecord(t *testing.T) {
	s, b := startSubmission(t, conduct{}), &book{}
	r := start(t, config(b, s.mail()))
	r.enqueue(work(1, "example.com", "mailto:a@example.com?bcc=b@example.net", "http://example.com/", "https://example.com/"))
	done(t, r)
	require.Equal(t, []string{"0 unusable notice.malformed", "1 unusable notice.scheme", "2 unusable notice.no-web"}, outcomes(b.of(1)))
	require.Equal(t, "mailto:a@example.com?bcc=b@example.net", b.of(1)[0].Property)
	require.Zero(t, s.heard("greeting"), "nobody was spoken to")
}

// Holds: CAA-09
func TestCAA_09_AThousandProperties(t *testing.T) {
	s, b := startSubmission(t, conduct{}), &book{}
	c := config(b, s.mail())
	c.PerDomain = 100
	r := start(t, c)
	var properties []string
	for i := range 1000 {
		properties = append(properties, fmt.Sprintf("mailto:a%d@example.com", i))
	}
	r.enqueue(work(1, "example.com", properties...))
	done(t, r)
	all := b.of(1)
	require.Len(t, all, 2*maxContacts+1)
	last := all[len(all)-1]
	require.Equal(t, "4 dropped notice.properties", outcomes(all[len(all)-1:])[0])
	require.Equal(t, 996, last.Count)
	require.Len(t, s.taken(), maxContacts)
}

// Holds: CAA-09
func TestCAA_09_LimitsOfAnHour(t *testing.T) {
	s, b := startSubmission(t, conduct{}), &book{}
	c := config(b, s.mail())
	c.PerDomain, c.Total = 2, 5
	var mu sync.Mutex
	now := time.Now()
	c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	r := start(t, c)
	report := func(number int64, name, property string) string {
		t.Helper()
		r.report(work(number, name, property)) // in order, beside the workers
		all := b.of(number)
		return all[len(all)-1].Code
	}
	require.Equal(t, "notice.delivered", report(1, "a.example.com", "mailto:x@example.com"))
	require.Equal(t, "notice.delivered", report(2, "b.example.com", "mailto:x@example.com"))
	require.Equal(t, "notice.domain-limit", report(3, "c.example.com", "mailto:x@example.com"))
	require.Equal(t, "notice.delivered", report(4, "one.org", "mailto:x@victim.net"))
	require.Equal(t, "notice.delivered", report(5, "two.org", "mailto:y@mail.victim.net"))
	require.Equal(t, "notice.domain-limit", report(6, "three.org", "mailto:z@victim.net"), "many domains, and one victim")
	require.Equal(t, "notice.delivered", report(7, "four.org", "mailto:z@four.org"))
	require.Equal(t, "notice.total-limit", report(8, "five.org", "mailto:z@five.org"))
	mu.Lock()
	now = now.Add(window)
	mu.Unlock()
	require.Equal(t, "notice.delivered", report(9, "a.example.com", "mailto:x@example.com"))
	require.Len(t, s.taken(), 6)
	require.LessOrEqual(t, len(r.limits.domains), 2*c.Total)
}

// What is not on record does not go out.
//
// Holds: CAA-09, REC-05
func TestCAA_09_NothingIsSentBeforeItIsOnRecord(t *testing.T) {
	s, b := startSubmission(t, conduct{}), &book{fail: errors.New("the disk is full")}
	r := start(t, config(b, s.mail()))
	r.enqueue(work(1, "example.com", "mailto:a@example.com"))
	done(t, r)
	require.Zero(t, s.heard("greeting"))
}

// A full queue takes no time of an attempt: what finds no room is on record, and what finds none there either is counted.
//
// Holds: CAA-09
func TestCAA_09_AFullQueueDelaysNobody(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics, err := NewMetrics(registry)
	require.NoError(t, err)
	s, b := startSubmission(t, conduct{}), &book{hang: make(chan struct{})}
	var log strings.Builder
	c := config(b, s.mail())
	c.Queue, c.Metrics, c.PerDomain = 3, metrics, 1000
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := start(t, c)
	// The workers take one each and wait for the records; the recorder of drops takes one too.
	const sent = 50
	began := time.Now()
	for i := range int64(sent) {
		r.enqueue(work(i+1, "example.com", "mailto:a@example.com"))
	}
	require.Less(t, time.Since(began), 5*time.Second)
	close(b.hang)
	done(t, r)
	delivered, dropped := 0, 0
	for i := range int64(sent) {
		all := b.of(i + 1)
		switch {
		case len(all) == 2 && all[1].Outcome == mpic.NoticeDelivered:
			delivered++
		case len(all) == 1 && all[0].Code == "notice.queue":
			require.Equal(t, 1, all[0].Count)
			dropped++
		default:
			require.Empty(t, all)
		}
	}
	require.GreaterOrEqual(t, delivered, c.Queue)
	require.GreaterOrEqual(t, dropped, c.Queue)
	require.Less(t, delivered+dropped, sent)
	families, err := registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	require.EqualValues(t, sent-delivered-dropped, values["quorate_iodef_unrecorded_total"])
	require.EqualValues(t, delivered+dropped, values["quorate_iodef_reports_total"])
	require.Zero(t, values["quorate_iodef_waiting"])
	require.Contains(t, log.String(), "too many to record it")
}

// Shutdown is bounded: what is under way is cut off, and what waits is on record as dropped.
//
// Holds: CAA-09
func TestCAA_09_ShutdownIsBounded(t *testing.T) {
	s, b := startSubmission(t, conduct{replies: map[string]string{"greeting": "hang"}}), &book{}
	c := config(b, s.mail())
	c.Timeout, c.Drain, c.PerDomain = time.Hour, 50*time.Millisecond, 1000
	r := start(t, c)
	for i := range int64(10) {
		r.enqueue(work(i+1, "example.com", "mailto:a@example.com"))
	}
	done(t, r)
	count := map[string]int{}
	for i := range int64(10) {
		all := b.of(i + 1)
		count[all[len(all)-1].Code]++
	}
	require.Equal(t, 10, count["notice.mail-server"]+count["notice.shutdown"], "%v", count)
	require.Positive(t, count["notice.shutdown"])
	r.enqueue(work(11, "example.com", "mailto:a@example.com"))
	require.Empty(t, b.of(11), "nothing is taken after the end")
	require.NoError(t, r.Close(t.Context()), "twice")
}

func TestCloseEndsWithItsContext(t *testing.T) {
	s, b := startSubmission(t, conduct{}), &book{hang: make(chan struct{})}
	r := start(t, config(b, s.mail()))
	r.enqueue(work(1, "example.com", "mailto:a@example.com"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.Close(ctx), context.Canceled)
	close(b.hang)
}

func TestNewRefuses(t *testing.T) {
	m := &Mail{Host: "smtp.ca.example.net", Port: 587, From: "caa@ca.example.net"}
	for name, change := range map[string]func(*Config){
		"no records":               func(c *Config) { c.Records = nil },
		"no way":                   func(c *Config) { c.Mail = nil },
		"no organization":          func(c *Config) { c.Organization = "" },
		"an organization of lines": func(c *Config) { c.Organization = "a\r\nBcc: b" },
		"no contact":               func(c *Config) { c.Contact = "" },
		"a contact with a name":    func(c *Config) { c.Contact = "A <a@ca.example.net>" },
		"a text with a bell":       func(c *Config) { c.Text = "\a" },
		"a limit below zero":       func(c *Config) { c.PerDomain = -1 },
		"no server":                func(c *Config) { c.Mail.Host = "" },
		"no port":                  func(c *Config) { c.Mail.Port = 0 },
		"no sender":                func(c *Config) { c.Mail.From = "" },
		"a sender of lines":        func(c *Config) { c.Mail.From = "a@ca.example.net\r\nBcc: b@ca.example.net" },
		"a subject of lines":       func(c *Config) { c.Mail.Subject = "a\nBcc: b" },
		"a password of nobody":     func(c *Config) { c.Mail.Password = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			own := *m
			c := config(&book{}, &own)
			change(&c)
			_, err := New(c)
			require.Error(t, err)
		})
	}
}

// TestEveryCodeIsDocumented: what the program says and what the table explains are the same.
func TestEveryCodeIsDocumented(t *testing.T) {
	known, used := map[string]bool{}, map[string]bool{}
	for _, c := range Codes() {
		require.False(t, known[c.Code], c.Code)
		require.NotEmpty(t, c.Means)
		known[c.Code] = true
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "codes.go" {
			continue
		}
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`"(notice\.[a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
			used[m[1]] = true
		}
	}
	require.Equal(t, known, used)
	page, err := os.ReadFile("../../docs/iodef.md")
	require.NoError(t, err)
	for code := range known {
		require.Contains(t, string(page), "`"+code+"`")
	}
}
