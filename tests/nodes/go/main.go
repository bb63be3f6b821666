// Command go is the Go node of the end-to-end tests: one process with a handler of every kind that does what the
// payload asks for. Each language has the same one.
package main

import (
	"context"
	"fmt"
	"iter"
	"os"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

type config struct {
	Label string `json:"label" meshloom:"required"`
	Count int    `json:"count"`
	First int    `json:"first"` // number of the first event of the queue
	Pause int    `json:"pause"` // milliseconds between two events of the source
	Out   string `json:"out"`
}

type input struct {
	N  int    `json:"n"`
	Do string `json:"do"`
	At string `json:"at,omitempty"` // the label of the one handler that is to obey; empty: all are
}

// here is the input as a handler of this label takes it.
func (in input) here(label string) input {
	if in.At != "" && in.At != label {
		in.Do = "pass"
	}
	return in
}

type output struct {
	N       int    `json:"n"`
	Part    *int   `json:"part,omitempty"`
	Label   string `json:"label"`
	Lang    string `json:"lang"`
	Attempt int    `json:"attempt,omitempty"`
}

const lang = "go"

func main() {
	meshloom.Main(
		meshloom.NewWith("map", newMap, meshloom.Routes("side")),
		meshloom.NewWith("filter", newFilter),
		meshloom.NewWith("flat_map", newFlatMap, meshloom.Routes("side")),
		meshloom.NewWith("batch", newBatch, meshloom.Routes("side")),
		meshloom.NewWith("sink", newSink),
		meshloom.NewWith("source", newSource),
		meshloom.NewWith("queue", newQueue, meshloom.Volatile()),
	)
}

// verdict is what all handlers have in common; nil means that the event passes.
func verdict(in input, attempt int) error {
	switch in.Do {
	case "drop":
		return meshloom.Drop
	case "reject":
		return meshloom.Rejectf("TEST_REJECT", "asked to reject %d", in.N)
	case "die", "panic", "oom":
		fmt.Fprintln(os.Stderr, "asked to die", in.N)
		die(in.Do)
	case "retry":
		if attempt < 3 {
			return meshloom.Retry(fmt.Errorf("asked to retry %d", in.N))
		}
	case "never":
		return meshloom.Retry(fmt.Errorf("asked never to pass %d", in.N))
	case "fail":
		if attempt < 2 {
			return fmt.Errorf("asked to fail %d", in.N)
		}
	}
	return nil
}

// emit sets the attributes that the payload asks for.
func emit(in input, out output) meshloom.Out[output] {
	emitted := meshloom.Emit(out)
	switch in.Do {
	case "route":
		return emitted.Route("side")
	case "key":
		return emitted.Key(fmt.Sprintf("k%d", in.N))
	}
	return emitted
}

// parts are the outputs of an input whose payload may ask to be split.
func parts(in input, label string, attempt int) []meshloom.Out[output] {
	if in.Do != "split" {
		return []meshloom.Out[output]{emit(in, output{N: in.N, Label: label, Lang: lang, Attempt: attempt})}
	}
	var outs []meshloom.Out[output]
	for part := range 3 {
		outs = append(outs, emit(in, output{N: in.N, Part: &part, Label: label, Lang: lang}))
	}
	return outs
}

func newFilter(_ context.Context, cfg config) (meshloom.FilterHandler, error) {
	return meshloom.Filter(func(ctx context.Context, in input) (bool, error) {
		in = in.here(cfg.Label)
		if in.Do == "drop" {
			return false, nil
		}
		return true, verdict(in, meshloom.Attempt(ctx))
	}), nil
}

func newFlatMap(_ context.Context, cfg config) (meshloom.FlatMapHandler, error) {
	return meshloom.FlatMap(func(ctx context.Context, in input) iter.Seq2[meshloom.Out[output], error] {
		in = in.here(cfg.Label)
		return func(yield func(meshloom.Out[output], error) bool) {
			if in.Do == "drop" {
				return
			}
			if err := verdict(in, meshloom.Attempt(ctx)); err != nil {
				yield(meshloom.Out[output]{}, err)
				return
			}
			for _, out := range parts(in, cfg.Label, meshloom.Attempt(ctx)) {
				if !yield(out, nil) {
					return
				}
			}
		}
	}), nil
}
