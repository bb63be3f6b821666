package examples

import (
	"context"
	"errors"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

var errNoTemperature = errors.New("the reading has no celsius")

type measured struct {
	Celsius *float64 `json:"celsius"`
}

var average = meshloom.New("average", meshloom.MapBatch(func(_ context.Context, batch *meshloom.Batch, out *meshloom.Emitter) error {
	sum, count := 0.0, 0
	for i, row := range meshloom.Rows[measured](batch, out) {
		if row.Celsius == nil {
			out.Reject(i, "NO_TEMPERATURE", errNoTemperature)
			continue
		}
		sum, count = sum+*row.Celsius, count+1
	}
	if count == 0 {
		return nil // every row has its verdict
	}
	return out.Whole(map[string]any{"average": sum / float64(count), "of": count}) // ends the other rows
}))

// snippet:end
