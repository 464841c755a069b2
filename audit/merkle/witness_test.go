package merkle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/audit/merkle"
)

// clock is the time of witnesses and their clients in these tests.
func clock() time.Time { return time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC) }

// witnessing is a witness on a real socket, with one log.
type witnessing struct {
	key    *merkle.WitnessKey
	log    *merkle.LogKey
	dir    string
	server *merkle.WitnessServer
	http   *httptest.Server
}

func startWitness(t *testing.T) *witnessing {
	t.Helper()
	w := &witnessing{key: witnessKey(t), log: logKey(t), dir: t.TempDir()}
	require.NoError(t, merkle.BeginWitness(w.dir, w.key, origin, clock()))
	var err error
	w.server, err = merkle.NewWitnessServer(w.config())
	require.NoError(t, err)
	w.http = httptest.NewServer(w.server)
	t.Cleanup(func() {
		w.http.Close()
		require.NoError(t, w.server.Close())
	})
	return w
}

func (w *witnessing) config() merkle.WitnessServerConfig {
	return merkle.WitnessServerConfig{Key: w.key, Dir: w.dir, Logger: slog.New(slog.DiscardHandler), Now: clock,
		Logs: []merkle.WitnessedLog{{Origin: origin, Key: w.log.Verifier()}}}
}

// restart ends the witness and begins it again from its state.
func (w *witnessing) restart(t *testing.T) {
	t.Helper()
	require.NoError(t, w.server.Close())
	var err error
	w.server, err = merkle.NewWitnessServer(w.config())
	require.NoError(t, err)
	w.http.Config.Handler = w.server
}

func (w *witnessing) client(t *testing.T) *merkle.Witness {
	t.Helper()
	return clientOf(t, w.http.URL, w.key.Verifier())
}

func clientOf(t *testing.T, url string, key *merkle.WitnessVerifier) *merkle.Witness {
	t.Helper()
	client, err := merkle.NewWitness(merkle.WitnessConfig{URL: url, Key: key, Now: clock})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// state is the path of the one log's file.
func (w *witnessing) state(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "*.checkpoint"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

// Holds: REC-06
func TestWitnessCosignsAsTheLogGrows(t *testing.T) {
	b, w := newBook(t, 40), startWitness(t)
	client := w.client(t)
	require.Equal(t, "witness.example.org/w1", client.Name())
	for _, size := range []int64{0, 1, 1, 5, 16, 40} {
		signed := sign(t, b.at(size).Text(), w.log)
		cosigned, err := client.Cosign(context.Background(), signed, b.prove)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(cosigned), string(signed)), "the log's own signature stays in front")
		checkpoint, cosigners, err := merkle.OpenCheckpoint(cosigned, w.log.Verifier(), w.key.Verifier())
		require.NoError(t, err)
		require.Equal(t, b.at(size), checkpoint)
		require.Equal(t, []string{"witness.example.org/w1"}, cosigners)

		again, err := client.Cosign(context.Background(), cosigned, b.prove)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(again), "— witness.example.org/w1 "), "the newer one takes the older one's place")
		w.restart(t)
	}
	// A gate that was just started knows nothing of the witness: it learns the size and proves from there.
	cosigned, err := w.client(t).Cosign(context.Background(), sign(t, b.at(40).Text(), w.log), b.prove)
	require.NoError(t, err)
	require.NotEmpty(t, cosigned)
}

