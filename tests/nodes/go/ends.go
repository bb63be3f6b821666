package main

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

type delivery struct {
	UID     string `json:"uid"`
	N       int    `json:"n"`
	Attempt int    `json:"attempt"`
	Lang    string `json:"lang"`
	Label   string `json:"label"`
}

// newSink appends one line per event, each in one write, so that several processes may share the file.
func newSink(_ context.Context, cfg config) (meshloom.SinkHandler, error) {
	if cfg.Out == "" {
		return meshloom.SinkHandler{}, meshloom.InvalidConfig("out", "the sink needs the path of a file")
	}
	file, err := os.OpenFile(cfg.Out, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return meshloom.SinkHandler{}, err
	}
	return meshloom.OnStop(meshloom.Sink(func(ctx context.Context, in input) error {
		in, attempt := in.here(cfg.Label), meshloom.Attempt(ctx)
		if err := verdict(in, attempt); err != nil && !errors.Is(err, meshloom.Drop) {
			return err
		}
		line, err := json.Marshal(delivery{UID: meshloom.EventFrom(ctx).UID().String(), N: in.N, Attempt: attempt, Lang: lang, Label: cfg.Label})
		if err != nil {
			return err
		}
		_, err = file.Write(append(line, '\n'))
		return err
	}), file.Close), nil
}

func newSource(_ context.Context, cfg config) (meshloom.SourceHandler, error) {
	return meshloom.Source(func(_ context.Context, last int) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			for i := last + 1; i <= cfg.Count; i++ {
				if !yield(meshloom.Record{Data: input{N: i, Do: "pass"}, Checkpoint: i}, nil) {
					return
				}
				time.Sleep(time.Duration(cfg.Pause) * time.Millisecond)
			}
		}
	}), nil
}
