package meshloom

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
	"go.opentelemetry.io/otel/trace"
)

const contextsAtATime = 128

// worker calls the handler for inputs of one work, one call at a time. It holds mu except during calls, so that others
// (Progress, a flush, Cancel, an idle worker) can look into its books however long a call takes: one lock per event.
type worker struct {
	work     *work
	out      emission
	ar       arena
	contexts []callContext
	pieces   bool          // outputs of the running call have been sent, and this worker holds the work's sendMu
	busy     time.Duration // in calls, read when the worker has ended

	mu       sync.Mutex // guards what follows
	units    span       // claimed, not begun
	lane     []int32    // inputs left of the lane that has begun
	held     bool       // an earlier input of the lane is to be retried
	clock    clock
	calling  bool
	answered *meshloomv1.EventFailure // answer to the running call's input that did not wait for it, nil: none
	index    uint32
	began    time.Duration // after the work's start
	sheets   []*columns.Sheet
	failures []*meshloomv1.EventFailure
	consumed uint32
	bytes    int
}

// current returns the running call.
func (r *worker) current() (index uint32, began time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.index, r.began, r.calling
}

// run calls the handler for all that the worker has claimed.
func (r *worker) run() {
	w := r.work
	begun := w.age()
	r.mu.Lock()
	r.clock = clock{last: begun, exact: w.timeout > 0 && w.timeout < exactBelow}
	for r.begin() {
		r.mu.Unlock()
		ctx := r.context()
		failure, span, err := r.call(ctx)
		r.mu.Lock()
		r.end(ctx, err, failure, span)
	}
	r.mu.Unlock()
	r.busy += w.age() - begun
}

// begin claims the next input. The caller holds mu.
func (r *worker) begin() bool {
	w := r.work
	if w.lanes == nil {
		if r.units.empty() {
			return false
		}
		r.index = uint32(r.units.begin)
		r.units.begin++
	} else if !r.follow() {
		return false
	}
	r.calling, r.began = true, r.clock.look(w.started)
	return true
}

// follow claims the next input of a lane; after a retry the later ones are held without a call. The caller holds mu.
func (r *worker) follow() bool {
	for len(r.lane) == 0 || r.held {
		for _, i := range r.lane {
			r.failures = append(r.failures, keyHeld(uint32(i)))
		}
		r.lane, r.held = nil, false
		if r.units.empty() {
			return false
		}
		r.lane = r.work.lanes[r.units.begin]
		r.units.begin++
	}
	r.index, r.lane = uint32(r.lane[0]), r.lane[1:]
	return true
}

// open returns the inputs that are claimed and have not begun. The caller holds mu.
func (r *worker) open() []uint32 {
	var inputs []uint32
	for _, i := range r.lane {
		inputs = append(inputs, uint32(i))
	}
	for unit := r.units.begin; unit < r.units.end; unit++ {
		if r.work.lanes == nil {
			inputs = append(inputs, uint32(unit))
			continue
		}
		for _, i := range r.work.lanes[unit] {
			inputs = append(inputs, uint32(i))
		}
	}
	return inputs
}

// context returns the context of the call that begins. They are made many at a time; each is used once, since a handler
// may keep its own.
func (r *worker) context() *callContext {
	if len(r.contexts) == 0 {
		r.contexts = make([]callContext, min(r.work.view.Count, contextsAtATime))
	}
	ctx := &r.contexts[0]
	r.contexts = r.contexts[1:]
	ctx.worker, ctx.index, ctx.began = r, r.index, r.began
	return ctx
}

