package main

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/cmd/internal/health"
)

type healthCmd struct {
	URL string `arg:"" name:"url" help:"For example https://localhost:8443/readyz."`
	CA  string `name:"ca" type:"existingfile" placeholder:"FILE" help:"A PEM file with the certificates that the server is trusted by; left out, the system's."`
}

// Help is shown below the flags' list.
func (healthCmd) Help() string {
	return "For supervisors, where no other program is at hand that could ask. A perspective's own port answers known gates alone: ask its metrics."
}

func (c healthCmd) Run(ctx context.Context, out console) error {
	if err := health.Check(ctx, c.URL, c.CA); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out.stdout, "ok")
	return err
}
