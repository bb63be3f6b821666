package examples

import (
	"context"
	"errors"

	"github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

var errNoTemperature = errors.New("the reading has no celsius")

var average = meshloom.New("average", meshloom.MapBatch(func(_ context.Context, batch *meshloom.Batch, out *meshloom.Emitter) error {
	sum, count := 0.0, 0
	for i := range batch.Len() {
		var in struct{ Celsius *float64 }
		if err := batch.JSON(i, &in); err != nil {
			out.Fail(i, err)
			continue
		}
		if in.Celsius == nil {
			out.Reject(i, "NO_TEMPERATURE", errNoTemperature)
			continue
		}
		sum, count = sum+*in.Celsius, count+1
	}
	if count == 0 {
		return nil // every row has its verdict
	}
	return out.Whole(map[string]any{"average": sum / float64(count), "of": count}) // ends the other rows
}))

// snippet:end