// Holds: REC-06
func TestWitnessStopsAForkThatTheSignersMemoryCannotSee(t *testing.T) {
	b, w := newBook(t, 30), startWitness(t)
	_, err := w.client(t).Cosign(context.Background(), sign(t, b.at(20).Text(), w.log), b.prove)
	require.NoError(t, err)
	// Database and memory were both restored to 12, or a thief has the key.
	again := b.fork(t, 12, 30)
	for _, size := range []int64{20, 25} {
		_, err = w.client(t).Cosign(context.Background(), sign(t, again.at(size).Text(), w.log), again.prove)
		require.ErrorIs(t, err, merkle.ErrWitnessRefused, "size %d", size)
		require.ErrorIs(t, err, merkle.ErrForked, "size %d", size)
	}
	_, err = w.client(t).Cosign(context.Background(), sign(t, again.at(15).Text(), w.log), again.prove)
	require.ErrorIs(t, err, merkle.ErrWitnessAhead)
	require.ErrorContains(t, err, "it has 20 leaves, and the checkpoint has 15")
	var ahead *merkle.AheadError
	require.ErrorAs(t, err, &ahead)
	require.Equal(t, merkle.AheadError{Size: 20, Checkpoint: 15}, *ahead)
	_, err = w.client(t).Cosign(context.Background(), sign(t, b.at(30).Text(), w.log), b.prove)
	require.NoError(t, err, "the true log goes on")
}

// body is a request by hand.
func body(old string, proof tlog.TreeProof, signed []byte) string {
	var text strings.Builder
	fmt.Fprintf(&text, "old %s\n", old)
	for _, hash := range proof {
		fmt.Fprintf(&text, "%s\n", hash)
	}
	return text.String() + "\n" + string(signed)
}

func (w *witnessing) post(t *testing.T, text string) (*http.Response, string) {
	t.Helper()
	response, err := w.http.Client().Post(w.http.URL+"/add-checkpoint", "text/plain", strings.NewReader(text))
	require.NoError(t, err)
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response, string(answer)
}

// The answers that C2SP tlog-witness lists, one by one. The witness has 20 leaves.
//
// Holds: REC-06
func TestC2SP_AddCheckpointAnswers(t *testing.T) {
	b, w := newBook(t, 30), startWitness(t)
	proof, err := b.prove(20, 30)
	require.NoError(t, err)
	response, answer := w.post(t, body("0", nil, sign(t, b.at(20).Text(), w.log)))
	require.Equal(t, 200, response.StatusCode, answer)
	require.Regexp(t, `^— witness\.example\.org/w1 [A-Za-z0-9+/=]+\n$`, answer)

	at30, at20, at10 := sign(t, b.at(30).Text(), w.log), sign(t, b.at(20).Text(), w.log), sign(t, b.at(10).Text(), w.log)
	forked := sign(t, b.fork(t, 12, 30).at(20).Text(), w.log)
	foreign := b.at(30)
	foreign.Origin = "other.example"
	empty := strings.Replace(b.at(0).Text(), "47DEQ", "57DEQ", 1)
	long := make(tlog.TreeProof, 64)
	cases := map[string]struct {
		body   string
		status int
	}{
		"no old size":             {strings.Replace(body("20", proof, at30), "old ", "new ", 1), 400},
		"old size with a zero":    {body("020", proof, at30), 400},
		"negative old size":       {body("-1", proof, at30), 400},
		"64 hashes":               {body("20", long, at30), 400},
		"no base64 in the proof":  {strings.Replace(body("20", proof, at30), proof[0].String(), "hash", 1), 400},
		"no empty line":           {"old 20\n", 400},
		"nothing":                 {"", 400},
		"no note":                 {"old 20\n\nhello\n", 400},
		"no checkpoint":           {body("20", proof, sign(t, "hello\n", w.log)), 400},
		"not signed at all":       {body("20", proof, []byte(b.at(30).Text())), 400},
		"old beyond the size":     {body("31", proof, at30), 400},
		"old beyond, smaller":     {body("20", nil, at10), 400},
		"signed by nobody known":  {body("20", proof, sign(t, b.at(30).Text(), logKey(t))), 403},
		"signature of another":    {strings.Replace(body("20", proof, at30), "\n30\n", "\n31\n", 1), 403},
		"unknown log":             {body("20", proof, sign(t, foreign.Text(), w.log)), 404},
		"another old size":        {body("19", proof, at30), 409},
		"nothing known":           {body("0", nil, at30), 409},
		"an older checkpoint":     {body("10", nil, at10), 409},
		"no proof":                {body("20", nil, at30), 422},
		"a proof of another pair": {body("20", proof[1:], at30), 422},
		"same size, another root": {body("20", nil, forked), 422},
		"same size with a proof":  {body("20", proof, at20), 422},
		"empty log, another root": {body("0", nil, sign(t, empty, w.log)), 409}, // the size is wrong before the root is looked at
	}
	before, err := os.ReadFile(w.state(t))
	require.NoError(t, err)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			response, answer := w.post(t, c.body)
			require.Equal(t, c.status, response.StatusCode, answer)
			if c.status == 409 {
				require.Equal(t, "text/x.tlog.size", response.Header.Get("Content-Type"))
				require.Equal(t, "20\n", answer)
			}
			require.NotContains(t, answer, "—", "nothing is cosigned")
			after, err := os.ReadFile(w.state(t))
			require.NoError(t, err)
			require.Equal(t, before, after, "nothing is remembered")
		})
	}
	response, answer = w.post(t, body("20", proof, at30))
	require.Equal(t, 200, response.StatusCode, answer)
	response, _ = w.post(t, strings.Repeat("x", 1<<20))
	require.Equal(t, 413, response.StatusCode)
}

