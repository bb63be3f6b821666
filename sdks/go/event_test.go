package meshloom_test

import (
	"context"
	"testing"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

func TestLookupTellsAbsentFromEmpty(t *testing.T) {
	type seen struct {
		value string
		ok    bool
	}
	events := make(chan seen, 2)
	p := serve(t, meshloom.New("n", meshloom.Sink(func(_ context.Context, e meshloom.Event) error {
		value, ok := e.Lookup(meshloom.AttrSubject)
		events <- seen{value, ok}
		return nil
	}), meshloom.Concurrency(1))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	for sequence, subject := range map[uint64]*meshloomv1.Strings{1: nil, 2: harness.Texts("")} {
		work := workOf(sequence, "payload")
		work.Batch.Subject = subject
		p.Send(t, work)
		p.Collect(t, work)
		if got, want := waitFor(t, events, "the call"), (seen{"", subject != nil}); got != want {
			t.Errorf("with the column %v: got %v, want %v", subject, got, want)
		}
	}
	if _, ok := (meshloom.Event{}).Lookup(meshloom.AttrKey); ok {
		t.Error("the zero event has a key")
	}
}

func TestAnotherEventsPayloadIsCopied(t *testing.T) {
	p := serve(t, meshloom.New("n", meshloom.MapBatch(func(_ context.Context, b *meshloom.Batch, out *meshloom.Emitter) error {
		out.Emit(0, b.Event(1))
		out.Emit(1, b.Event(1))
		return nil
	}))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, "first", "second")
	p.Send(t, work)
	a := p.Collect(t, work)
	if o := a.Outputs[0]; string(o.Payload) != "second" || o.Attributes["content_type"] != "application/octet-stream" {
		t.Errorf("got %+v", o)
	}
}
