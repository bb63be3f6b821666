package meshloom

import (
	"errors"
	"sync"
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
	"go.opentelemetry.io/otel/trace"
)

const contextsAtATime = 16

// worker claims inputs of one work and calls the handler, one call at a time.
type worker struct {
	work *work
	out  emission
	ar   arena
	busy time.Duration

	// pieces tells that outputs of the running call have been sent and that this worker holds the work's sendMu.
	pieces   bool
	contexts []callContext
	now      time.Time // when the last call ended: the next begins there, which saves a look at the clock

	mu       sync.Mutex // guards what follows; others collect it while the worker runs
	rows     []columns.Row
	failures []*meshloomv1.EventFailure
	consumed uint32
	bytes    int
	calling  bool
	index    uint32
	began    time.Time
}

// current returns the running call.
func (r *worker) current() (index uint32, began time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.index, r.began, r.calling
}

func (r *worker) run() {
	w := r.work
	r.ar.routes = w.stream.node.options.routes
	r.out.arena, r.out.full = &r.ar, r.sendPieces
	r.now = time.Now()
	units := int64(w.units())
	r.mu.Lock()
	r.rows = make([]columns.Row, 0, w.view.Count/cap(w.stream.slots)+1)
	r.mu.Unlock()
	for {
		unit := w.next.Add(1) - 1
		if unit >= units {
			return
		}
		if w.lanes == nil {
			r.call(int(unit))
		} else {
			r.lane(w.lanes[unit])
		}
	}
}

// lane runs inputs of one key in sequence; after a retry the later ones are held without a call.
func (r *worker) lane(inputs []int32) {
	held := false
	for _, i := range inputs {
		if !held {
			held = r.call(int(i))
		} else if r.work.state[i].CompareAndSwap(inputOpen, inputClosed) {
			r.mu.Lock()
			r.failures = append(r.failures, keyHeld(uint32(i)))
			r.mu.Unlock()
		}
	}
}

// call calls the handler for input i and reports whether the input is to be retried.
func (r *worker) call(i int) (retried bool) {
	w := r.work
	if !w.state[i].CompareAndSwap(inputOpen, inputRunning) {
		return false
	}
	index := uint32(i)
	r.mu.Lock()
	r.calling, r.index, r.began = true, index, r.now
	r.mu.Unlock()

	ctx := r.context()
	ctx.scope = scope{replica: w.stream.replica, event: Event{view: w.view, index: i, attempt: w.attempts(i)}}
	if w.timeout > 0 {
		ctx.deadline = r.now.Add(w.timeout)
	}
	var span trace.Span
	if parent := w.spans[index]; parent != nil {
		ctx.Context, span = w.stream.tracer.Event(w.ctx, parent, w.view, ctx.scope.event.attempt)
	}
	r.out.index, r.out.passed, r.out.bytes, r.out.rows = index, false, 0, r.out.rows[:0]

	err := callEach(w.stream.body, ctx, &r.out)
	var failure *meshloomv1.EventFailure
	if err != nil && !errors.Is(err, Drop) {
		failure = failureOf(ctx, index, err)
	}
	ctx.end()
	ended := time.Now()
	r.busy += ended.Sub(r.now)
	r.now = ended
	closed := w.state[i].CompareAndSwap(inputRunning, inputClosed)
	if span != nil {
		telemetry.End(span, r.verdict(err, failure), failure)
	}
	if r.pieces {
		r.pieces = false
		if closed {
			r.sendLast(failure)
		}
		w.sendMu.Unlock()
		closed = false
	}
	r.mu.Lock()
	if closed {
		r.book(index, err, failure)
	}
	r.calling = false
	full := r.bytes >= holdBytes
	r.mu.Unlock()
	if full {
		w.flush(true)
	}
	return failure != nil && failure.Action != meshloomv1.FailureAction_FAILURE_ACTION_REJECT
}

// context returns the context of the next call. They are made many at a time; each is used once, since a handler may keep
// its own.
func (r *worker) context() *callContext {
	if len(r.contexts) == 0 {
		r.contexts = make([]callContext, min(r.work.view.Count, contextsAtATime))
	}
	ctx := &r.contexts[0]
	r.contexts = r.contexts[1:]
	ctx.Context = r.work.ctx
	return ctx
}

func callEach(b *body, ctx *callContext, out *emission) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = newPanicError(cause)
		}
	}()
	return b.each(ctx, ctx.scope.event, out)
}

func (r *worker) verdict(err error, failure *meshloomv1.EventFailure) string {
	switch {
	case failure != nil:
		return telemetry.VerdictOf(failure)
	case err != nil, len(r.out.rows) == 0 && !r.out.passed:
		return telemetry.Consumed
	default:
		return telemetry.Delivered
	}
}

// sendLast closes an input of which pieces have been sent: by the row that was kept, or by its failure.
func (r *worker) sendLast(failure *meshloomv1.EventFailure) {
	if failure != nil {
		r.work.send(nil, []*meshloomv1.EventFailure{failure}, nil)
	} else {
		r.work.send(r.out.rows, nil, nil)
	}
}

// book takes down the answer to an input. The caller holds mu.
func (r *worker) book(index uint32, err error, failure *meshloomv1.EventFailure) {
	switch {
	case failure != nil:
		r.failures = append(r.failures, failure)
	case err == nil && r.out.passed:
		r.rows = append(r.rows, columns.Row{Parent: index, Pass: true})
	case err == nil && len(r.out.rows) > 0:
		r.rows = append(r.rows, r.out.rows...)
		r.bytes += r.out.bytes
	default:
		r.consumed++
	}
}

// sendPieces sends the outputs of a call that yields more than is held back. From the first piece on no other result of
// the work may go between, and the last row is kept so that the input can be closed by it.
func (r *worker) sendPieces() error {
	w, out := r.work, &r.out
	if !r.pieces {
		w.sendMu.Lock()
		r.pieces = true
	}
	if w.state[out.index].Load() != inputRunning {
		return errStopped
	}
	last := len(out.rows) - 1
	rest := out.rows[:last]
	for len(rest) > 0 {
		n := columns.Take(rest, w.view)
		outputs := columns.EncodeOutputs(rest[:n], w.view)
		outputs.Continued = true
		w.stream.send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Result{
			Result: &meshloomv1.WorkResult{Sequence: w.sequence, Outputs: outputs},
		}})
		rest = rest[n:]
	}
	out.rows[0] = out.rows[last]
	out.rows = out.rows[:1]
	out.bytes = out.rows[0].Size()
	return nil
}
