package meshloomtest

import (
	"context"
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// SourceOptions change how a source is run; the zero value runs it from its start to its end, without config.
type SourceOptions struct {
	Config any // for encoding/json; nil: no config
	From   any // checkpoint to resume from, for encoding/json; nil: the start
	Limit  int // stop after this many events; 0: run until the source is exhausted
}

// SourceResult is what a source produced.
type SourceResult struct {
	Outputs    []Output
	Checkpoint string // JSON of the last checkpoint, empty: none
	Exhausted  bool   // the source ended by itself
}

// RunSource runs a source; every frame is settled as it comes.
func RunSource(t testing.TB, options SourceOptions, node *meshloom.Node) *SourceResult {
	t.Helper()
	served := harness.Serve(t, func(ctx context.Context, l net.Listener) error { return meshloom.ServeListener(ctx, l, node) })
	open := &meshloomv1.OpenProduce{Pipeline: "test", Node: "test", ConfigJson: configJSON(t, options.Config)}
	result := &SourceResult{}
	if options.From != nil {
		checkpoint, err := json.Marshal(options.From)
		if err != nil {
			t.Fatalf("the checkpoint cannot be encoded: %v", err)
		}
		open.Checkpoint, result.Checkpoint = checkpoint, string(checkpoint)
	}
	stream := served.Produce(t, open)
	credit := uint64(1 << 20)
	if options.Limit > 0 {
		credit = uint64(options.Limit)
	}
	stream.Demand(t, credit, 1<<40)
	for {
		frame, exhausted := stream.Next(t)
		if exhausted {
			result.Exhausted = true
		}
		if frame == nil {
			break
		}
		result.add(t, frame)
		stream.Settled(t, frame)
		if options.Limit > 0 && len(result.Outputs) >= options.Limit {
			break
		}
		if options.Limit == 0 {
			stream.Demand(t, uint64(frame.GetBatch().GetCount()), 1<<30)
		}
	}
	stream.Stop(t)
	for {
		frame, exhausted := stream.Next(t)
		result.Exhausted = result.Exhausted || exhausted
		if frame == nil && !exhausted {
			break
		}
	}
	if err := served.Stop(); err != nil {
		t.Fatalf("the source ended with %v", err)
	}
	return result
}

func (r *SourceResult) add(t testing.TB, frame *meshloomv1.Produced) {
	t.Helper()
	view, err := columns.Decode(frame.GetBatch())
	if err != nil {
		t.Fatalf("frame %d: %v", frame.GetSequence(), err)
	}
	for i := range view.Count {
		text := func(s *columns.Strings) string { value, _ := s.At(i); return value }
		out := Output{
			Input: -1, Data: view.Payload(i), ContentType: text(&view.ContentType), Type: text(&view.Type), Subject: text(&view.Subject),
			Key: text(&view.Key), ID: text(&view.ID), DataSchema: text(&view.DataSchema), Extensions: map[string]any{},
		}
		if at, ok := view.Time(i); ok {
			out.Time = time.Unix(0, at).UTC()
		}
		for k := range view.Extensions {
			if value, ok := view.Extensions[k].At(i); ok {
				out.Extensions[view.Extensions[k].Name] = value
			}
		}
		r.Outputs = append(r.Outputs, out)
	}
	if frame.Checkpoint != nil {
		r.Checkpoint = string(frame.Checkpoint)
	}
}
