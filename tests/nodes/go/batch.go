package main

import (
	"context"
	"errors"
	"fmt"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

func newBatch(_ context.Context, cfg config) (meshloom.BatchHandler, error) {
	return meshloom.MapBatch(func(_ context.Context, batch *meshloom.Batch, out *meshloom.Emitter) error {
		for i, event := range batch.All() {
			var in input
			if err := event.JSON(&in); err != nil {
				out.Fail(i, err)
				continue
			}
			in = in.here(cfg.Label)
			switch {
			case in.Do == "poison":
				return errors.New("a poisonous row fails the whole batch")
			case in.Do == "fail" && event.Attempt() < 2:
				return fmt.Errorf("asked to fail %d", in.N)
			case in.Do == "forget":
				continue
			}
			if err := verdict(in, event.Attempt()); err != nil {
				out.Fail(i, err)
				continue
			}
			for _, part := range parts(in, cfg.Label, event.Attempt()) {
				out.Emit(i, part)
			}
		}
		return nil
	}), nil
}
