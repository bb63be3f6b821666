package main

import (
	"bytes"
	"context"
	"errors"
	"iter"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

func newMap(in *interpreter) meshloom.MapHandler {
	return meshloom.Map(func(ctx context.Context, event meshloom.Event) (none meshloom.Out[any], err error) {
		defer in.begin()()
		c, err := in.commandOf(event)
		if err != nil {
			return none, err
		}
		outs, err := in.act(ctx, c, event)
		switch {
		case errors.Is(err, errNothing):
			return none, nil // a map has to answer with something: the SDK rejects the event
		case err != nil:
			return none, err
		case outs == nil:
			return meshloom.Emit[any](event), nil
		case len(outs) != 1:
			return none, meshloom.Rejectf("UNWRITABLE", "a map has one output, not %d", len(outs))
		}
		return outs[0], nil
	})
}

func newFilter(in *interpreter) meshloom.FilterHandler {
	return meshloom.Filter(func(ctx context.Context, event meshloom.Event) (bool, error) {
		defer in.begin()()
		c, err := in.commandOf(event)
		if err != nil || c.Do == "drop" {
			return false, err
		}
		outs, err := in.act(ctx, c, event)
		if outs != nil || errors.Is(err, errNothing) {
			return false, meshloom.Rejectf("UNWRITABLE", "a filter answers with a bool, which cannot say %s", c.Do)
		}
		return true, err
	})
}

func newFlatMap(in *interpreter) meshloom.FlatMapHandler {
	return meshloom.FlatMap(func(ctx context.Context, event meshloom.Event) iter.Seq2[meshloom.Out[any], error] {
		c, err := in.commandOf(event)
		if c.Do == "nothing" {
			in.begin()()
			return nil // a flat map has to answer with an iterator: the SDK rejects the event
		}
		return func(yield func(meshloom.Out[any], error) bool) {
			defer in.begin()()
			if err != nil {
				yield(meshloom.Out[any]{}, err)
				return
			}
			if c.Do == "stream" {
				stream(c, yield)
				return
			}
			outs, err := in.act(ctx, c, event)
			if err != nil {
				yield(meshloom.Out[any]{}, err)
				return
			}
			if outs == nil {
				outs = one(meshloom.Emit[any](event))
			}
			for _, out := range outs {
				if !yield(out, nil) {
					return
				}
			}
		}
	})
}

// stream yields outputs one at a time.
func stream(c command, yield func(meshloom.Out[any], error) bool) {
	for i := range c.Count {
		if c.FailAfter != nil && i == *c.FailAfter {
			break
		}
		if !yield(meshloom.Emit[any](bytes.Repeat([]byte("x"), c.Bytes)), nil) {
			return
		}
	}
	if c.FailAfter != nil {
		yield(meshloom.Out[any]{}, errors.New("the stream fails, as its command asks for"))
	}
}

func newSink(in *interpreter) meshloom.SinkHandler {
	return meshloom.Sink(func(ctx context.Context, event meshloom.Event) error {
		defer in.begin()()
		c, err := in.commandOf(event)
		if err != nil {
			return err
		}
		outs, err := in.act(ctx, c, event)
		if outs != nil || errors.Is(err, errNothing) {
			return meshloom.Rejectf("UNWRITABLE", "a sink has no output: it cannot %s", c.Do)
		}
		return err
	})
}
