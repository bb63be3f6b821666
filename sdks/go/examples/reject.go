package examples

import (
	"context"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

var fahrenheit = meshloom.New("fahrenheit", meshloom.Map(func(_ context.Context, in struct {
	Sensor  string   `json:"sensor"`
	Celsius *float64 `json:"celsius"` // nil: the reading has none
}) (map[string]any, error) {
	if in.Celsius == nil {
		return nil, meshloom.Rejectf("NO_TEMPERATURE", "the reading of %s has no celsius", in.Sensor)
	}
	return map[string]any{"sensor": in.Sensor, "fahrenheit": *in.Celsius*9/5 + 32}, nil
}))

// snippet:end
