package examples

import (
	"context"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

const limit = 30.0 // degrees Celsius

var sorted = meshloom.New("sorted", meshloom.Map(func(_ context.Context, r Reading) (meshloom.Out[Reading], error) {
	out := meshloom.Emit(r).Key(r.Sensor) // readings of one sensor stay in order
	if r.Celsius > limit {
		out = out.Route("hot") // `from: sorted.hot` takes these
	}
	return out, nil
}), meshloom.Routes("hot"))

// snippet:end
