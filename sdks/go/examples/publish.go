package examples

import (
	"context"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

func publish(ctx context.Context, address string, readings []Reading) error {
	publisher, err := meshloom.NewPublisher(address, meshloom.PublisherOptions{})
	if err != nil {
		return err
	}
	for _, r := range readings {
		if _, err := publisher.Publish(ctx, meshloom.Record{Data: r, Key: r.Sensor}); err != nil { // waits while the queue is full
			return err
		}
	}
	return publisher.Close(ctx) // waits until everything is durable
}

// snippet:end
