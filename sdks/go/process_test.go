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

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshloom/meshloom/sdks/go"
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

// wantStatus checks a status and, unless reason is empty, its ErrorInfo.
func wantStatus(t *testing.T, err error, code codes.Code, reason, says string) map[string]string {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != code || !strings.Contains(st.Message(), says) {
		t.Errorf("got %v, want %v with %q", err, code, says)
	}
	if reason == "" {
		return nil
	}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == reason && info.GetDomain() == "meshloom" {
			return info.GetMetadata()
		}
	}
	t.Errorf("details %v, want %s", st.Details(), reason)
	return nil
}

// wantViolation checks INVALID_ARGUMENT with a violation of one field.
func wantViolation(t *testing.T, err error, field, says string) {
	t.Helper()
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok && st.Code() == codes.InvalidArgument {
			for _, v := range bad.GetFieldViolations() {
				if v.GetField() == field && strings.Contains(v.GetDescription(), says) {
					return
				}
			}
		}
	}
	t.Errorf("got %v with %v, want a violation of %q with %q", err, st.Details(), field, says)
}

func TestStreamRefusals(t *testing.T) {
	one, two := meshloom.New("one", meshloom.Map(handleMap)), meshloom.New("two", meshloom.Map(handleMap))
	s := serve(t, one, two)
	_, err := s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "three"})
	wantStatus(t, err, codes.NotFound, "HANDLER_UNKNOWN", `no handler "three" in this process; it serves: one, two`)
	_, err = s.TryProcess(t, &meshloomv1.OpenProcess{})
	wantStatus(t, err, codes.NotFound, "HANDLER_UNKNOWN", "several handlers and none was named; it serves: one, two")
	_, err = s.TryProduce(t, &meshloomv1.OpenProduce{Handler: "one"})
	wantStatus(t, err, codes.FailedPrecondition, "HANDLER_ROLE_MISMATCH", "served by Process, not by Produce")
	_, err = s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "one", Protocol: &meshloomv1.ProtocolRange{Min: 2, Max: 3}})
	if metadata := wantStatus(t, err, codes.FailedPrecondition, "PROTOCOL_UNSUPPORTED", "upgrade the node"); metadata["upgrade"] != "node" || metadata["to"] != "2" {
		t.Errorf("metadata %v", metadata)
	}
	for _, bad := range []*meshloomv1.ProtocolRange{{}, {Max: 1}, {Min: 2, Max: 1}} {
		_, err = s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "one", Protocol: bad})
		wantViolation(t, err, "protocol", "no range")
	}
	p, err := s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "one", Protocol: &meshloomv1.ProtocolRange{Min: 1, Max: 9}})
	if err != nil || p.Opened.GetProtocol() != 1 {
		t.Errorf("a newer coordinator: %v, %v", p, err)
	}
}

// ended reads until the stream ends.
func ended(p *harness.Process) error {
	for {
		if _, err := p.Stream.Recv(); err != nil {
			return err
		}
	}
}

func TestRequestsOutOfOrderEndTheStream(t *testing.T) {
	s := serve(t, meshloom.New("n", meshloom.Map(handleMap)))
	process, err := s.Client.Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Send(&meshloomv1.ProcessRequest{Request: &meshloomv1.ProcessRequest_Work{Work: workOf(1, "{}")}}); err != nil {
		t.Fatal(err)
	}
	_, err = process.Recv()
	wantStatus(t, err, codes.InvalidArgument, "PROTOCOL_VIOLATION", "must be open")

	twice := s.Process(t, &meshloomv1.OpenProcess{Node: "n"})
	if err := twice.Stream.Send(&meshloomv1.ProcessRequest{Request: &meshloomv1.ProcessRequest_Open{Open: &meshloomv1.OpenProcess{}}}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, ended(twice), codes.InvalidArgument, "PROTOCOL_VIOLATION", "open came twice")

	idle, err := s.Client.Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := idle.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("half-close before open: %v", err)
	}
}

func TestAViolationEndsTheStreamThoughAHandlerIsDeaf(t *testing.T) {
	called, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, meshloom.New("n", meshloom.Map(func(context.Context, string) (string, error) {
		close(called)
		<-leave
		return "late", nil
	})))
	p := s.Process(t, &meshloomv1.OpenProcess{Node: "n"})
	p.Send(t, workOf(1, `"a"`))
	waitFor(t, called, "the call")
	p.Send(t, workOf(1, `"a"`))
	wantStatus(t, ended(p), codes.InvalidArgument, "PROTOCOL_VIOLATION", "used once")
	close(leave) // its answer goes nowhere; the node ends after it
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
	p := serve(t, meshloom.New("n", meshloom.Map(func(ctx context.Context, in string) (string, error) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Second {
			return "", fmt.Errorf("deadline %v, %v", deadline, ok)
		}
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		<-derived.Done()
		return "", fmt.Errorf("waiting: %w", derived.Err())
	}))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `"a"`)
	work.Timeout = durationpb.New(20 * time.Millisecond)
	p.Send(t, work)
	wantFailure(t, p.Collect(t, work), 0, retry, "TIMEOUT", "waiting")
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
		if i == 150 { // key k0
			do = "retry"
		}
		payloads = append(payloads, fmt.Sprintf(`{"n":%d,"do":%q}`, i, do))
		keys = append(keys, fmt.Sprintf("k%d", i%3))
	}
	work := workOf(1, payloads...)
	work.Batch.Key = harness.Texts(keys...)
	p.Send(t, work)
	a := p.Collect(t, work)
	for key, order := range seen {
		for i := 1; i < len(order); i++ {
			if order[i] <= order[i-1] {
				t.Fatalf("%s ran %d after %d", key, order[i], order[i-1])
			}
		}
	}
	if got := seen["k0"][len(seen["k0"])-1]; got != 150 {
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

func TestADrainingNodeTakesNoNewStream(t *testing.T) {
	g := newGate()
	s := serve(t, meshloom.New("n", meshloom.Map(g.handle)))
	p := s.Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `"a"`)
	p.Send(t, work)
	waitFor(t, g.called, "the call")
	health := healthv1.NewHealthClient(s.Conn)
	watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "meshloom.v1.NodeService"})
	if err != nil {
		t.Fatal(err)
	}
	s.Drain()
	for {
		r, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetStatus() == healthv1.HealthCheckResponse_NOT_SERVING {
			break
		}
	}
	for { // health turns first
		if _, err = s.TryProcess(t, &meshloomv1.OpenProcess{Node: "n"}); err != nil {
			break
		}
	}
	wantStatus(t, err, codes.Unavailable, "", "drains")
	close(g.leave)
	if a := p.Collect(t, work); len(a.Outputs) != 1 {
		t.Errorf("got %+v", a)
	}
	if _, err := p.Stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want OK", err)
	}
}
