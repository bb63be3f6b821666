package meshloom_test

import (
	"context"
	"errors"
	"iter"
	"strings"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// The smallest node: events that are hot pass, others are dropped.
func Example() {
	type Reading struct {
		Sensor  string  `json:"sensor"`
		Celsius float64 `json:"celsius"`
	}
	meshloom.Main(meshloom.New("hot", meshloom.Filter(func(_ context.Context, in Reading) (bool, error) {
		return in.Celsius > 30, nil
	})))
}

// Raw text in, JSON out, with a key.
func ExampleMap() {
	meshloom.New("parse", meshloom.Map(func(_ context.Context, line []byte) (meshloom.Out[map[string]string], error) {
		name, value, ok := strings.Cut(string(line), "=")
		if !ok {
			return meshloom.Out[map[string]string]{}, meshloom.Rejectf("BAD_LINE", "no = in %q", line)
		}
		return meshloom.Emit(map[string]string{name: value}).Key(name), nil
	}))
}

// One word per output.
func ExampleFlatMap() {
	meshloom.New("words", meshloom.FlatMap(func(_ context.Context, text string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for word := range strings.FieldsSeq(text) {
				if !yield(word, nil) {
					return
				}
			}
		}
	}))
}

// A batch handler says something about every row.
func ExampleMapBatch() {
	meshloom.New("score", meshloom.MapBatch(func(_ context.Context, batch *meshloom.Batch, out *meshloom.Emitter) error {
		for i := range batch.Len() {
			var celsius float64
			switch err := batch.JSON(i, &celsius); {
			case err != nil:
				out.Fail(i, err)
			case celsius > 60:
				out.Reject(i, "OUT_OF_RANGE", errors.New("nothing on earth is that hot"))
			case celsius < 0:
				out.Drop(i)
			default:
				out.Emit(i, celsius*9/5+32)
			}
		}
		return nil
	}))
}

// A source that resumes after the checkpoint that it is given.
func ExampleSource() {
	meshloom.New("numbers", meshloom.Source(func(ctx context.Context, last int) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			for i := last + 1; ctx.Err() == nil; i++ {
				if !yield(meshloom.Record{Data: i, Checkpoint: i}, nil) {
					return
				}
			}
		}
	}))
}
