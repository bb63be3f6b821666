package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// newQueue is a source that cannot replay, in front of a queue: what it is told to forget it never gives again, and it has
// no end. The file `out` has a line for each event that is forgotten.
func newQueue(_ context.Context, cfg config) (meshloom.SourceHandler, error) {
	if cfg.Out == "" {
		return meshloom.SourceHandler{}, meshloom.InvalidConfig("out", "the queue needs the path of a file")
	}
	file, err := os.OpenFile(cfg.Out, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return meshloom.SourceHandler{}, err
	}
	return meshloom.Source(func(ctx context.Context, _ meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			text, err := os.ReadFile(cfg.Out)
			if err != nil {
				yield(meshloom.Record{}, err)
				return
			}
			forgotten := map[string]bool{}
			for _, line := range strings.SplitAfter(string(text), "\n") {
				forgotten[line] = true
			}
			for n := cfg.First; n < cfg.First+cfg.Count; n++ {
				line := fmt.Sprintf("%d\n", n)
				if forgotten[line] {
					continue
				}
				record := meshloom.Record{
					Data: input{N: n, Do: "pass"},
					ID:   fmt.Sprint(n),
					Settled: func(context.Context) error { // not written: given once more
						_, err := file.WriteString(line)
						return err
					},
				}
				if !yield(record, nil) {
					return
				}
				time.Sleep(time.Duration(cfg.Pause) * time.Millisecond)
			}
			<-ctx.Done()
		}
	}), nil
}
