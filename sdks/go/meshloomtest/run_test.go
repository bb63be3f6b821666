package meshloomtest_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

type reading struct {
	Celsius float64 `json:"celsius"`
}

type limits struct {
	Hot float64 `json:"hot" meshloom:"required"`
}

func TestRun(t *testing.T) {
	stopped := 0
	node := meshloom.NewWith("classify", func(_ context.Context, cfg limits) (meshloom.MapHandler, error) {
		return meshloom.OnStop(meshloom.Map(func(ctx context.Context, in reading) (meshloom.Out[reading], error) {
			switch {
			case in.Celsius == 0:
				return meshloom.Out[reading]{}, meshloom.Drop
			case in.Celsius < -273:
				return meshloom.Out[reading]{}, meshloom.Rejectf("TOO_COLD", "%g", in.Celsius)
			case meshloom.Attempt(ctx) == 2:
				return meshloom.Out[reading]{}, meshloom.RetryAfter(time.Second, errors.New("busy"))
			case in.Celsius > cfg.Hot:
				return meshloom.Emit(in).Route("hot").Key(meshloom.EventFrom(ctx).Subject()), nil
			}
			return meshloom.Emit(in), nil
		}), func() error { stopped++; return nil }), nil
	}, meshloom.Routes("hot"))
	r := meshloomtest.RunWith(t, meshloomtest.Options{Config: limits{Hot: 30}, Splits: 2}, node,
		reading{20}, reading{0}, meshloomtest.Event{Data: reading{40}, Subject: "roof"}, []byte(`{"celsius":-300}`))
	if len(r.Outputs) != 2 || r.Dropped != 1 || len(r.Rejected) != 1 || len(r.Retried) != 0 || stopped != 1 {
		t.Fatalf("got %+v, stopped %d times", r, stopped)
	}
	var hot reading
	r.Outputs[1].JSON(t, &hot)
	if o := r.Outputs[1]; hot.Celsius != 40 || o.Route != "hot" || o.Key != "roof" || o.Input != 2 || o.ContentType != "application/json" {
		t.Errorf("got %+v", o)
	}
	if f := r.Rejected[0]; f.Input != 3 || f.Reason != "TOO_COLD" || f.Message != "-300" {
		t.Errorf("got %+v", f)
	}
	second := meshloomtest.RunWith(t, meshloomtest.Options{Config: limits{Hot: 30}, Attempt: 2}, node, reading{20})
	if len(second.Retried) != 1 || second.Retried[0].RetryAfter != time.Second {
		t.Errorf("got %+v", second)
	}
}

func TestRunSource(t *testing.T) {
	node := meshloom.New("count", meshloom.Source(func(_ context.Context, from meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			last := 0
			if err := from.Decode(&last); err != nil {
				yield(meshloom.Record{}, err)
				return
			}
			for i := last + 1; i <= 5; i++ {
				if !yield(meshloom.Record{Data: i, Checkpoint: i}, nil) {
					return
				}
			}
		}
	}))
	r := meshloomtest.RunSource(t, meshloomtest.SourceOptions{From: 2}, node)
	if len(r.Outputs) != 3 || r.Outputs[0].Text() != "3" || r.Outputs[0].ID != "2#1" || r.Checkpoint != "5" || !r.Exhausted {
		t.Errorf("got %+v", r)
	}
	some := meshloomtest.RunSource(t, meshloomtest.SourceOptions{Limit: 2}, node)
	if len(some.Outputs) != 2 || some.Exhausted || some.Checkpoint != "2" {
		t.Errorf("got %+v", some)
	}
}
