package main

import (
	"context"

	"go.opentelemetry.io/otel"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

func newMap(_ context.Context, cfg config) (meshloom.MapHandler, error) {
	tracer := otel.Tracer("github.com/meshloom/meshloom/tests/nodes/go")
	return meshloom.Map(func(ctx context.Context, in input) (meshloom.Out[output], error) {
		_, span := tracer.Start(ctx, "user-work")
		defer span.End()
		in, attempt := in.here(cfg.Label), meshloom.Attempt(ctx)
		if err := verdict(in, attempt); err != nil {
			return meshloom.Out[output]{}, err
		}
		if in.Do == "none" {
			return meshloom.Out[output]{}, nil // no result: the SDK rejects it
		}
		return emit(in, output{N: in.N, Label: cfg.Label, Lang: lang, Attempt: attempt}), nil
	}), nil
}
