// Command program is Boulder as the tests need it: its `remoteva`, started as cmd/boulder starts it, and `call`, which asks a VA by Boulder's own
// gRPC client. For test/bench it is also its `boulder-va`, and `load`, which asks that for as much as it can do. It is a module of its own, at
// the versions that Boulder names, so that nothing of what Boulder's programs depend on is a dependency of ours.
//
//	program remoteva -config rva.json
//	program boulder-va -config va.json
//	program call -config client.json < calls, one JSON object a line
//	program load -config client.json < orders, one JSON object a line
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/jmhodges/clock"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/letsencrypt/boulder/cmd"
	_ "github.com/letsencrypt/boulder/cmd/boulder-va"
	_ "github.com/letsencrypt/boulder/cmd/remoteva"
	"github.com/letsencrypt/boulder/core"
	corepb "github.com/letsencrypt/boulder/core/proto"
	bgrpc "github.com/letsencrypt/boulder/grpc"
	"github.com/letsencrypt/boulder/probs"
	vapb "github.com/letsencrypt/boulder/va/proto"
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: program boulder-va|remoteva|call|load -config FILE"))
	}
	name := os.Args[1]
	os.Args = os.Args[1:]
	switch name {
	case "call":
		fail(call(os.Stdin, os.Stdout))
		return
	case "load":
		fail(load(os.Stdin, os.Stdout))
		return
	}
	defer cmd.AuditPanic()
	run := cmd.LookupCommand(name)
	if run == nil {
		fail(fmt.Errorf("no subcommand %q", name))
	}
	if len(os.Args) == 3 { // as cmd/boulder does before it starts a component
		if v := cmd.LookupConfigValidator(name); v != nil {
			file, err := os.Open(os.Args[2])
			fail(err)
			fail(cmd.ValidateJSONConfig(v, file))
			fail(file.Close())
		}
	}
	run()
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// settings are in the form of Boulder's RA: tls, and vaService.
type settings struct {
	TLS       cmd.TLSConfig         `json:"tls"`
	VAService *cmd.GRPCClientConfig `json:"vaService"`
}

// request is one call. Method is DoDCV, DoCAA or Health; Request is protobuf's JSON form, or the name of a service.
type request struct {
	Method  string          `json:"method"`
	Request json.RawMessage `json:"request"`
}

// answer is what Boulder's client made of it.
type answer struct {
	// Answer is protobuf's JSON form.
	Answer json.RawMessage `json:"answer,omitempty"`
	// Error and Code are gRPC's.
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
	// Problem and Records are read by Boulder's own marshalling, and Sane is what its core says of the records.
	Problem *probs.ProblemDetails   `json:"problem,omitempty"`
	Records []core.ValidationRecord `json:"records,omitempty"`
	Sane    bool                    `json:"sane"`
}

// connect connects as the configuration of -config says.
func connect() (*grpc.ClientConn, error) {
	file := flag.String("config", "", "")
	flag.Parse()
	var c settings
	if err := cmd.ReadConfigFile(*file, &c); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	tls, err := c.TLS.Load(registry)
	if err != nil {
		return nil, err
	}
	return bgrpc.ClientSetup(c.VAService, tls, registry, clock.New())
}

func call(in io.Reader, out io.Writer) error {
	conn, err := connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	va, caa, health := vapb.NewVAClient(conn), vapb.NewCAAClient(conn), healthpb.NewHealthClient(conn)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return err
		}
		var a answer
		switch r.Method {
		case "DoDCV":
			var req vapb.PerformValidationRequest
			if err := protojson.Unmarshal(r.Request, &req); err != nil {
				return err
			}
			got, err := va.DoDCV(context.Background(), &req)
			a = read(got, err)
			if err == nil {
				if err := a.convert(req.Challenge.GetType(), got.Problem, got.Records); err != nil {
					return err
				}
			}
		case "DoCAA":
			var req vapb.IsCAAValidRequest
			if err := protojson.Unmarshal(r.Request, &req); err != nil {
				return err
			}
			got, err := caa.DoCAA(context.Background(), &req)
			a = read(got, err)
			if err == nil {
				if err := a.convert("", got.Problem, nil); err != nil {
					return err
				}
			}
		case "Health":
			var service string
			if err := json.Unmarshal(r.Request, &service); err != nil {
				return err
			}
			got, err := health.Check(context.Background(), &healthpb.HealthCheckRequest{Service: service})
			a = read(got, err)
		default:
			return fmt.Errorf("no method %q", r.Method)
		}
		if err := json.NewEncoder(out).Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

func read(m proto.Message, err error) answer {
	if err != nil {
		code := status.Code(err)
		if code == codes.OK {
			code = codes.Unknown
		}
		return answer{Error: err.Error(), Code: code.String()}
	}
	text, err := protojson.Marshal(m)
	fail(err)
	return answer{Answer: text}
}

// convert reads what the RA, the SA and the WFE read.
func (a *answer) convert(challenge string, p *corepb.ProblemDetails, records []*corepb.ValidationRecord) error {
	var err error
	if a.Problem, err = bgrpc.PBToProblemDetails(p); err != nil {
		return err
	}
	for _, r := range records {
		record, err := bgrpc.PBToValidationRecord(r)
		if err != nil {
			return err
		}
		a.Records = append(a.Records, record)
	}
	if challenge != "" {
		a.Sane = core.Challenge{Type: core.AcmeChallenge(challenge), ValidationRecord: a.Records}.RecordsSane()
	}
	return nil
}
