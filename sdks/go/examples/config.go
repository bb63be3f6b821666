package examples

import (
	"context"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

// Limits come from the pipeline file: `with: {above: 35, within: 10m}`.
type Limits struct {
	Above  float64       `json:"above" default:"30" doc:"degrees Celsius"`
	Within time.Duration `json:"within" default:"1h" doc:"older readings are dropped"`
}

// Validate refuses what no reading can be: the pipeline does not start.
func (l Limits) Validate() error {
	if l.Above < -273.15 {
		return meshloom.InvalidConfig("above", "nothing is below -273.15 °C, got %g", l.Above)
	}
	return nil
}

var hot = meshloom.NewWith("hot", func(_ context.Context, limits Limits) (meshloom.FilterHandler, error) {
	return meshloom.Filter(func(ctx context.Context, r Reading) (bool, error) {
		age := time.Since(meshloom.EventFrom(ctx).Time())
		return r.Celsius > limits.Above && age < limits.Within, nil
	}), nil
})

// snippet:end
