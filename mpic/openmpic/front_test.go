package openmpic_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/mpic/front"
	"github.com/quorate/quorate/mpic/openmpic"
	"github.com/quorate/quorate/va"
)

// desk is a Validator that does what a test says.
type desk func(context.Context, mpic.Call) (mpic.Result, error)

func (d desk) Carry(ctx context.Context, c mpic.Call) (mpic.Result, error) { return d(ctx, c) }

// TestWhatIsNotDoneIsNoAnswer: errors of the coordinator, a fault of the program, and load: each has a status, and none an is_valid.
//
// Holds: REC-05
func TestWhatIsNotDoneIsNoAnswer(t *testing.T) {
	inner := errors.New("disk /secret is full")
	entered, release := make(chan struct{}), make(chan struct{})
	var carry desk
	front, err := openmpic.NewServer(openmpic.Config{Validator: desk(func(ctx context.Context, c mpic.Call) (mpic.Result, error) { return carry(ctx, c) }),
		Issuers: []string{"ca.example"}, Logger: slog.New(slog.DiscardHandler), Now: time.Now, MaxInFlight: 1,
		Clients: []front.Client{{Name: "a", APIKeySHA256: digestOf("a"), InFlight: 1}, {Name: "b", APIKeySHA256: digestOf("b")}}})
	require.NoError(t, err)
	server := serve(t, front)
	ask := func(key string) (int, object) {
		r, err := http.NewRequest("POST", server.URL+"/mpic", strings.NewReader(`{"check_type":"caa","domain_or_ip_target":"example.com","orchestration_parameters":{"max_attempts":3}}`))
		require.NoError(t, err)
		r.Header.Set("x-api-key", key)
		r.Header.Set("Content-Type", "application/json")
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, errors.Join(err, response.Body.Close()))
		var reply object
		require.NoError(t, json.Unmarshal(text, &reply))
		require.NotContains(t, reply, "is_valid")
		require.NotContains(t, string(text), "secret")
		require.Equal(t, response.StatusCode == 503 || response.StatusCode == 429, response.Header.Get("Retry-After") != "")
		return response.StatusCode, reply
	}
	tries := 0
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"record":     {errors.Join(mpic.ErrRecord, inner), 503, "record.unwritten"},
		"audit line": {errors.Join(mpic.ErrAuditLog, inner), 503, "audit.unwritten"},
		"closed":     {mpic.ErrClosed, 503, "gate.closing"},
		"busy":       {errors.Join(mpic.ErrBusy, inner), 503, "gate.overload"},
		"request":    {errors.Join(mpic.ErrRequest, inner), 400, "request.invalid"},
		"gone":       {context.Canceled, 503, "gate.overload"},
		"unforeseen": {inner, 500, "gate.failed"},
		"a zero":     {nil, 400, "decision.refused"},
	} {
		tries = 0
		carry = func(_ context.Context, call mpic.Call) (mpic.Result, error) {
			tries++
			require.Equal(t, tries, call.Try)
			return mpic.Result{}, c.err
		}
		status, reply := ask("a")
		require.Equal(t, c.status, status, name)
		require.Equal(t, c.code, reply["code"])
		require.Equal(t, 1, tries, "an error is not tried again")
	}
	// A roster that the day's rules refuse is the gate's fault and not the caller's.
	late := mpic.Evidence{Attempt: mpic.Attempt{Kind: mpic.CAAAlone, Started: time.Now(), Probe: va.Probe{Attempt: "A", Nonce: "n", CAAAlone: true,
		Request: va.Request{Identifier: "example.com", Issuers: []string{"ca.example"}}}}}
	carry = func(context.Context, mpic.Call) (mpic.Result, error) {
		return mpic.Result{Number: 7, Evidence: late, Decision: mpic.Judge(late)}, nil
	}
	told, answer := ask("a")
	require.Equal(t, 503, told, answer)
	require.Contains(t, answer["code"], "roster.")
	require.EqualValues(t, 7, answer["record"])

	carry = func(context.Context, mpic.Call) (mpic.Result, error) { panic("a fault") }
	status, reply := ask("a")
	require.Equal(t, 500, status)
	require.Equal(t, "gate.failed", reply["code"])

	carry = func(context.Context, mpic.Call) (mpic.Result, error) {
		close(entered)
		<-release
		return mpic.Result{}, mpic.ErrClosed
	}
	done := make(chan int)
	go func() {
		status, _ := ask("a")
		done <- status
	}()
	<-entered
	status, reply = ask("a")
	require.Equal(t, 429, status)
	require.Equal(t, "client.overload", reply["code"])
	status, reply = ask("b")
	require.Equal(t, 503, status)
	require.Equal(t, "gate.overload", reply["code"])
	close(release)
	require.Equal(t, 503, <-done)
}
