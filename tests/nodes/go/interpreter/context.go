package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// describe tells what a handler was given with an event.
func (in *interpreter) describe(ctx context.Context, event meshloom.Event) map[string]any {
	text := func(a meshloom.Attribute) any {
		if value, ok := event.Lookup(a); ok {
			return value
		}
		return nil
	}
	replica := meshloom.ReplicaFrom(ctx)
	return map[string]any{
		"uid": event.UID().String(), "id": text(meshloom.AttrID), "source": text(meshloom.AttrSource), "type": text(meshloom.AttrType),
		"subject": text(meshloom.AttrSubject), "key": text(meshloom.AttrKey), "from": text(meshloom.AttrFrom),
		"content_type": text(meshloom.AttrContentType), "data_schema": text(meshloom.AttrDataSchema),
		"time": timeOf(event), "extensions": extensionsOf(event),
		"payload": base64.StdEncoding.EncodeToString(event.Data()), "attempt": event.Attempt(),
		"pipeline": replica.Pipeline, "node": replica.Node, "replica": replica.Name(), "label": in.Label,
		"deadline_ms": untilDeadline(ctx), "wait_ms": in.Wait.Milliseconds(), "room_bytes": in.Room, "trace": traceOf(ctx),
	}
}

func timeOf(event meshloom.Event) any {
	if nanos, ok := event.UnixNano(); ok {
		return fmt.Sprint(nanos)
	}
	return nil
}

func extensionsOf(event meshloom.Event) map[string]any {
	extensions := map[string]any{}
	for name, value := range event.Extensions() {
		extensions[name] = encode(value)
	}
	return extensions
}

func untilDeadline(ctx context.Context) any {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline).Milliseconds()
	}
	return nil
}

// traceOf is the current span. An event without a trace has one all the same, which is not sampled and so keeps spans of the
// handler's from being roots of traces of their own.
func traceOf(ctx context.Context) any {
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		return fmt.Sprintf("%s-%s-%s", span.TraceID(), span.SpanID(), span.TraceFlags())
	}
	return nil
}

// copyOf is an output that sets all that can be read of an event.
func copyOf(event meshloom.Event) meshloom.Out[any] {
	out := meshloom.Emit[any](event.Data()).
		ContentType(event.ContentType()).Type(event.Type()).Subject(event.Subject()).Key(event.Key()).
		ID(event.ID()).DataSchema(event.DataSchema()).Time(event.Time())
	for name, value := range event.Extensions() {
		out = out.Extension(name, value)
	}
	return out
}