func TestC2SP_AddCheckpointOfAnEmptyLog(t *testing.T) {
	b, w := newBook(t, 3), startWitness(t)
	empty := strings.Replace(b.at(0).Text(), "47DEQ", "57DEQ", 1)
	response, _ := w.post(t, body("0", nil, sign(t, empty, w.log)))
	require.Equal(t, 422, response.StatusCode, "the root of an empty log is the SHA-256 of nothing")
	response, _ = w.post(t, body("0", tlog.TreeProof{leafHash(1)}, sign(t, b.at(3).Text(), w.log)))
	require.Equal(t, 422, response.StatusCode, "from the empty log there is no proof")
	// Other logs have other extension lines, or none, and more signatures.
	text := strings.Join(strings.SplitAfter(b.at(3).Text(), "\n")[:3], "")
	response, answer := w.post(t, body("0", nil, sign(t, text, w.log, logKey(t))))
	require.Equal(t, 200, response.StatusCode, answer)
}

func TestWitnessAnswersNothingElse(t *testing.T) {
	w := startWitness(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/livez", 200}, {"POST", "/livez", 405}, {"GET", "/add-checkpoint", 405}, {"POST", "/sign-subtree", 404}, {"GET", "/", 404}} {
		request, err := http.NewRequest(c.method, w.http.URL+c.path, nil)
		require.NoError(t, err)
		response, err := w.http.Client().Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, c.status, response.StatusCode, "%s %s", c.method, c.path)
	}
}

// Two requests at a time must not roll the witness back (C2SP tlog-witness, the race at its end).
func TestC2SP_ConcurrentCheckpointsNeverGoBack(t *testing.T) {
	b, w := newBook(t, 24), startWitness(t)
	var group sync.WaitGroup
	for size := int64(1); size <= 24; size++ {
		signed, client := sign(t, b.at(size).Text(), w.log), w.client(t)
		group.Go(func() {
			// Others come between again and again; who is overtaken three times gives up, and asks another time.
			for {
				_, err := client.Cosign(context.Background(), signed, b.prove)
				if err == nil || errors.Is(err, merkle.ErrWitnessAhead) {
					return
				}
				if !strings.Contains(err.Error(), "had another size each time") {
					t.Errorf("size %d: %v", size, err)
					return
				}
			}
		})
	}
	group.Wait()
	response, answer := w.post(t, body("0", nil, sign(t, b.at(24).Text(), w.log)))
	require.Equal(t, 409, response.StatusCode)
	require.Equal(t, "24\n", answer)
}

