package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/meshloom/meshloom/sdks/go"
)

type ingestConfig struct {
	Path   string `json:"path" meshloom:"required" doc:"the text file"`
	Events int    `json:"events" doc:"0: the file once; N: loops over the file until N lines"`
}

// newIngest makes a source of the lines of a file, blank ones too. The checkpoint is the number of lines so far.
func newIngest(_ context.Context, cfg ingestConfig) (meshloom.SourceHandler, error) {
	if cfg.Events < 0 {
		return meshloom.SourceHandler{}, meshloom.InvalidConfig("events", "want 0 or more, got %d", cfg.Events)
	}
	if info, err := os.Stat(cfg.Path); err != nil {
		return meshloom.SourceHandler{}, meshloom.InvalidConfig("path", "%v", err)
	} else if info.IsDir() {
		return meshloom.SourceHandler{}, meshloom.InvalidConfig("path", "%s is a folder, want a text file", cfg.Path)
	}
	return meshloom.Source(func(ctx context.Context, from meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			done := 0
			err := from.Decode(&done)
			for line := 0; err == nil && (line == 0 || line < cfg.Events); {
				begun := line
				line, err = readOnce(ctx, cfg, line, done, yield)
				if err == nil && line == begun {
					return // an empty file never gets anywhere
				}
				if cfg.Events == 0 {
					break
				}
			}
			if err != nil && !errors.Is(err, errEnough) {
				yield(meshloom.Record{}, err)
			}
		}
	}), nil
}

// errEnough ends the reading: the pipeline stops or has had all the lines it asked for.
var errEnough = errors.New("enough lines")

// readOnce yields the lines of the file beyond the first `done`, counting from `line`, and returns the count.
func readOnce(ctx context.Context, cfg ingestConfig, line, done int, yield func(meshloom.Record, error) bool) (int, error) {
	file, err := os.Open(cfg.Path)
	if err != nil {
		return line, err
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 256<<10)
	for {
		text, err := reader.ReadString('\n')
		if text == "" && errors.Is(err, io.EOF) {
			return line, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return line, fmt.Errorf("%s, line %d: %w", cfg.Path, line+1, err)
		}
		if ctx.Err() != nil || (cfg.Events > 0 && line == cfg.Events) {
			return line, errEnough
		}
		line++
		if line <= done {
			continue
		}
		record := meshloom.Record{
			Data: []byte(strings.TrimRight(text, "\r\n")), ContentType: "text/plain", Type: "reading.raw", Checkpoint: line,
		}
		if !yield(record, nil) {
			return line, errEnough
		}
	}
}
