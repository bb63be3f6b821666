package meshloom_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

func obey(_ context.Context, b *meshloom.Batch, out *meshloom.Emitter) error {
	for i := b.Len() - 1; i >= 0; i-- { // any order will do
		var in command
		if err := b.JSON(i, &in); err != nil {
			out.Fail(i, err)
			continue
		}
		switch in.Do {
		case "drop":
			out.Drop(i)
		case "reject":
			out.Reject(i, "NO", errors.New("why"))
		case "retry":
			out.RetryAfter(i, time.Minute, errors.New("busy"))
		case "pass":
			out.Pass(i)
		case "split":
			out.Emit(i, "first")
			out.Emit(i, meshloom.Emit("second").Key("k"))
		case "bad":
			out.Emit(i, "good")
			out.Emit(i, func() {})
		case "forget":
		case "fail":
			return errors.New("all of it")
		case "panic":
			panic("ouch")
		case "rejectall":
			return meshloom.Rejectf("ALL", "every row")
		case "twice":
			out.Drop(i)
			out.Emit(i, 1)
		case "beyond":
			out.Drop(b.Len())
		case "whole":
			if err := out.Whole(map[string]int{"rows": b.Len()}); err != nil {
				return err
			}
		case "dropall":
			return meshloom.Drop
		default:
			out.Emit(i, in.N)
		}
	}
	return nil
}

func TestBatchGivesEachRowItsVerdict(t *testing.T) {
	a := ask(t, meshloom.New("n", meshloom.MapBatch(obey)), `{"n":5}`, `{"do":"drop"}`, `{"do":"reject"}`, `{"do":"retry"}`,
		`{"do":"pass"}`, `{"do":"split"}`, `{"do":"bad"}`, `{"do":"forget"}`, `nonsense`)
	if len(a.Outputs) != 4 || a.Consumed != 1 {
		t.Fatalf("got %+v", a)
	}
	if o := a.Outputs[0]; string(o.Payload) != "5" || o.Parent != 0 {
		t.Errorf("got %+v", o)
	}
	if o := a.Outputs[1]; string(o.Payload) != `{"do":"pass"}` || o.Parent != 4 || o.Attributes["content_type"] != "" {
		t.Errorf("a passed row is %+v", o)
	}
	if a.Outputs[2].Parent != 5 || string(a.Outputs[2].Payload) != `"first"` || a.Outputs[3].Attributes["key"] != "k" {
		t.Errorf("a split row is %+v, %+v", a.Outputs[2], a.Outputs[3])
	}
	wantFailure(t, a, 2, reject, "NO", "why")
	wantFailure(t, a, 3, retry, "RETRY", "busy")
	wantFailure(t, a, 6, reject, "OUTPUT_INVALID", "func()")
	wantFailure(t, a, 7, retry, "UNACCOUNTED", "Drop")
	wantFailure(t, a, 8, reject, "PAYLOAD_MISMATCH", "")
}

func TestBatchFailsAsAWhole(t *testing.T) {
	for do, want := range map[string]struct {
		action meshloomv1.FailureAction
		reason string
	}{
		"fail": {retry, "HANDLER_ERROR"}, "panic": {retry, "PANIC"}, "rejectall": {reject, "ALL"},
		"twice": {retry, "RESULT_INDEX_REPEATED"}, "beyond": {retry, "RESULT_INDEX_REPEATED"},
	} {
		a := ask(t, meshloom.New("n", meshloom.MapBatch(obey)), `{"n":5}`, `{"do":"`+do+`"}`, `{"n":6}`)
		if len(a.Outputs) != 0 || len(a.Failures) != 1 {
			t.Errorf("%s: got %+v", do, a)
			continue
		}
		wantFailure(t, a, columns.None, want.action, want.reason, "")
	}
}

func TestBatchOutputsOfTheWhole(t *testing.T) {
	a := ask(t, meshloom.New("n", meshloom.MapBatch(obey)), `{"do":"whole"}`, `{"do":"forget"}`, `{"n":6}`)
	if len(a.Outputs) != 2 || a.Consumed != 2 {
		t.Fatalf("got %+v", a)
	}
	if o := a.Outputs[1]; o.Parent != columns.None || string(o.Payload) != `{"rows":3}` {
		t.Errorf("the output of the whole is %+v", o)
	}
	if a := ask(t, meshloom.New("n", meshloom.MapBatch(obey)), `{"do":"dropall"}`, `{}`); a.Consumed != 1 || len(a.Outputs) != 1 {
		t.Errorf("a dropped batch is %+v", a)
	}
}

func TestBatchHoldsKeysBehindARetry(t *testing.T) {
	p := serve(t, meshloom.New("n", meshloom.MapBatch(obey))).Process(t, &meshloomv1.OpenProcess{Node: "n", Ordering: meshloomv1.Ordering_ORDERING_KEY})
	work := workOf(1, `{"n":0}`, `{"do":"retry"}`, `{"n":2}`, `{"do":"drop"}`, `{"do":"reject"}`, `{"n":5}`)
	work.Batch.Key = harness.Texts("a", "a", "a", "a", "a", "b")
	p.Send(t, work)
	a := p.Collect(t, work)
	if len(a.Outputs) != 2 || a.Consumed != 0 {
		t.Errorf("got %+v", a)
	}
	wantFailure(t, a, 1, retry, "RETRY", "")
	for _, i := range []uint32{2, 3, 4} {
		wantFailure(t, a, i, retry, "KEY_HELD", "")
	}
}

func TestBatchCancelNamesTheWholeBatch(t *testing.T) {
	called := make(chan struct{}, 1)
	p := serve(t, meshloom.New("n", meshloom.MapBatch(func(ctx context.Context, _ *meshloom.Batch, _ *meshloom.Emitter) error {
		called <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `1`, `2`)
	p.Send(t, work)
	waitFor(t, called, "the call")
	p.Cancel(t, 1)
	wantFailure(t, p.Collect(t, work), columns.None, retry, "CANCELLED", "")

	late := workOf(2, `1`)
	late.Timeout = durationpb.New(10 * time.Millisecond)
	p.Send(t, late)
	waitFor(t, called, "the second call")
	wantFailure(t, p.Collect(t, late), columns.None, retry, "TIMEOUT", "")
}
