package examples

import (
	"bufio"
	"context"
	"iter"
	"os"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// File says what to read.
type File struct {
	Path string `json:"path" meshloom:"required"`
}

var rows = meshloom.NewWith("rows", func(_ context.Context, cfg File) (meshloom.SourceHandler, error) {
	return meshloom.Source(cfg.rows), nil
})

// snippet:start

// done is the checkpoint to go on from: how many lines need not come again, 0 at the start.
func (f File) rows(_ context.Context, done int) iter.Seq2[meshloom.Record, error] {
	return func(yield func(meshloom.Record, error) bool) {
		file, err := os.Open(f.Path)
		if err != nil {
			yield(meshloom.Record{}, err) // the source is opened again later
			return
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for n := 1; lines.Scan(); n++ {
			if n > done && !yield(meshloom.Record{Data: lines.Text(), Checkpoint: n}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(meshloom.Record{}, err)
		}
	}
}

// snippet:end
