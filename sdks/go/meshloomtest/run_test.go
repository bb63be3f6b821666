package meshloomtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

type reading struct {
	Celsius float64 `json:"celsius"`
}

type limits struct {
	Hot float64 `json:"hot" meshloom:"required"`
}

func classify(stopped *int) *meshloom.Node {
	return meshloom.NewWith("classify", func(_ context.Context, cfg limits) (meshloom.MapHandler, error) {
		return meshloom.OnStop(meshloom.Map(func(ctx context.Context, in reading) (out meshloom.Out[reading], err error) {
			switch {
			case in.Celsius == 0:
				return out, meshloom.Drop
			case in.Celsius < -273:
				return out, meshloom.Rejectf("TOO_COLD", "%g", in.Celsius)
			case meshloom.Attempt(ctx) == 2:
				return out, meshloom.RetryAfter(time.Second, errors.New("busy"))
			case in.Celsius > cfg.Hot:
				return meshloom.Emit(in).Route("hot").Key(meshloom.EventFrom(ctx).Subject()), nil
			}
			return meshloom.Emit(in), nil
		}), func() error { *stopped++; return nil }), nil
	}, meshloom.Routes("hot"))
}

func TestRun(t *testing.T) {
	stopped := 0
	events := []any{reading{20}, reading{0}, meshloomtest.Event{Data: reading{40}, Subject: "roof"}, []byte(`{"celsius":-300}`)}
	want := []string{`0: {"celsius":20}`, `1: dropped`, `2: {"celsius":40} key=roof route=hot`, `3: rejected TOO_COLD`}
	for _, options := range []meshloomtest.Options{{}, {BatchSize: 3}, {Splits: 3}, {Splits: 9, Seed: 5}, {Keyed: true}} {
		options.Config = limits{Hot: 30}
		meshloomtest.RunWith(t, options, classify(&stopped), events...).Expect(t, want...)
	}
	if stopped != 5 {
		t.Errorf("%d tear-downs of 5", stopped)
	}
	r := meshloomtest.RunWith(t, meshloomtest.Options{Config: limits{Hot: 30}, Attempt: 2}, classify(&stopped), reading{20})
	r.Expect(t, "0: retried RETRY after 1s: busy")
}

func TestRedeliveryKeepsTheIdentity(t *testing.T) {
	var mu sync.Mutex
	rows := map[meshloom.UID]int{}
	r := meshloomtest.RunWith(t, meshloomtest.Options{Redeliver: true, Splits: 2}, meshloom.New("store", meshloom.Sink(func(ctx context.Context, _ int) error {
		mu.Lock()
		defer mu.Unlock()
		event := meshloom.EventFrom(ctx)
		rows[event.UID()] += event.Attempt()
		return nil
	})), 1, 2, 3)
	for uid, attempts := range rows {
		if attempts != 1+2 {
			t.Errorf("%v: the attempts are %d together, want the first and the second", uid, attempts)
		}
	}
	if len(rows) != 3 || len(r.Dropped) != 3 || len(r.Redelivered.Dropped) != 3 {
		t.Errorf("%d rows: %v; %v", len(rows), r, r.Redelivered)
	}
}

func TestCancelReachesTheHandler(t *testing.T) {
	called := make(chan struct{})
	r := meshloomtest.RunWith(t, meshloomtest.Options{Cancel: called, BatchSize: 1}, meshloom.New("slow", meshloom.Map(func(ctx context.Context, _ int) (int, error) {
		close(called)
		<-ctx.Done()
		return 0, ctx.Err()
	})), 1, 2)
	r.Expect(t, "0: retried CANCELLED") // the second was not sent
}

func TestSpansAreRecorded(t *testing.T) {
	tracer := otel.Tracer("test")
	work := func(ctx context.Context) {
		_, span := tracer.Start(ctx, "look-up")
		span.End()
	}
	r := meshloomtest.RunWith(t, meshloomtest.Options{Trace: true}, meshloom.New("n", meshloom.Map(func(ctx context.Context, n int) (int, error) {
		work(ctx)
		if n == 2 {
			return 0, meshloom.Rejectf("TWO", "no twos")
		}
		return n, nil
	}), meshloom.Concurrency(1)), 1, 2)
	var got []string
	for _, s := range r.Spans {
		got = append(got, fmt.Sprintf("%d %s in %q %v %s", s.Input, s.Name, s.Parent, s.Attributes["meshloom.verdict"], s.Error))
	}
	want := `0 look-up in "process test" <nil> |0 process test in "" delivered |1 look-up in "process test" <nil> |1 process test in "" reject no twos`
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}

	batch := meshloomtest.RunWith(t, meshloomtest.Options{Trace: true}, meshloom.New("n", meshloom.MapBatch(func(ctx context.Context, _ *meshloom.Batch, out *meshloom.Emitter) error {
		work(ctx)
		out.Drop(0)
		return nil
	})), 1)
	names := map[string]bool{}
	for _, s := range batch.Spans {
		names[fmt.Sprintf("%d %s", s.Input, s.Name)] = true
	}
	if len(batch.Spans) != 3 || !names["-1 look-up"] || !names["-1 process test"] || !names["0 process test"] {
		t.Errorf("got %+v", batch.Spans)
	}
}

func TestOpen(t *testing.T) {
	stopped := 0
	if err := meshloomtest.Open(t, classify(&stopped), limits{Hot: 1}); err != nil || stopped != 1 {
		t.Errorf("got %v, %d tear-downs", err, stopped)
	}
	var refused *meshloom.ConfigError
	err := meshloomtest.Open(t, classify(&stopped), map[string]any{"hott": 1})
	if !errors.As(err, &refused) || len(refused.Violations) != 2 || refused.Violations[0].Field != "hot" || refused.Violations[1].Field != "hott" {
		t.Errorf("got %v", err)
	}
	away := meshloom.NewWith("n", func(context.Context, struct{}) (h meshloom.SourceHandler, err error) { return h, errors.New("away") })
	if err := meshloomtest.Open(t, away, nil); err == nil || !strings.Contains(err.Error(), "away") {
		t.Errorf("got %v", err)
	}
}

func TestAttributesReachTheNode(t *testing.T) {
	event := meshloomtest.Event{
		Data: []byte("raw"), ID: "id", Source: "source", Type: "type", Subject: "subject", DataSchema: "schema", ContentType: "text/plain",
		Key: "key", From: "up", Time: time.Unix(1, 2), Extensions: map[string]any{"part": int32(7)},
	}
	meshloomtest.Run(t, meshloom.New("n", meshloom.Sink(func(_ context.Context, e meshloom.Event) error {
		part, _ := e.Extension("part")
		got := fmt.Sprint(e.Text(), e.ID(), e.Source(), e.Type(), e.Subject(), e.DataSchema(), e.ContentType(), e.Key(), e.From(), e.Time().UnixNano(), part)
		if want := "rawidsourcetypesubjectschematext/plainkeyup1000000002 7"; got != want {
			return meshloom.Rejectf("UNLIKE", "got %s, want %s", got, want)
		}
		return nil
	})), event).Expect(t, "0: dropped")
}
