package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corepb "github.com/letsencrypt/boulder/core/proto"
	vapb "github.com/letsencrypt/boulder/va/proto"
)

// order is what test/bench wants validated: InFlight at a time, for Limit, and no more than Most where that is not 0.
type order struct {
	Method, Token, KeyAuthorization string
	Names                           []string
	InFlight, Most                  int
	Limit                           time.Duration
	RegID                           int64
}

// times are how long validations took, in order, and how long all of them together.
type times struct {
	Took   []time.Duration
	All    time.Duration
	Failed int
	Why    string
}

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
		return err
	}
	if dcv.Problem != nil {
		return fmt.Errorf("DCV: %s", dcv.Problem)
	}
	got, err := caa.DoCAA(context.Background(), &vapb.IsCAAValidRequest{Identifier: identifier, ValidationMethod: o.Method,
		AccountURIID: o.RegID, AuthzID: 4711})
	if err != nil {
		return err
	}
	if got.Problem != nil {
		return fmt.Errorf("CAA: %s", got.Problem)
	}
	return nil
}

func (o order) run(do func(i int) error) times {
	var next atomic.Int64
	var mu sync.Mutex
	var all times
	var workers sync.WaitGroup
	began := time.Now()
	for range o.InFlight {
		workers.Go(func() {
			for time.Since(began) < o.Limit {
				i := int(next.Add(1) - 1)
				if o.Most > 0 && i >= o.Most {
					return
				}
				asked := time.Now()
				err := do(i)
				took := time.Since(asked)
				mu.Lock()
				if err != nil {
					all.Failed, all.Why = all.Failed+1, err.Error()
				} else {
					all.Took = append(all.Took, took)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	all.All = time.Since(began)
	slices.Sort(all.Took)
	return all
}
