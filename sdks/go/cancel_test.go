package meshloom_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

func TestCancelReachesTheHandlerAndAnswersEveryOpenInput(t *testing.T) {
	g := newGate()
	p := serve(t, meshloom.New("n", meshloom.Map(g.handle), meshloom.Concurrency(2))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `"a"`, `"b"`, `"c"`)
	p.Send(t, work)
	waitFor(t, g.called, "the first call")
	waitFor(t, g.called, "the second call")
	p.Cancel(t, 1)
	a := p.Collect(t, work)
	for i := range uint32(3) {
		wantFailure(t, a, i, retry, "CANCELLED", "the test asked")
	}
	if len(g.called) != 0 {
		t.Error("the third input was handled after the cancel")
	}
	next := workOf(2, `"d"`)
	p.Send(t, next)
	waitFor(t, g.called, "a call after the cancel")
	close(g.leave)
	if a := p.Collect(t, next); len(a.Outputs) != 1 {
		t.Errorf("after a cancel: %+v", a)
	}
}

func TestADeafCallIsAnsweredWhenItsTimeIsUp(t *testing.T) {
	called, leave := make(chan struct{}, 2), make(chan struct{})
	deaf := meshloom.Map(func(context.Context, string) (string, error) { // does not look at its context
		called <- struct{}{}
		<-leave
		return "late", nil
	})
	p := serve(t, meshloom.New("n", deaf, meshloom.Concurrency(1))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `"a"`, `"b"`)
	work.Timeout = durationpb.New(time.Millisecond)
	p.Send(t, work)
	waitFor(t, called, "the call")
	first := p.Next(t) // by itself, while the handler runs
	if f := first.GetFailures(); len(f) != 1 || f[0].GetIndex() != 0 || f[0].GetReason() != "TIMEOUT" || first.GetLast() {
		t.Errorf("the first result is %v", first)
	}
	for len(p.Progress) == 0 || len(p.Progress[len(p.Progress)-1].GetCalls()) == 0 { // the call still counts as running
		response, err := p.Stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if response.GetProgress() != nil {
			p.Progress = append(p.Progress, response.GetProgress())
		}
	}
	if c := p.Progress[len(p.Progress)-1].GetCalls()[0]; c.GetSequence() != 1 || c.GetIndex() != 0 || c.GetAge().AsDuration() < time.Millisecond {
		t.Errorf("progress says %v", c)
	}
	p.Cancel(t, 1)
	second := p.Next(t)
	if f := second.GetFailures(); len(f) != 1 || f[0].GetIndex() != 1 || f[0].GetReason() != "CANCELLED" || second.GetLast() {
		t.Errorf("the second result is %v", second)
	}
	close(leave)
	if last := p.Next(t); !last.GetLast() || last.GetOutputs() != nil || last.GetConsumed() != 0 {
		t.Errorf("the end is %v", last)
	}
}

func TestTimeoutEndsTheContext(t *testing.T) {
	ended := make(chan error, 1)
	p := serve(t, meshloom.New("n", meshloom.Map(func(ctx context.Context, _ string) (string, error) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Second {
			return "", fmt.Errorf("deadline %v, %v", deadline, ok)
		}
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		<-derived.Done()
		ended <- derived.Err()
		return "", fmt.Errorf("waiting: %w", derived.Err())
	}))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `"a"`)
	work.Timeout = durationpb.New(20 * time.Millisecond)
	p.Send(t, work)
	wantFailure(t, p.Collect(t, work), 0, retry, "TIMEOUT", "")
	if err := waitFor(t, ended, "the context's end"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context ended with %v", err)
	}
}

func TestALateAnswerIsATimeout(t *testing.T) {
	for name, handler := range map[string]meshloom.Handler{
		"map": meshloom.Map(func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "late", nil
		}),
		"sink": meshloom.Sink(func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return meshloom.Reject("LATE", nil)
		}),
		"batch": meshloom.MapBatch(func(ctx context.Context, _ *meshloom.Batch, out *meshloom.Emitter) error {
			<-ctx.Done()
			out.Drop(0)
			return nil
		}),
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, meshloom.New("n", handler)).Process(t, &meshloomv1.OpenProcess{Node: "n"})
			work := workOf(1, `"a"`)
			work.Timeout = durationpb.New(time.Millisecond)
			p.Send(t, work)
			index := map[bool]uint32{true: columns.None, false: 0}[name == "batch"]
			wantFailure(t, p.Collect(t, work), index, retry, "TIMEOUT", "the node's timeout of 1ms")
		})
	}
}

func TestWhatACallLeavesRunningSeesItsEnd(t *testing.T) {
	waiting, kept, leave := make(chan error, 1), make(chan context.Context, 1), make(chan struct{})
	p := serve(t, meshloom.New("n", meshloom.Sink(func(ctx context.Context, in string) error {
		switch in {
		case "waits":
			done := ctx.Done() // asked for during the call
			go func() { <-done; waiting <- ctx.Err() }()
		case "keeps":
			kept <- ctx
		default:
			<-leave // the work goes on
		}
		return nil
	}))).Process(t, &meshloomv1.OpenProcess{Node: "n", Concurrency: 1})
	work := workOf(1, `"waits"`, `"keeps"`, `"stays"`)
	work.Timeout = durationpb.New(time.Hour)
	p.Send(t, work)
	if err := waitFor(t, waiting, "the context's end"); !errors.Is(err, context.Canceled) {
		t.Errorf("the context ended with %v", err)
	}
	ctx := waitFor(t, kept, "the second call")
	select {
	case <-ctx.Done(): // asked for when the call had returned, or was about to
	case <-time.After(harness.Deadline):
		t.Fatal("the kept context did not end")
	}
	if e := meshloom.EventFrom(ctx); e.Text() != `"keeps"` {
		t.Errorf("the kept context speaks of %s", e.Text())
	}
	close(leave)
	p.Collect(t, work)
}

func TestABrokenStreamCancelsItsCalls(t *testing.T) {
	ended := make(chan error, 1)
	called := make(chan struct{})
	p := serve(t, meshloom.New("n", meshloom.Sink(func(ctx context.Context, _ string) error {
		close(called)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	p.Send(t, workOf(1, `"a"`))
	waitFor(t, called, "the call")
	p.Break()
	waitFor(t, ended, "the call's context to end")
}
