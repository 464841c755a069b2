package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
)

// order is what test/bench wants validated: InFlight at a time, for Limit, and no more than Most where that is not 0. With a Rate, so many
// are begun in a second whether or not earlier ones have been answered, but for those that would find InFlight of them unanswered.
type order struct {
	Method, Token, KeyAuthorization string
	Names                           []string
	InFlight, Most                  int
	Limit                           time.Duration
	Rate                            float64
	RegID                           int64
}

// times are how long validations took, in order, and how long all of them together; those that failed in No, with how many there were of
// each kind. Unbegun is how many a Rate would have had more.
type times struct {
	Took    []time.Duration
	All     time.Duration
	Failed  int
	No      []time.Duration
	Codes   map[string]int
	Why     string
	Unbegun int
}

// coded is an answer that is no grant: its kind, in a few words, and all of it.
type coded struct {
	code, text string
}

func (c coded) Error() string { return c.code + ": " + c.text }

// load carries out orders, one JSON object a line, as the RA validates: DoDCV, and DoCAA where that was passed
// (ra.checkDCVAndCAA).
func load(in io.Reader, out io.Writer) error {
	conn, err := connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	va, caa := vapb.NewVAClient(conn), vapb.NewCAAClient(conn)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(o.run(func(i int) error { return o.validate(va, caa, i) })); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (o order) validate(va vapb.VAClient, caa vapb.CAAClient, i int) error {
	identifier := &corepb.Identifier{Type: "dns", Value: o.Names[i%len(o.Names)]}
	dcv, err := va.DoDCV(context.Background(), &vapb.PerformValidationRequest{Identifier: identifier,
		Challenge: &corepb.Challenge{Type: o.Method, Status: "pending", Token: o.Token},
		Authz:     &vapb.AuthzMeta{Id: 4711, RegID: o.RegID}, ExpectedKeyAuthorization: o.KeyAuthorization})
	if err != nil {
		return coded{"DCV " + status.Code(err).String(), err.Error()}
	}
	if dcv.Problem != nil {
		return coded{"DCV " + dcv.Problem.ProblemType, dcv.Problem.Detail}
	}
	got, err := caa.DoCAA(context.Background(), &vapb.IsCAAValidRequest{Identifier: identifier, ValidationMethod: o.Method,
		AccountURIID: o.RegID, AuthzID: 4711})
	if err != nil {
		return coded{"CAA " + status.Code(err).String(), err.Error()}
	}
	if got.Problem != nil {
		return coded{"CAA " + got.Problem.ProblemType, got.Problem.Detail}
	}
	return nil
}

func (o order) run(do func(i int) error) times {
	t := tally{times: times{Codes: map[string]int{}}}
	began := time.Now()
	if o.Rate > 0 {
		o.open(&t, began, do)
	} else {
		o.closed(&t, began, do)
	}
	t.All = time.Since(began)
	slices.Sort(t.Took)
	slices.Sort(t.No)
	return t.times
}

func (o order) closed(t *tally, began time.Time, do func(i int) error) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range o.InFlight {
		workers.Go(func() {
			for time.Since(began) < o.Limit {
				i := int(next.Add(1) - 1)
				if o.Most > 0 && i >= o.Most {
					return
				}
				t.add(i, do)
			}
		})
	}
	workers.Wait()
}

func (o order) open(t *tally, began time.Time, do func(i int) error) {
	places := make(chan struct{}, o.InFlight)
	var workers sync.WaitGroup
	for i := 0; o.Most == 0 || i < o.Most; i++ {
		due := time.Duration(float64(i) / o.Rate * float64(time.Second))
		if due >= o.Limit {
			break
		}
		time.Sleep(due - time.Since(began))
		select {
		case places <- struct{}{}:
			workers.Go(func() {
				defer func() { <-places }()
				t.add(i, do)
			})
		default:
			t.Unbegun++
		}
	}
	workers.Wait()
}

// tally gathers times. Unbegun is not for mu.
type tally struct {
	mu sync.Mutex
	times
}

func (t *tally) add(i int, do func(i int) error) {
	asked := time.Now()
	err := do(i)
	took := time.Since(asked)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.Took = append(t.Took, took)
		return
	}
	code := "no answer"
	if c, ok := errors.AsType[coded](err); ok {
		code = c.code
	}
	t.Failed, t.Why, t.No = t.Failed+1, err.Error(), append(t.No, took)
	t.Codes[code]++
}