func TestAWitnessThatForgotDoesNotCosign(t *testing.T) {
	b, w := newBook(t, 30), startWitness(t)
	_, err := w.client(t).Cosign(context.Background(), sign(t, b.at(20).Text(), w.log), b.prove)
	require.NoError(t, err)
	path := w.state(t)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	next := sign(t, b.at(30).Text(), w.log)
	cases := map[string]struct {
		damage func(t *testing.T)
		want   string
	}{
		"missing":         {func(t *testing.T) { require.NoError(t, os.Remove(path)) }, "does not exist; begin the log"},
		"empty":           {func(t *testing.T) { require.NoError(t, os.WriteFile(path, nil, 0o600)) }, "is empty"},
		"cut":             {func(t *testing.T) { require.NoError(t, os.WriteFile(path, good[:len(good)/2], 0o600)) }, "malformed note"},
		"changed":         {func(t *testing.T) { writeReplaced(t, path, good, "\n20\n", "\n12\n") }, "invalid signature"},
		"another's":       {func(t *testing.T) { require.NoError(t, os.WriteFile(path, next, 0o600)) }, "no verifiable signatures"},
		"no checkpoint":   {func(t *testing.T) { writeSigned(t, path, "hello\n", w.key) }, "less than three lines"},
		"another origin":  {func(t *testing.T) { writeSigned(t, path, strings.Replace(b.at(1).Text(), origin, "x", 1), w.key) }, "is of x"},
		"not to be read":  {func(t *testing.T) { require.NoError(t, os.Remove(path)); require.NoError(t, os.Mkdir(path, 0o700)) }, "is a directory"},
		"not to be taken": {func(t *testing.T) { require.NoError(t, os.Mkdir(path+".new", 0o700)) }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.damage(t)
			_, err := w.client(t).Cosign(context.Background(), next, b.prove)
			require.ErrorIs(t, err, merkle.ErrWitnessRefused)
			require.ErrorContains(t, err, "status 500")
			if c.want != "" {
				require.NoError(t, w.server.Close())
				_, err = merkle.NewWitnessServer(w.config())
				require.ErrorContains(t, err, c.want, "and it does not start")
			}
			require.NoError(t, os.RemoveAll(path))
			require.NoError(t, os.RemoveAll(path+".new"))
			require.NoError(t, os.WriteFile(path, good, 0o600))
			if c.want != "" {
				w.server, err = merkle.NewWitnessServer(w.config())
				require.NoError(t, err)
				w.http.Config.Handler = w.server
			}
		})
	}
	require.ErrorContains(t, merkle.BeginWitness(w.dir, w.key, origin, clock()), "another process has it")
	require.NoError(t, w.server.Close())
	require.ErrorContains(t, merkle.BeginWitness(w.dir, w.key, origin, clock()), "was begun already")
	require.ErrorContains(t, merkle.BeginWitness(w.dir, w.key, "a\nb", clock()), "no origin of one line")
	w.server, err = merkle.NewWitnessServer(w.config())
	require.NoError(t, err)
}

// What the gate published brings a lost state back (docs/operations.md).
func TestAWitnessesStateComesBackFromWhatItCosigned(t *testing.T) {
	b, w := newBook(t, 30), startWitness(t)
	published, err := w.client(t).Cosign(context.Background(), sign(t, b.at(20).Text(), w.log), b.prove)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(w.state(t), published, 0o600))
	w.restart(t)
	again := b.fork(t, 12, 30)
	_, err = w.client(t).Cosign(context.Background(), sign(t, again.at(25).Text(), w.log), again.prove)
	require.ErrorIs(t, err, merkle.ErrForked)
	_, err = w.client(t).Cosign(context.Background(), sign(t, b.at(30).Text(), w.log), b.prove)
	require.NoError(t, err)
}

func writeSigned(t *testing.T, path, text string, key *merkle.WitnessKey) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, sign(t, text, key.Cosigner(clock())), 0o600))
}

