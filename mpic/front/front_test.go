package front

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestClientsAreToldApart(t *testing.T) {
	a := Client{Name: "a", APIKeySHA256: digest("key a")}
	for name, c := range map[string]struct {
		clients []Client
		places  int
		want    string
	}{
		"nobody":               {nil, 1, "nobody could ask"},
		"no places":            {[]Client{a}, 0, "0 requests in flight"},
		"no name":              {[]Client{{APIKeySHA256: digest("x")}}, 1, "is no name"},
		"a name with a space":  {[]Client{{Name: "a b", APIKeySHA256: digest("x")}}, 1, "is no name"},
		"another's name":       {[]Client{a, {Name: "a", APIKeySHA256: digest("x")}}, 1, "or another's"},
		"another's key":        {[]Client{a, {Name: "b", APIKeySHA256: a.APIKeySHA256}}, 1, "API key is no SHA-256"},
		"one key for both":     {[]Client{{Name: "a", APIKeySHA256: digest("x"), CertificateKey: digest("x")}}, 1, "API key is no SHA-256"},
		"no key":               {[]Client{{Name: "a"}}, 1, "has no key"},
		"half a digest":        {[]Client{{Name: "a", CertificateKey: digest("x")[:32]}}, 1, "certificate key is no SHA-256"},
		"no hexadecimal":       {[]Client{{Name: "a", APIKeySHA256: strings.Repeat("x", 64)}}, 1, "API key is no SHA-256"},
		"less than no share":   {[]Client{{Name: "a", APIKeySHA256: digest("x"), InFlight: -1}}, 1, "-1 requests in flight"},
		"more than can be had": {[]Client{{Name: "a", APIKeySHA256: digest("x"), InFlight: 4097}}, 1, "4097 requests in flight"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewClients(c.clients, c.places)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestClientsAreKnownByTheirKeys(t *testing.T) {
	certificate := &x509.Certificate{RawSubjectPublicKeyInfo: []byte("key c")}
	c, err := NewClients([]Client{{Name: "a", APIKeySHA256: digest("key a")}, {Name: "b", CertificateKey: digest("key c"), APIKeySHA256: digest("key b")}}, 1)
	require.NoError(t, err)
	require.Equal(t, "a", c.ByKey("key a").Name)
	require.Equal(t, "b", c.ByKey("key b").Name)
	require.Equal(t, "b", c.ByCertificate(certificate).Name)
	require.Nil(t, c.ByKey("key c"), "the key of a certificate is no API key")
	require.Nil(t, c.ByKey(""))
	require.Nil(t, c.ByCertificate(&x509.Certificate{RawSubjectPublicKeyInfo: []byte("key a")}))
	require.Nil(t, c.ByCertificate(&x509.Certificate{}))
}

// Holds: D11
func TestPlacesAreBounded(t *testing.T) {
	c, err := NewClients([]Client{{Name: "a", APIKeySHA256: digest("a"), InFlight: 1}, {Name: "b", APIKeySHA256: digest("b")}}, 2)
	require.NoError(t, err)
	a, b := c.ByKey("a"), c.ByKey("b")
	leave, no := c.Enter(a)
	require.Nil(t, no)
	_, no = c.Enter(a)
	require.Equal(t, &Refusal{429, "client.overload", "1 requests of this client are being worked on, which is its share", 1}, no)
	other, no := c.Enter(b)
	require.Nil(t, no)
	_, no = c.Enter(b)
	require.Equal(t, &Refusal{503, "gate.overload", "2 requests are being worked on", 2}, no)
	_, no = c.Place()
	require.Equal(t, "gate.overload", no.Code)
	other()
	place, no := c.Place()
	require.Nil(t, no)
	leave()
	place()
	for range 2 { // who was refused holds no place
		leave, no = c.Enter(a)
		require.Nil(t, no)
		leave()
	}
	require.Empty(t, a.slots)
	require.Empty(t, b.slots)
	require.Empty(t, c.slots)
}

func TestBodiesAreJSONOfOneLengthAndTime(t *testing.T) {
	send := func(body io.Reader, contentType, encoding string) (got string, no *Refusal) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var b []byte
			if no = Described(r); no == nil {
				b, no = Body(w, r, 10, 30*time.Millisecond)
			}
			got = string(b)
		}))
		defer server.Close()
		r, err := http.NewRequest(http.MethodPost, server.URL, body)
		require.NoError(t, err)
		r.Header.Set("Content-Type", contentType)
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return got, no
	}
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON"} {
		got, no := send(strings.NewReader("0123456789"), contentType, "identity")
		require.Nil(t, no)
		require.Equal(t, "0123456789", got)
	}
	_, no := send(strings.NewReader("01234567890"), "application/json", "")
	require.Equal(t, &Refusal{Status: 413, Code: "request.too-large", Detail: "a request has at most 10 octets"}, no)
	for _, contentType := range []string{"", "text/json", "application/json+x", ";"} {
		_, no = send(strings.NewReader("{}"), contentType, "")
		require.Equal(t, "request.content-type", no.Code, contentType)
	}
	_, no = send(strings.NewReader("{}"), "application/json", "gzip")
	require.Equal(t, "request.content-encoding", no.Code)
	half, whole := io.Pipe()
	go func() { _, _ = whole.Write([]byte("{")) }() // the rest never comes; the server's end of the connection ends it
	_, no = send(half, "application/json", "")
	require.Equal(t, "request.body", no.Code)
	_, no = Body(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}")), 10, time.Second)
	require.Equal(t, "gate.failed", no.Code, "a body that could take any time is not read")
}

