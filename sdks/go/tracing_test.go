package meshloom_test

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// record sets a provider of the application's own for one test.
func record(t *testing.T) *tracetest.InMemoryExporter {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)))
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	return exporter
}

func sampled(index uint32, id byte) *meshloomv1.SpanContext {
	return &meshloomv1.SpanContext{Index: index, TraceId: bytes.Repeat([]byte{id}, 16), SpanId: bytes.Repeat([]byte{id}, 8), Flags: 1, TraceState: "vendor=1"}
}

func attributesOf(span tracetest.SpanStub) map[attribute.Key]string {
	m := map[attribute.Key]string{}
	for _, a := range span.Attributes {
		m[a.Key] = a.Value.String()
	}
	return m
}

func TestSampledEventsGetASpanAroundTheHandler(t *testing.T) {
	exporter := record(t)
	p := serve(t, meshloom.New("n", meshloom.Map(func(ctx context.Context, in command) (int, error) {
		_, span := otel.Tracer("user").Start(ctx, "user-work")
		span.End()
		return handled(in)
	}))).Process(t, &meshloomv1.OpenProcess{Pipeline: "p", Node: "filter", Replica: &meshloomv1.Replica{Index: 2, Of: 3}})
	work := workOf(1, `{"n":0}`, `{"n":1}`, `{"n":2,"do":"reject"}`)
	work.Batch.Spans = []*meshloomv1.SpanContext{sampled(0, 1), sampled(2, 2)}
	p.Send(t, work)
	p.Collect(t, work)

	spans := map[string]tracetest.SpanStub{} // by name and trace
	for _, s := range exporter.GetSpans() {
		spans[s.Name+s.SpanContext.TraceID().String()[:2]] = s
	}
	if len(spans) != 4 {
		t.Fatalf("got %d spans, want 2 of the SDK and 2 of the user's: %v", len(spans), spans)
	}
	process := spans["process filter01"]
	if process.SpanKind != trace.SpanKindConsumer || process.Parent.SpanID().String() != "0101010101010101" || !process.Parent.IsRemote() || process.SpanContext.TraceState().String() != "vendor=1" {
		t.Errorf("span %+v", process)
	}
	want := map[attribute.Key]string{
		"messaging.system": "meshloom", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.name": "filter", "messaging.client.id": "filter/2", "meshloom.pipeline": "p",
		"messaging.message.id": "00000000000000000000000000000001", "meshloom.attempt": "1", "meshloom.verdict": "delivered",
	}
	got := attributesOf(process)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
	if user := spans["user-work01"]; user.Parent.SpanID() != process.SpanContext.SpanID() {
		t.Error("the user's span is not inside the SDK's")
	}
	rejected := attributesOf(spans["process filter02"])
	if rejected["meshloom.verdict"] != "reject" || rejected["error.type"] != "NO" || spans["process filter02"].Status.Description != "why" {
		t.Errorf("a rejected event's span %+v", spans["process filter02"])
	}
}

func handled(in command) (int, error) {
	if in.Do == "reject" {
		return 0, meshloom.Rejectf("NO", "why")
	}
	return in.N, nil
}

func TestBatchCallIsLinkedToItsEvents(t *testing.T) {
	exporter := record(t)
	p := serve(t, meshloom.New("n", meshloom.MapBatch(obey))).Process(t, &meshloomv1.OpenProcess{Pipeline: "p", Node: "filter"})
	plain := workOf(1, `{}`)
	p.Send(t, plain)
	p.Collect(t, plain)
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Fatalf("an unsampled batch has spans: %v", spans)
	}
	work := workOf(2, `{}`, `{"do":"drop"}`, `{"do":"retry"}`)
	work.Batch.Spans = []*meshloomv1.SpanContext{sampled(1, 1), sampled(2, 2)}
	p.Send(t, work)
	p.Collect(t, work)
	var call tracetest.SpanStub
	events := map[string]tracetest.SpanStub{}
	for _, s := range exporter.GetSpans() {
		if !s.Parent.IsValid() {
			call = s
		} else {
			events[s.SpanContext.TraceID().String()[:2]] = s
		}
	}
	if len(call.Links) != 2 || call.Links[1].SpanContext.SpanID().String() != "0202020202020202" || attributesOf(call)["messaging.batch.message_count"] != "3" {
		t.Errorf("the call's span %+v", call)
	}
	for id, verdict := range map[string]string{"01": "consumed", "02": "retry"} {
		s := events[id]
		if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != call.SpanContext.SpanID() || attributesOf(s)["meshloom.verdict"] != verdict {
			t.Errorf("the span of event %s is %+v", id, s)
		}
	}
}