// Whoever has the key of one log can sign a checkpoint that is just short enough to be asked for. With the witness's own signature it would be
// longer than what is read of a state: the witness would cosign nothing more of it, and start for none of its logs.
//
// Holds: REC-06
func TestAWitnessKeepsNothingThatItCouldNotReadAgain(t *testing.T) {
	key, err := merkle.GenerateWitnessKey(strings.Repeat("w", 255))
	require.NoError(t, err)
	b, w := newBook(t, 4), &witnessing{key: key, log: logKey(t), dir: t.TempDir()}
	require.NoError(t, merkle.BeginWitness(w.dir, w.key, origin, clock()))
	w.server, err = merkle.NewWitnessServer(w.config())
	require.NoError(t, err)
	w.http = httptest.NewServer(w.server)
	t.Cleanup(func() {
		w.http.Close()
		require.NoError(t, w.server.Close())
	})
	extended := func(octets int) []byte { return sign(t, b.at(3).Text()+strings.Repeat("x", octets)+"\n", w.log) }
	signed := extended(1 + merkle.MaxSignedCheckpoint - len(extended(1)))
	require.Len(t, signed, merkle.MaxSignedCheckpoint)
	response, answer := w.post(t, body("0", nil, signed))
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.Contains(t, answer, "octets with this witness's cosignature")
	w.restart(t)
	_, err = w.client(t).Cosign(t.Context(), sign(t, b.at(4).Text(), w.log), b.prove)
	require.NoError(t, err)
}

