package examples

import (
	"context"
	"iter"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

// Document is what a gateway sends: the readings of an hour.
type Document struct {
	Readings []Reading `json:"readings"`
}

var unpack = meshloom.New("unpack", meshloom.FlatMap(func(_ context.Context, doc Document) iter.Seq2[Reading, error] {
	return func(yield func(Reading, error) bool) {
		for _, reading := range doc.Readings {
			if !yield(reading, nil) {
				return
			}
		}
	}
}))

// snippet:end
