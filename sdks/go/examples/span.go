package examples

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

var tracer = otel.Tracer("example.com/readings")

func traced(ask lookup) lookup {
	return func(ctx context.Context, sensor string) (string, error) {
		ctx, span := tracer.Start(ctx, "look up", trace.WithAttributes(attribute.String("sensor", sensor)))
		defer span.End() // inside the span `process NODE` of the event
		place, err := ask(ctx, sensor)
		if err != nil {
			span.RecordError(err)
		}
		meshloom.Logger(ctx).InfoContext(ctx, "looked up", "place", place) // with the event's uid, trace_id and span_id
		return place, err
	}
}

// snippet:end