type named map[string]any

func TestObjectsHaveOneMeaning(t *testing.T) {
	o, twice, err := Object[named]([]byte(` {"a":[1,{"b":null}],"c":{"d":1e400},"é":"x"} `), 3)
	require.NoError(t, err)
	require.Empty(t, twice)
	require.Equal(t, named{"a": []any{json.Number("1"), named{"b": nil}}, "c": named{"d": json.Number("1e400")}, "é": "x"}, o)
	for text, want := range map[string]string{
		``:                 "empty or ends too early",
		`{"a":1`:           "empty or ends too early",
		`{"a":1}{}`:        "something follows",
		`{"a":1} x`:        "something follows",
		`[]`:               "not a JSON object",
		`"a"`:              "not a JSON object",
		`null`:             "not a JSON object",
		`{"a":[[[1]]]}`:    "deeper than 3 levels",
		`{"a":01}`:         "invalid character",
		`{a:1}`:            "invalid character",
		"{\"a\":\"\xff\"}": "not UTF-8",
	} {
		_, _, err := Object[named]([]byte(text), 3)
		require.ErrorContains(t, err, want, text)
		_, err = Strict[named]([]byte(text), 3)
		require.ErrorContains(t, err, want, text)
	}
	_, twice, err = Object[named]([]byte(`{"a":[0,{"x/y":{"~":1,"~":2}}],"\u0061":1,"`+strings.Repeat("k", 70)+`":1,"`+strings.Repeat("k", 70)+`":2}`), 5)
	require.NoError(t, err)
	require.Equal(t, []string{"/a/1/x~1y/~0", "/a", "/" + strings.Repeat("k", 64) + "..."}, twice)
	_, err = Strict[named]([]byte(`{"a":{"b":1,"b":1}}`), 5)
	require.EqualError(t, err, `the member "/a/b" stands twice in one object`)
	_, twice, err = Object[named]([]byte(`{`+strings.Repeat(`"a":1,`, 1000)+`"a":1}`), 5)
	require.NoError(t, err)
	require.Len(t, twice, 16, "of so many is told")
}

func TestAnswersAreNotKept(t *testing.T) {
	w := httptest.NewRecorder()
	require.NoError(t, WriteJSON(w, 201, "application/problem+json", named{"a": "<b>"}))
	require.Equal(t, 201, w.Code)
	require.Equal(t, http.Header{"Content-Type": {"application/problem+json"}, "Content-Length": {"22"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}}, w.Header())
	require.Equal(t, "{\"a\":\"\\u003cb\\u003e\"}\n", w.Body.String())
	w = httptest.NewRecorder()
	require.Error(t, WriteJSON(w, 200, "application/json", func() {}))
	require.Equal(t, 500, w.Code)
	require.Empty(t, w.Body.String())
}
