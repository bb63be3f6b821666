package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// maxLinks bounds the links of a batch call's span.
const maxLinks = 128

// Tracer opens the spans of one stream.
type Tracer struct {
	tracer trace.Tracer
	name   string
	common []attribute.KeyValue
}

// newTracer returns the tracer of a stream of node; operation is "process" or "send".
func newTracer(operation, kind, pipeline, node, replica string) *Tracer {
	return &Tracer{tracer: tracer(), name: operation + " " + node, common: []attribute.KeyValue{
		System.String(systemName), OperationName.String(operation), OperationType.String(kind),
		Destination.String(node), ClientID.String(replica), Pipeline.String(pipeline),
	}}
}

// ForProcess returns the tracer of a Process stream.
func ForProcess(pipeline, node, replica string) *Tracer {
	return newTracer(operationRun, "process", pipeline, node, replica)
}

// Unsampled returns ctx with a span context that is not sampled, so that spans which a handler opens for an event
// without a trace are not recorded as traces of their own.
func Unsampled(ctx context.Context) context.Context {
	var traceID trace.TraceID
	var spanID trace.SpanID
	_, _ = rand.Read(traceID[:]) // never fails
	_, _ = rand.Read(spanID[:])
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID}))
}

// Remote returns the context that a batch carries for an event. A tracestate that does not parse, or is too long, is left out.
func Remote(s *meshloomv1.SpanContext) trace.SpanContext {
	config := trace.SpanContextConfig{TraceID: trace.TraceID(s.TraceId), SpanID: trace.SpanID(s.SpanId), TraceFlags: trace.TraceFlags(s.Flags), Remote: true}
	if state, err := trace.ParseTraceState(s.TraceState); err == nil && len(s.TraceState) <= columns.MaxTraceStateBytes {
		config.TraceState = state
	}
	return trace.NewSpanContext(config)
}

// Event opens the span around the handler's call for one event; the event's span is its parent.
func (t *Tracer) Event(ctx context.Context, parent *meshloomv1.SpanContext, view *columns.View, attempt int) (context.Context, trace.Span) {
	ctx = trace.ContextWithRemoteSpanContext(ctx, Remote(parent))
	return t.tracer.Start(ctx, t.name, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(t.common...),
		trace.WithAttributes(eventAttributes(view, int(parent.Index), attempt)...))
}

func eventAttributes(view *columns.View, i, attempt int) []attribute.KeyValue {
	uid := view.UID(i)
	attributes := []attribute.KeyValue{MessageID.String(hex.EncodeToString(uid[:])), Attempt.Int(attempt)}
	for _, a := range []struct {
		key    attribute.Key
		column *columns.Strings
	}{{EventID, &view.ID}, {EventSource, &view.Source}, {EventType, &view.Type}} {
		if value, ok := a.column.At(i); ok {
			attributes = append(attributes, a.key.String(value))
		}
	}
	return attributes
}

// BatchSpans are the spans of a batch call: its own, and one for each sampled event.
type BatchSpans struct {
	call   trace.Span
	events map[uint32]trace.Span
}

// Batch opens the spans around a batch handler's call: one root span linked to every sampled event (128 at most), and
// for each of these events a span of its own that links back.
func (t *Tracer) Batch(ctx context.Context, view *columns.View, attempts columns.Attempts) (context.Context, *BatchSpans) {
	sampled := view.Sampled()
	if len(sampled) == 0 {
		return ctx, nil
	}
	links := make([]trace.Link, 0, min(len(sampled), maxLinks))
	for _, s := range sampled[:cap(links)] {
		links = append(links, trace.Link{SpanContext: Remote(s)})
	}
	callCtx, call := t.tracer.Start(ctx, t.name, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
		trace.WithAttributes(t.common...), trace.WithAttributes(BatchCount.Int(view.Count)))
	spans := &BatchSpans{call: call, events: make(map[uint32]trace.Span, len(sampled))}
	back := trace.WithLinks(trace.Link{SpanContext: call.SpanContext()})
	for _, s := range sampled {
		_, spans.events[s.Index] = t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, Remote(s)), t.name, back,
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(t.common...),
			trace.WithAttributes(eventAttributes(view, int(s.Index), attempts.At(int(s.Index)))...))
	}
	return callCtx, spans
}

// End ends all spans; outcome tells the verdict on an event, and the failure if there is one.
func (b *BatchSpans) End(outcome func(index uint32) (string, *meshloomv1.EventFailure), failed *meshloomv1.EventFailure) {
	if b == nil {
		return
	}
	for index, span := range b.events {
		verdict, failure := outcome(index)
		End(span, verdict, failure)
	}
	if failed != nil {
		setError(b.call, failed)
	}
	b.call.End()
}

// End ends the span of an event with its verdict.
func End(span trace.Span, verdict string, failure *meshloomv1.EventFailure) {
	span.SetAttributes(Verdict.String(verdict))
	if failure != nil {
		setError(span, failure)
	}
	span.End()
}

func setError(span trace.Span, failure *meshloomv1.EventFailure) {
	span.SetAttributes(ErrorType.String(failure.Reason))
	span.SetStatus(codes.Error, failure.Message)
}

// VerdictOf names the verdict of a failure.
func VerdictOf(failure *meshloomv1.EventFailure) string {
	if failure.Action == meshloomv1.FailureAction_FAILURE_ACTION_REJECT {
		return Reject
	}
	return Retry
}
