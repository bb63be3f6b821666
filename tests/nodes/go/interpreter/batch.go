package main

import (
	"context"
	"errors"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// newBatch obeys each row in turn, through the emitter.
func newBatch(in *interpreter) meshloom.BatchHandler {
	return meshloom.MapBatch(func(ctx context.Context, batch *meshloom.Batch, out *meshloom.Emitter) error {
		defer in.begin()()
		for i, event := range batch.All() {
			c, err := in.commandOf(event)
			if err != nil {
				out.Fail(i, err)
				continue
			}
			switch c.Do {
			case "twice":
				out.Drop(i)
				out.Drop(i)
			case "misname":
				out.Drop(batch.Len())
			case "whole":
				err = whole(c, event, out)
			default:
				err = in.row(ctx, c, event, i, out)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// whole gives outputs of the whole batch, with which every row ends that nothing names.
func whole(c command, event meshloom.Event, out *meshloom.Emitter) error {
	outs, err := outputsOf(c, event)
	if err != nil {
		return err
	}
	for _, o := range outs {
		if err := out.Whole(o); err != nil {
			return err
		}
	}
	return nil
}

// row obeys a command that concerns its row alone. An ordinary error, and a call that was taken back, end the whole batch.
func (in *interpreter) row(ctx context.Context, c command, event meshloom.Event, i int, out *meshloom.Emitter) error {
	outs, err := in.act(ctx, c, event)
	switch {
	case errors.Is(err, errNothing):
		return nil
	case ctx.Err() != nil, c.Do == "throw" && err != nil:
		return err
	case err != nil:
		out.Fail(i, err)
	case outs == nil:
		out.Pass(i)
	case len(outs) == 0:
		out.Drop(i)
	}
	for _, o := range outs {
		out.Emit(i, o)
	}
	return nil
}