func TestEventsThatAreNotSampledMakeNoSpan(t *testing.T) {
	exporter := record(t)
	for _, handler := range []meshloom.Handler{meshloom.Map(handleMap), meshloom.MapBatch(obey)} {
		p := serve(t, meshloom.New("n", handler)).Process(t, &meshloomv1.OpenProcess{Pipeline: "p", Node: "filter"})
		work := workOf(1, `{}`, `{}`)
		unsampled, none := sampled(0, 1), sampled(1, 0)
		unsampled.Flags = 0
		work.Batch.Spans = []*meshloomv1.SpanContext{unsampled, none}
		p.Send(t, work)
		if a := p.Collect(t, work); len(a.Outputs) != 2 {
			t.Errorf("got %+v", a)
		}
	}
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("got %v", spans)
	}
}

func TestSourceStartsTraces(t *testing.T) {
	for _, c := range []struct {
		name        string
		trace       *meshloomv1.TraceSampling
		traceparent string
		spans       int
	}{
		{"all", &meshloomv1.TraceSampling{Rule: &meshloomv1.TraceSampling_Ratio{Ratio: 1}}, "", 100},
		{"none", &meshloomv1.TraceSampling{Rule: &meshloomv1.TraceSampling_Ratio{Ratio: 0}}, "", 0},
		{"brought along", &meshloomv1.TraceSampling{Rule: &meshloomv1.TraceSampling_Rate{Rate: 0}}, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 100},
		{"brought along, not sampled", &meshloomv1.TraceSampling{Rule: &meshloomv1.TraceSampling_Ratio{Ratio: 0}}, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 0},
		{"brought along, broken", &meshloomv1.TraceSampling{Rule: &meshloomv1.TraceSampling_Ratio{Ratio: 0}}, "00-zz", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			exporter := record(t)
			p := serve(t, meshloom.New("s", meshloom.Source(func(context.Context, meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
				return func(yield func(meshloom.Record, error) bool) {
					for i := range 100 {
						r := meshloom.Record{Data: i}
						if c.traceparent != "" {
							r.Extensions = map[string]any{"traceparent": c.traceparent}
						}
						if !yield(r, nil) {
							return
						}
					}
				}
			}))).Produce(t, &meshloomv1.OpenProduce{Pipeline: "p", Node: "ingest", Trace: c.trace})
			p.Demand(t, 100, 1<<20)
			var contexts []*meshloomv1.SpanContext
			for _, frame := range frames(t, p) {
				if _, err := columns.Decode(frame.GetBatch()); err != nil {
					t.Fatal(err)
				}
				contexts = append(contexts, frame.GetBatch().GetSpans()...)
			}
			exported := exporter.GetSpans()
			if len(exported) != c.spans || len(contexts) != c.spans {
				t.Fatalf("%d spans, %d contexts, want %d", len(exported), len(contexts), c.spans)
			}
			if c.spans == 0 {
				return
			}
			s := exported[0]
			if s.Name != "send ingest" || s.SpanKind != trace.SpanKindProducer || s.SpanContext.SpanID() != trace.SpanID(contexts[0].GetSpanId()) {
				t.Errorf("span %+v", s)
			}
			if c.traceparent != "" && (s.SpanContext.TraceID().String() != c.traceparent[3:35] || s.Parent.SpanID().String() != c.traceparent[36:52]) {
				t.Errorf("the trace was not continued: %+v", s)
			}
		})
	}
}

func TestLoggerStampsTheEvent(t *testing.T) {
	record(t)
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	defer slog.SetDefault(before)
	p := serve(t, meshloom.New("n", meshloom.Map(func(ctx context.Context, in int) (int, error) {
		meshloom.Logger(ctx).Info("hello")
		if r := meshloom.ReplicaFrom(ctx); r.Pipeline != "p" || r.Name() != "filter/1" || r.Of != 2 {
			t.Errorf("replica %+v", r)
		}
		return in, nil
	}), meshloom.Concurrency(1))).Process(t, &meshloomv1.OpenProcess{Pipeline: "p", Node: "filter", Replica: &meshloomv1.Replica{Index: 1, Of: 2}})
	work := workOf(1, `1`, `2`)
	work.Batch.Spans = []*meshloomv1.SpanContext{sampled(0, 1)}
	p.Send(t, work)
	p.Collect(t, work)
	first, second, _ := strings.Cut(out.String(), "\n")
	for _, stamp := range []string{"node=filter", "replica=filter/1", "uid=00000000000000000000000000000001", "trace_id=01010101", "span_id="} {
		if !strings.Contains(first, stamp) {
			t.Errorf("no %s in %s", stamp, first)
		}
	}
	if strings.Contains(second, "trace_id") || !strings.Contains(second, "uid=00000000000000000000000000000002") {
		t.Errorf("an event without a trace logs %s", second)
	}
}
