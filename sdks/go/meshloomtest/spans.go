package meshloomtest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Span is a span that has ended: one that the SDK opened around a call, or one of the handler's own.
type Span struct {
	Input      int    // index of the event in whose trace it is, or [WholeBatch] in that of a batch call
	Name       string // `process test` for the SDK's
	Parent     string // name of the parent among the spans of the run, empty: the event's own context, or none
	Attributes map[string]any
	Error      string // the message of its status, if that is an error
}

// spans records the spans of one run. It knows them by the trace ids that it gives to events.
type spans struct {
	run [12]byte

	mu     sync.Mutex
	inputs map[trace.TraceID]int
	closed []sdktrace.ReadOnlySpan
}

// recorder hands spans to the runs that they belong to.
type recorder struct {
	mu        sync.Mutex
	providers []any // those that it is registered with
	runs      []*spans
}

var theRecorder recorder

// recordSpans begins to record: with the application's own tracer provider if it has set one.
func recordSpans() *spans {
	r := &theRecorder
	s := &spans{inputs: map[trace.TraceID]int{}}
	_, _ = rand.Read(s.run[:]) // never fails
	r.mu.Lock()
	defer r.mu.Unlock()
	provider, ok := otel.GetTracerProvider().(*sdktrace.TracerProvider)
	if !ok {
		provider = sdktrace.NewTracerProvider()
		otel.SetTracerProvider(provider)
	}
	if !slices.Contains(r.providers, any(provider)) {
		provider.RegisterSpanProcessor(r)
		r.providers = append(r.providers, provider)
	}
	r.runs = append(r.runs, s)
	return s
}

func (s *spans) stop() {
	r := &theRecorder
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = slices.DeleteFunc(r.runs, func(one *spans) bool { return one == s })
}

// contexts makes events sampled, each in a trace of its own.
func (s *spans) contexts(first, count int) []*meshloomv1.SpanContext {
	s.mu.Lock()
	defer s.mu.Unlock()
	contexts := make([]*meshloomv1.SpanContext, count)
	for i := range contexts {
		id := trace.TraceID(binary.BigEndian.AppendUint32(s.run[:], uint32(first+i)))
		s.inputs[id] = first + i
		contexts[i] = &meshloomv1.SpanContext{Index: uint32(i), TraceId: id[:], SpanId: id[:8], Flags: uint32(trace.FlagsSampled)}
	}
	return contexts
}

// ended returns the spans in the order of their ends.
func (s *spans) ended() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := map[trace.SpanID]string{}
	for _, one := range s.closed {
		names[one.SpanContext().SpanID()] = one.Name()
	}
	all := make([]Span, len(s.closed))
	for i, one := range s.closed {
		all[i] = Span{
			Input: s.inputs[one.SpanContext().TraceID()], Name: one.Name(), Parent: names[one.Parent().SpanID()],
			Attributes: map[string]any{}, Error: one.Status().Description,
		}
		for _, a := range one.Attributes() {
			all[i].Attributes[string(a.Key)] = a.Value.AsInterface()
		}
	}
	return all
}

// owner returns the run that a trace belongs to.
func (r *recorder) owner(id trace.TraceID) *spans {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.runs {
		s.mu.Lock()
		_, ok := s.inputs[id]
		s.mu.Unlock()
		if ok {
			return s
		}
	}
	return nil
}

// OnStart implements [sdktrace.SpanProcessor]: the trace of a batch call is known by its links.
func (r *recorder) OnStart(_ context.Context, span sdktrace.ReadWriteSpan) {
	id := span.SpanContext().TraceID()
	for _, link := range span.Links() {
		if s := r.owner(link.SpanContext.TraceID()); s != nil && r.owner(id) == nil {
			s.mu.Lock()
			s.inputs[id] = WholeBatch
			s.mu.Unlock()
		}
	}
}

// OnEnd implements [sdktrace.SpanProcessor].
func (r *recorder) OnEnd(span sdktrace.ReadOnlySpan) {
	if s := r.owner(span.SpanContext().TraceID()); s != nil {
		s.mu.Lock()
		s.closed = append(s.closed, span)
		s.mu.Unlock()
	}
}

// Shutdown implements [sdktrace.SpanProcessor].
func (*recorder) Shutdown(context.Context) error { return nil }

// ForceFlush implements [sdktrace.SpanProcessor].
func (*recorder) ForceFlush(context.Context) error { return nil }