// call calls the handler and returns what failure this is for the input, if any, the call's span, and the handler's error.
func (r *worker) call(ctx *callContext) (failure *meshloomv1.EventFailure, span trace.Span, err error) {
	w := r.work
	event := ctx.event()
	var handed context.Context = ctx
	if w.spans != nil && w.spans[ctx.index] != nil {
		handed, span = w.stream.tracer.Event(ctx, w.spans[ctx.index], w.view, event.attempt)
	}
	r.out.reset(ctx.index)
	err = callEach(handed, w.stream.body, event, &r.out)
	if err != nil && !isDrop(err) {
		failure = failureOf(ctx, ctx.index, err)
	}
	// Of a longer timeout expire takes notice.
	if w.timeout > 0 && w.timeout < exactBelow && w.overdue(w.age()-ctx.began) && (failure == nil || failure.Reason != reasonTimeout) {
		failure = w.timedOut(ctx.index)
	}
	return failure, span, err
}

func callEach(ctx context.Context, b *body, event Event, out *emission) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = newPanicError(cause)
		}
	}()
	return b.each(ctx, event, out)
}

func isDrop(err error) bool { return err == Drop || errors.Is(err, Drop) }

// end closes the input of a call that has returned. The caller holds mu, which is given up where something must be sent.
func (r *worker) end(ctx *callContext, err error, failure *meshloomv1.EventFailure, span trace.Span) {
	answered := r.answered
	r.calling, r.answered = false, nil
	if answered != nil {
		failure = answered
	}
	if span != nil {
		telemetry.End(span, r.verdict(err, failure), failure)
	}
	if failure != nil && failure.Action != meshloomv1.FailureAction_FAILURE_ACTION_REJECT {
		r.held = true
	}
	if answered == nil && !r.pieces {
		r.book(err, failure)
	}
	full := r.bytes >= holdBytes
	if !full && !r.pieces && ctx.armed == nil {
		return
	}
	r.mu.Unlock()
	defer r.mu.Lock()
	if ctx.armed != nil {
		ctx.armed.cancel()
	}
	if r.pieces {
		r.pieces = false
		r.sendLast(failure, answered)
		r.work.sendMu.Unlock()
	}
	if full {
		r.work.flush(true)
	}
}

// book takes down the answer to an input. The caller holds mu.
func (r *worker) book(err error, failure *meshloomv1.EventFailure) {
	switch {
	case failure != nil:
		r.failures = append(r.failures, failure)
	case err == nil && r.out.passed:
		r.sheets = columns.PutPass(r.sheets, r.index, r.work.view)
	case err == nil && len(r.out.rows) > 0:
		for i := range r.out.rows {
			r.sheets = columns.Put(r.sheets, &r.out.rows[i], r.work.view)
		}
		r.bytes += r.out.bytes
	default:
		r.consumed++
	}
}

func (r *worker) verdict(err error, failure *meshloomv1.EventFailure) string {
	switch {
	case failure != nil:
		return telemetry.VerdictOf(failure)
	case err != nil, len(r.out.rows) == 0 && !r.out.passed && !r.work.stream.body.sinks:
		return telemetry.Consumed
	default:
		return telemetry.Delivered
	}
}

// sendLast closes an input of which pieces have been sent: by the row that was kept, or by its failure. An answer that waits
// among others has to come first now, since the input's outputs go on; one that has been sent came before any piece.
func (r *worker) sendLast(failure, answered *meshloomv1.EventFailure) {
	switch {
	case answered != nil && !r.work.withdraw(answered):
	case failure != nil:
		r.work.send(nil, []*meshloomv1.EventFailure{failure}, nil)
	default:
		r.work.send(columns.Pack(r.out.rows, r.work.view), nil, nil)
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
	r.mu.Lock()
	answered := r.answered
	r.mu.Unlock()
	if answered != nil {
		return errStopped
	}
	last := len(out.rows) - 1
	for _, sheet := range columns.Pack(out.rows[:last], w.view) {
		outputs := sheet.Outputs()
		outputs.Continued = true
		w.stream.send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Result{
			Result: &meshloomv1.WorkResult{Sequence: w.sequence, Outputs: outputs},
		}})
		sheet.Free()
	}
	out.rows[0] = out.rows[last]
	out.rows = out.rows[:1]
	out.bytes = out.rows[0].Size()
	return nil
}