func TestWitnessServerRefusesWhatItCannotServe(t *testing.T) {
	w := startWitness(t)
	for name, c := range map[string]struct {
		change func(*merkle.WitnessServerConfig)
		want   string
	}{
		"no key":     {func(c *merkle.WitnessServerConfig) { c.Key = nil }, "are needed"},
		"no log":     {func(c *merkle.WitnessServerConfig) { c.Logs = nil }, "one log at least"},
		"twice":      {func(c *merkle.WitnessServerConfig) { c.Logs = append(c.Logs, c.Logs[0]) }, "is there twice"},
		"no origin":  {func(c *merkle.WitnessServerConfig) { c.Logs = []merkle.WitnessedLog{{Key: w.log.Verifier()}} }, "an origin of one line"},
		"no log key": {func(c *merkle.WitnessServerConfig) { c.Logs = []merkle.WitnessedLog{{Origin: origin}} }, "a key are needed"},
		"state gone": {func(c *merkle.WitnessServerConfig) { c.Dir = filepath.Join(w.dir, "absent") }, "no such file"},
		"in use":     {func(*merkle.WitnessServerConfig) {}, "another process has it"},
		"not begun": {func(c *merkle.WitnessServerConfig) {
			c.Dir = t.TempDir()
		}, "begin the log"},
	} {
		t.Run(name, func(t *testing.T) {
			config := w.config()
			c.change(&config)
			_, err := merkle.NewWitnessServer(config)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// A witness, or whoever sits between, answers whatever it likes; nothing of it is believed without the key.
func TestWrongWitnessesAreNotBelieved(t *testing.T) {
	b := newBook(t, 30)
	key, log, other := witnessKey(t), logKey(t), witnessKey(t)
	signed := sign(t, b.at(30).Text(), log)
	line := func(text string, at time.Time, k *merkle.WitnessKey) string {
		return string(sign(t, text, k.Cosigner(at))[len(text)+1:])
	}
	good := line(b.at(30).Text(), clock(), key)
	answer := func(status int, kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	cases := map[string]struct {
		handler http.HandlerFunc
		want    error
		text    string
	}{
		"another key":       {answer(200, "", line(b.at(30).Text(), clock(), other)), merkle.ErrCosignature, "no verifiable"},
		"another text":      {answer(200, "", line(b.at(29).Text(), clock(), key)), merkle.ErrCosignature, "invalid signature"},
		"yesterday's":       {answer(200, "", line(b.at(30).Text(), clock().Add(-24*time.Hour), key)), merkle.ErrCosignature, "24h0m0s away"},
		"tomorrow's":        {answer(200, "", line(b.at(30).Text(), clock().Add(24*time.Hour), key)), merkle.ErrCosignature, "24h0m0s away"},
		"no line":           {answer(200, "", ""), merkle.ErrCosignature, "empty"},
		"no signature line": {answer(200, "", "thank you\n"), merkle.ErrCosignature, "malformed"},
		"a text of its own": {answer(200, "", "— x AAAAAAAA\n\n"+good), merkle.ErrCosignature, ""},
		"too much":          {answer(200, "", strings.Repeat(good, 2000)), nil, "more than"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
			merkle.ErrWitnessRefused, "status 307"},
		"a switch of protocols": {switched, merkle.ErrWitnessRefused, "status 101"},
		"error":                 {answer(503, "", "busy"), merkle.ErrWitnessRefused, `status 503: "busy"`},
		"conflict, no size":     {answer(409, "text/x.tlog.size", "many\n"), merkle.ErrWitnessRefused, "shortest decimal form"},
		"conflict, no type":     {answer(409, "text/plain", "3\n"), merkle.ErrWitnessRefused, "status 409"},
		"conflict for ever":     {answer(409, "text/x.tlog.size", "3\n"), nil, "had another size each time"},
		"conflict, beyond ours": {answer(409, "text/x.tlog.size", "31\n"), merkle.ErrWitnessAhead, "31 leaves"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			cosigned, err := clientOf(t, server.URL, key.Verifier()).Cosign(context.Background(), signed, b.prove)
			require.ErrorContains(t, err, c.text)
			require.ErrorContains(t, err, "witness witness.example.org/w1: ")
			require.Nil(t, cosigned)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
	t.Run("strangers' lines are left out", func(t *testing.T) {
		server := httptest.NewServer(answer(200, "", line(b.at(30).Text(), clock(), other)+good))
		defer server.Close()
		cosigned, err := clientOf(t, server.URL, key.Verifier()).Cosign(context.Background(), signed, b.prove)
		require.NoError(t, err)
		require.Equal(t, string(signed)+good, string(cosigned))
	})
	t.Run("a lie about its size is not for ever", func(t *testing.T) {
		lies := true
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lies {
				answer(409, "text/x.tlog.size", "999\n")(w, r)
				return
			}
			answer(200, "", good)(w, r)
		}))
		defer server.Close()
		client := clientOf(t, server.URL, key.Verifier())
		_, err := client.Cosign(context.Background(), signed, b.prove)
		require.ErrorIs(t, err, merkle.ErrWitnessAhead)
		lies = false
		_, err = client.Cosign(context.Background(), signed, b.prove)
		require.NoError(t, err)
	})
}

// switched answers as if the protocol had been switched, and then says nothing more, nor ends.
func switched(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
	_, _ = io.Copy(io.Discard, c) // until the client goes
}

func TestAWitnessThatDoesNotAnswer(t *testing.T) {
	b, key := newBook(t, 5), witnessKey(t)
	held := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-held }))
	defer server.Close()
	defer close(held)
	client, err := merkle.NewWitness(merkle.WitnessConfig{URL: server.URL, Key: key.Verifier(), Now: clock, Timeout: 50 * time.Millisecond})
	require.NoError(t, err)
	defer client.Close()
	_, err = client.Cosign(context.Background(), sign(t, b.at(5).Text(), logKey(t)), b.prove)
	require.ErrorContains(t, err, "deadline exceeded")
	require.NotErrorIs(t, err, merkle.ErrWitnessRefused)
}

// Who takes a connection and never shakes hands keeps none of ours: net/http goes on with a handshake after its request has ended.
//
// Holds: D11
func TestAWitnessThatNeverShakesHands(t *testing.T) {
	b, key := newBook(t, 5), witnessKey(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	client, err := merkle.NewWitness(merkle.WitnessConfig{URL: "https://" + listener.Addr().String(), Key: key.Verifier(), Now: clock,
		Timeout: 50 * time.Millisecond})
	require.NoError(t, err)
	defer client.Close()
	_, err = client.Cosign(context.Background(), sign(t, b.at(5).Text(), logKey(t)), b.prove)
	require.Error(t, err)
	c, err := listener.Accept()
	require.NoError(t, err)
	defer c.Close()
	_, err = io.Copy(io.Discard, c)
	require.NoError(t, err, "it ends where the connection does")
}

func TestNewWitnessRefusesWhatCannotBeAsked(t *testing.T) {
	key := witnessKey(t).Verifier()
	for name, c := range map[string]struct {
		config merkle.WitnessConfig
		want   string
	}{
		"no key":      {merkle.WitnessConfig{URL: "https://w.example", Now: clock}, "a verifier key"},
		"no clock":    {merkle.WitnessConfig{URL: "https://w.example", Key: key}, "a clock"},
		"no URL":      {merkle.WitnessConfig{Key: key, Now: clock}, "is no http or https URL"},
		"ftp":         {merkle.WitnessConfig{URL: "ftp://w.example", Key: key, Now: clock}, "is no http or https URL"},
		"query":       {merkle.WitnessConfig{URL: "https://w.example?a", Key: key, Now: clock}, "is no http or https URL"},
		"in the past": {merkle.WitnessConfig{URL: "https://w.example", Key: key, Now: clock, Timeout: -1}, "is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := merkle.NewWitness(c.config)
			require.ErrorContains(t, err, c.want)
		})
	}
	client := clientOf(t, "http://192.0.2.1:1", key)
	for name, signed := range map[string][]byte{
		"no note": []byte("hello\n"), "no checkpoint": sign(t, "hello\n", logKey(t)), "too large": make([]byte, merkle.MaxSignedCheckpoint+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Cosign(context.Background(), signed, nil)
			require.ErrorContains(t, err, "checkpoint")
		})
	}
}

