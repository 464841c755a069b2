package main

import (
	"context"

	"github.com/quorate/quorate/cmd/internal/health"
)

type healthCmd struct {
	URL string `arg:"" name:"url" help:"For example http://localhost:8055/ca.pem."`
}

func (c healthCmd) Run(ctx context.Context) error { return health.Check(ctx, c.URL, "") }
