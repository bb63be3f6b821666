package meshloomtest

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// SourceOptions change how a source is run; the zero value runs it from its start to its end, without config.
type SourceOptions struct {
	Config    any  // for encoding/json; nil: no config
	From      any  // checkpoint to resume from, for encoding/json, or a [meshloom.Checkpoint]; nil: the start
	Limit     int  // stop after this many events; 0: run until the source is exhausted
	Unsettled bool // nothing settles; otherwise every frame does as it comes, and the source has been told when RunSource returns
}

// SourceResult is what a source produced.
type SourceResult struct {
	Outputs     []Output
	Checkpoints []meshloom.Checkpoint // every one that frames carried, in order: several events may share a frame
	Checkpoint  meshloom.Checkpoint   // the last one, or that of From
	Exhausted   bool                  // the source ended by itself
}

// Expect fails the test unless these are the outputs, as [Output.String] tells them, and shows how they differ.
func (r *SourceResult) Expect(t testing.TB, outputs ...string) {
	t.Helper()
	got := make([]string, len(r.Outputs))
	for i, o := range r.Outputs {
		got[i] = o.String()
	}
	if !slices.Equal(outputs, got) {
		t.Errorf("what the source produced (-want +got):\n%s", diff(outputs, got))
	}
}

// RunSource runs a source.
func RunSource(t testing.TB, options SourceOptions, node *meshloom.Node) *SourceResult {
	t.Helper()
	served := serve(t, node)
	open := &meshloomv1.OpenProduce{Pipeline: "test", Node: "test", ConfigJson: configJSON(t, options.Config)}
	result := &SourceResult{}
	if raw := options.from(t); raw != nil {
		open.Checkpoint, result.Checkpoint = raw, checkpointOf(t, raw)
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
		if !options.Unsettled {
			stream.Settled(t, frame)
		}
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

// from encodes the checkpoint to resume from, nil: none.
func (o SourceOptions) from(t testing.TB) []byte {
	t.Helper()
	if o.From == nil {
		return nil
	}
	if c, ok := o.From.(meshloom.Checkpoint); ok {
		if c.IsZero() {
			return nil
		}
		return []byte(c.String())
	}
	raw, err := json.Marshal(o.From)
	if err != nil {
		t.Fatalf("the checkpoint cannot be encoded: %v", err)
	}
	return raw
}

func checkpointOf(t testing.TB, raw []byte) (c meshloom.Checkpoint) {
	t.Helper()
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatalf("the checkpoint %.80q: %v", raw, err)
	}
	return c
}

func (r *SourceResult) add(t testing.TB, frame *meshloomv1.Produced) {
	t.Helper()
	view, err := columns.Decode(frame.GetBatch())
	if err != nil {
		t.Fatalf("frame %d: %v", frame.GetSequence(), err)
	}
	for i := range view.Count {
		out := producedOf(view, i)
		out.Input = len(r.Outputs)
		r.Outputs = append(r.Outputs, out)
	}
	if c := frame.Checkpoint; c != nil && string(c) != r.Checkpoint.String() {
		r.Checkpoint = checkpointOf(t, c)
		r.Checkpoints = append(r.Checkpoints, r.Checkpoint)
	}
}

func producedOf(view *columns.View, i int) Output {
	text := func(s *columns.Strings) string { value, _ := s.At(i); return value }
	out := Output{
		Data: view.Payload(i), ContentType: text(&view.ContentType), Type: text(&view.Type), Subject: text(&view.Subject),
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
	return out
}