func TestCosignReportsAProofThatFailed(t *testing.T) {
	b, w := newBook(t, 30), startWitness(t)
	_, err := w.client(t).Cosign(context.Background(), sign(t, b.at(20).Text(), w.log), b.prove)
	require.NoError(t, err)
	down := errors.New("the database is down")
	_, err = w.client(t).Cosign(context.Background(), sign(t, b.at(30).Text(), w.log),
		func(int64, int64) (tlog.TreeProof, error) { return nil, down })
	require.ErrorIs(t, err, down)
}

// FuzzAddCheckpoint: no request makes the witness panic, and none without the log's signature moves it.
func FuzzAddCheckpoint(f *testing.F) {
	key, err := merkle.GenerateWitnessKey("w")
	require.NoError(f, err)
	log, err := merkle.GenerateLogKey(origin)
	require.NoError(f, err)
	dir := f.TempDir()
	require.NoError(f, merkle.BeginWitness(dir, key, origin, clock()))
	server, err := merkle.NewWitnessServer(merkle.WitnessServerConfig{Key: key, Dir: dir, Logger: slog.New(slog.DiscardHandler), Now: clock,
		Logs: []merkle.WitnessedLog{{Origin: origin, Key: log.Verifier()}}})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, server.Close()) })
	stranger, err := merkle.GenerateLogKey(origin)
	require.NoError(f, err)
	signed, err := note.Sign(&note.Note{Text: checkpointText}, stranger)
	require.NoError(f, err)
	f.Add("old 0\n\n" + string(signed))
	f.Add("old 1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n" + string(signed))
	f.Fuzz(func(t *testing.T, text string) {
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/add-checkpoint", strings.NewReader(text)))
		require.Contains(t, []int{400, 403, 404, 413}, recorder.Code)
	})
}
