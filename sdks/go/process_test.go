package meshloom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// waitFor waits for a value that another goroutine sends.
func waitFor[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(harness.Deadline):
		t.Fatalf("waited %v for %s", harness.Deadline, what)
		panic("unreachable")
	}
}

func TestMalformedWorkIsAnsweredAndTheStreamGoesOn(t *testing.T) {
	p := serve(t, meshloom.New("n", meshloom.Map(handleMap))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	noUID := workOf(2, `{}`)
	noUID.Batch.Uid = nil
	badAttempts := workOf(3, `{}`)
	badAttempts.Attempts = []byte{1}
	badTimeout := workOf(4, `{}`)
	badTimeout.Timeout = durationpb.New(-time.Second)
	badEnds := workOf(5, `{}`)
	badEnds.Batch.Payload.Ends = []byte{1}
	for _, c := range []struct {
		work   *meshloomv1.Work
		detail string
	}{{&meshloomv1.Work{Sequence: 1}, "missing"}, {noUID, "uid"}, {badAttempts, "attempts"}, {badTimeout, "timeout"}, {badEnds, "payload.ends"}} {
		p.Send(t, c.work)
		r := p.Next(t)
		if r.GetSequence() != c.work.GetSequence() || !r.GetLast() || len(r.GetFailures()) != 1 {
			t.Fatalf("got %v", r)
		}
		f := r.GetFailures()[0]
		if f.GetIndex() != columns.None || f.GetAction() != retry || f.GetReason() != "BATCH_MALFORMED" || !strings.Contains(f.GetMessage(), c.detail) {
			t.Errorf("got %v, want BATCH_MALFORMED with %q", f, c.detail)
		}
	}
	good := workOf(6, `{"n":6}`)
	p.Send(t, good)
	if a := p.Collect(t, good); len(a.Outputs) != 1 {
		t.Errorf("after malformed works: %+v", a)
	}
}

func TestLimitsAreHeld(t *testing.T) {
	g := newGate()
	p := serve(t, meshloom.New("n", meshloom.Map(g.handle), meshloom.MaxBatch(2, 400), meshloom.MaxInFlight(1))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	if l := p.Opened.GetLimits(); l.GetMaxBatchEvents() != 2 || l.GetMaxBatchBytes() != 400 || l.GetMaxInFlightWorks() != 1 {
		t.Errorf("opened with %v", l)
	}
	many, large := workOf(1, `"a"`, `"b"`, `"c"`), workOf(2, `"`+strings.Repeat("x", 400)+`"`)
	for _, work := range []*meshloomv1.Work{many, large} {
		p.Send(t, work)
		wantFailure(t, p.Collect(t, work), columns.None, retry, "BATCH_TOO_LARGE", "the node's limit")
	}
	first, second := workOf(3, `"a"`), workOf(4, `"b"`)
	p.Send(t, first)
	waitFor(t, g.called, "the call")
	p.Send(t, second)
	wantFailure(t, p.Collect(t, second), columns.None, retry, "LIMITS_EXCEEDED", "1 works are in hand")
	close(g.leave)
	p.Collect(t, first)
	for sequence := range uint64(50) { // the answer to one is leave to send the next
		next := workOf(10+sequence, `"c"`)
		p.Send(t, next)
		if a := p.Collect(t, next); len(a.Outputs) != 1 {
			t.Fatalf("work %d: %+v", sequence, a)
		}
	}
}

// gate is a handler that tells when it was called and waits for leave.
type gate struct {
	called chan string
	leave  chan struct{}
}

func newGate() *gate { return &gate{called: make(chan string, 100), leave: make(chan struct{})} }

func (g *gate) handle(ctx context.Context, in string) (string, error) {
	g.called <- in
	select {
	case <-g.leave:
		return in, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func TestKeysRunInSequenceAndAreHeldAfterARetry(t *testing.T) {
	var mu sync.Mutex
	seen := map[string][]int{}
	node := meshloom.New("n", meshloom.Map(func(ctx context.Context, in command) (int, error) {
		key := meshloom.EventFrom(ctx).Key()
		mu.Lock()
		seen[key] = append(seen[key], in.N)
		mu.Unlock()
		if in.Do == "retry" {
			return 0, meshloom.Retry(errors.New("later"))
		}
		return in.N, nil
	}))
	p := serve(t, node).Process(t, &meshloomv1.OpenProcess{Node: "n", Ordering: meshloomv1.Ordering_ORDERING_KEY})
	var payloads, keys []string
	for i := range 300 {
		do := ""
		if i == 150 { // of the empty key, which is one like others
			do = "retry"
		}
		payloads = append(payloads, fmt.Sprintf(`{"n":%d,"do":%q}`, i, do))
		keys = append(keys, []string{"", "k1", "k2"}[i%3])
	}
	work := workOf(1, payloads...)
	work.Batch.Key = harness.Texts(keys...)
	p.Send(t, work)
	a := p.Collect(t, work)
	for key, order := range seen {
		for i := 1; i < len(order); i++ {
			if order[i] <= order[i-1] {
				t.Fatalf("%q ran %d after %d", key, order[i], order[i-1])
			}
		}
	}
	if got := seen[""][len(seen[""])-1]; got != 150 {
		t.Errorf("after the retry of 150 its key ran %d", got)
	}
	for i := range uint32(300) {
		switch {
		case i%3 != 0 || i < 150:
			if a.Failures[i] != nil {
				t.Fatalf("input %d failed: %v", i, a.Failures[i])
			}
		case i == 150:
			wantFailure(t, a, i, retry, "RETRY", "later")
		default:
			wantFailure(t, a, i, retry, "KEY_HELD", "same key")
		}
	}
}

func TestUnorderedInputsRunSideBySide(t *testing.T) {
	g := newGate()
	p := serve(t, meshloom.New("n", meshloom.Map(g.handle))).Process(t, &meshloomv1.OpenProcess{Node: "n", Concurrency: 3})
	work := workOf(1, `"a"`, `"b"`, `"c"`, `"d"`)
	p.Send(t, work)
	for range 3 {
		waitFor(t, g.called, "three calls at one time")
	}
	if len(g.called) != 0 {
		t.Error("a fourth call began beyond the concurrency")
	}
	close(g.leave)
	if a := p.Collect(t, work); len(a.Outputs) != 4 {
		t.Errorf("got %+v", a)
	}
}

func TestFinishedEventsDoNotWaitForSlowOnes(t *testing.T) {
	leave := make(chan struct{})
	p := serve(t, meshloom.New("n", meshloom.Map(func(_ context.Context, in string) (string, error) {
		if in == "slow" {
			<-leave
		}
		return in, nil
	}))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	p.Send(t, workOf(1, `"slow"`, `"fast"`))
	first := p.Next(t)
	if first.GetLast() || first.GetOutputs().GetCount() != 1 || string(first.GetOutputs().GetPayload().GetData()) != `"fast"` {
		t.Errorf("the first result is %v", first)
	}
	close(leave)
	if second := p.Next(t); !second.GetLast() || second.GetOutputs().GetCount() != 1 {
		t.Errorf("the second result is %v", second)
	}
}

func TestOneWorkerIsEnoughToGoRoundABlockedCall(t *testing.T) {
	for _, ordering := range []meshloomv1.Ordering{meshloomv1.Ordering_ORDERING_NONE, meshloomv1.Ordering_ORDERING_KEY} {
		t.Run(ordering.String(), func(t *testing.T) {
			leave := make(chan struct{})
			p := serve(t, meshloom.New("n", meshloom.Map(func(_ context.Context, in int) (int, error) {
				if in == 0 {
					<-leave
				}
				return in, nil
			}))).Process(t, &meshloomv1.OpenProcess{Node: "n", Concurrency: 2, Ordering: ordering})
			var payloads, keys []string
			for i := range 101 {
				payloads, keys = append(payloads, fmt.Sprint(i)), append(keys, fmt.Sprint("k", i))
			}
			work := workOf(1, payloads...)
			work.Batch.Key = harness.Texts(keys...)
			p.Send(t, work)
			answered := 0
			for answered < 100 {
				result := p.Next(t)
				answered += int(result.GetOutputs().GetCount())
				if result.GetLast() {
					t.Fatal("last came while a call runs")
				}
			}
			close(leave)
			if last := p.Next(t); !last.GetLast() || answered+int(last.GetOutputs().GetCount()) != 101 {
				t.Errorf("%d answered, then %v", answered, last)
			}
		})
	}
}

func TestAWorkEndsThoughAnotherHoldsTheSlotThatItCouldUse(t *testing.T) {
	g := newGate()
	p := serve(t, meshloom.New("n", meshloom.Map(func(ctx context.Context, in string) (string, error) {
		if in == "fast" {
			return in, nil
		}
		return g.handle(ctx, in)
	}))).Process(t, &meshloomv1.OpenProcess{Node: "n", Concurrency: 2})
	slow, fast := workOf(1, `"slow"`), workOf(2, `"fast"`, `"fast"`, `"fast"`)
	p.Send(t, slow)
	waitFor(t, g.called, "the slow call")
	p.Send(t, fast)
	if a := p.Collect(t, fast); len(a.Outputs) != 3 {
		t.Errorf("got %+v", a)
	}
	close(g.leave)
	p.Collect(t, slow)
}

func TestHalfCloseAnswersWhatIsInHand(t *testing.T) {
	g := newGate()
	p := serve(t, meshloom.New("n", meshloom.Map(g.handle))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `"a"`)
	p.Send(t, work)
	waitFor(t, g.called, "the call")
	if err := p.Stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	close(g.leave)
	if a := p.Collect(t, work); len(a.Outputs) != 1 {
		t.Errorf("got %+v", a)
	}
	if _, err := p.Stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want OK", err)
	}
}

func TestDrainFinishesWhatIsInHand(t *testing.T) {
	g := newGate()
	torn := make(chan struct{}, 10)
	node := meshloom.NewWith("n", func(context.Context, struct{}) (meshloom.MapHandler, error) {
		return meshloom.OnStop(meshloom.Map(g.handle), func() error { torn <- struct{}{}; return nil }), nil
	})
	s := harness.ServeUnix(t, filepath.Join(t.TempDir(), "n.sock"), func(ctx context.Context, l net.Listener) error { return meshloom.ServeListener(ctx, l, node) })
	health := healthv1.NewHealthClient(s.Conn)
	watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantHealth := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if r, err := watch.Recv(); err != nil || r.GetStatus() != want {
			t.Fatalf("health is %v, %v, want %v", r, err, want)
		}
	}
	p := s.Process(t, &meshloomv1.OpenProcess{Node: "n"})
	other := s.Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `"a"`)
	p.Send(t, work)
	waitFor(t, g.called, "the call")
	wantHealth(healthv1.HealthCheckResponse_SERVING)
	s.Drain()
	wantHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	if _, err := other.Stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("an idle stream ended with %v, want OK", err)
	}
	if len(torn) != 0 {
		t.Error("the tear-down ran while a call was in hand")
	}
	close(g.leave)
	if a := p.Collect(t, work); len(a.Outputs) != 1 {
		t.Errorf("got %+v", a)
	}
	if _, err := p.Stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want OK", err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("the drain ended with %v", err)
	}
	if len(torn) != 1 {
		t.Errorf("the tear-down ran %d times", len(torn))
	}
}

func TestOrderedInAllOneCallRunsAtATime(t *testing.T) {
	g := newGate()
	p := serve(t, meshloom.New("n", meshloom.Map(g.handle))).Process(t, &meshloomv1.OpenProcess{Node: "n", Concurrency: 8, Ordering: meshloomv1.Ordering_ORDERING_ALL})
	first, second := workOf(1, `"a"`), workOf(2, `"b"`)
	p.Send(t, first)
	waitFor(t, g.called, "the first call")
	p.Send(t, second)
	p.Cancel(t, 2) // read after the work, which has not been begun by then
	wantFailure(t, p.Collect(t, second), 0, retry, "CANCELLED", "the test asked")
	close(g.leave)
	if a := p.Collect(t, first); len(a.Outputs) != 1 || len(g.called) != 0 {
		t.Errorf("got %+v, %d more calls", a, len(g.called))
	}
}
