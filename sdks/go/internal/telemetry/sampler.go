package telemetry

import (
	"context"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// defaultRate is the number of new traces per second of a source that was told no rule.
const defaultRate = 10

// Sampler decides which events of a source are traced.
type Sampler struct {
	ratio  float64 // below 0: the rate decides
	rate   float64 // traces per second
	tokens float64
	filled time.Time
}

// NewSampler returns the sampler for a rule; without one it lets 10 new traces per second through.
func NewSampler(rule *meshloomv1.TraceSampling) *Sampler {
	s := &Sampler{ratio: -1, rate: defaultRate}
	switch r := rule.GetRule().(type) {
	case *meshloomv1.TraceSampling_Rate:
		s.rate = max(r.Rate, 0)
	case *meshloomv1.TraceSampling_Ratio:
		s.ratio = min(max(r.Ratio, 0), 1)
	}
	s.tokens = max(s.rate, 1)
	if s.rate == 0 {
		s.tokens = 0
	}
	return s
}

// Off tells that no event starts a trace.
func (s *Sampler) Off() bool { return s.ratio == 0 || (s.ratio < 0 && s.rate == 0) }

// Sample decides for one event.
func (s *Sampler) Sample(now time.Time) bool {
	if s.ratio >= 0 {
		return s.ratio > 0 && rand.Float64() < s.ratio
	}
	if !s.filled.IsZero() {
		s.tokens = min(s.tokens+now.Sub(s.filled).Seconds()*s.rate, max(s.rate, 1))
	}
	s.filled = now
	if s.rate == 0 || s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// Producer opens the `send` spans of a source.
type Producer struct {
	*Tracer
	sampler *Sampler
	export  bool
}

// ForProduce returns the producer of a Produce stream. Without a tracer provider no trace is started here, since its
// first span could not be exported; contexts that events bring along are passed on all the same.
func ForProduce(pipeline, node, replica string, rule *meshloomv1.TraceSampling) *Producer {
	return &Producer{Tracer: newTracer(operationOut, "send", pipeline, node, replica), sampler: NewSampler(rule), export: Configured()}
}

// Event returns the span context to send with an event, nil when it is not traced, and the span to end when it is sent.
func (p *Producer) Event(traceparent, tracestate string) (*meshloomv1.SpanContext, trace.Span) {
	if traceparent == "" && (!p.export || p.sampler.Off()) {
		return nil, nil
	}
	now := time.Now()
	var parent trace.SpanContext
	if traceparent != "" {
		carrier := propagation.MapCarrier{"traceparent": traceparent, "tracestate": tracestate}
		parent = trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	}
	switch {
	case parent.IsSampled() && !p.export:
		return wire(parent), nil
	case parent.IsSampled():
	case !p.export || !p.sampler.Sample(now):
		return nil, nil
	default:
		parent = trace.SpanContext{}
	}
	ctx := context.Background()
	if parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	_, span := p.tracer.Start(ctx, p.name, trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(now), trace.WithAttributes(p.common...))
	if !span.SpanContext().IsSampled() {
		span.End()
		return nil, nil
	}
	return wire(span.SpanContext()), span
}

func wire(c trace.SpanContext) *meshloomv1.SpanContext {
	traceID, spanID := c.TraceID(), c.SpanID()
	return &meshloomv1.SpanContext{TraceId: traceID[:], SpanId: spanID[:], Flags: uint32(c.TraceFlags()), TraceState: c.TraceState().String()}
}
