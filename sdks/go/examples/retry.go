package examples

import (
	"context"
	"errors"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// errBusy is what the lookup service says when it has too much to do.
var errBusy = errors.New("the lookup service is busy")

// lookup asks a service for the place of a sensor.
type lookup func(ctx context.Context, sensor string) (place string, err error)

// snippet:start

func withPlace(ask lookup) *meshloom.Node {
	return meshloom.New("place", meshloom.Map(func(ctx context.Context, r Reading) (Located, error) {
		place, err := ask(ctx, r.Sensor) // ctx ends when the call is over the node's timeout
		if errors.Is(err, errBusy) {
			return Located{}, meshloom.RetryAfter(2*time.Second, err)
		}
		return Located{r, place}, err // any other error: tried again as the pipeline file says
	}))
}

// snippet:end
