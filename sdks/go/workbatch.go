package meshloom

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
)

// runBatch handles the work by one call of a batch handler.
func (w *work) runBatch() {
	defer w.cancel(nil)
	if w.stream.acquire(w.ctx) {
		defer w.stream.free()
	}
	call := &worker{work: w, calling: true, index: columns.None, began: w.age()}
	w.workerMu.Lock()
	w.workers = append(w.workers, call)
	w.workerMu.Unlock()

	ctx := &callContext{worker: call, index: columns.None, began: call.began}
	handed, spans := w.stream.tracer.Batch(ctx, w.view, w.attempts)
	out := newEmitter(ctx, w.view, w.stream.node.options.routes)
	var err error
	if context.Cause(w.ctx) == nil {
		err = callBatch(handed, w.stream.body, &Batch{view: w.view, attempts: w.attempts}, out)
	}
	age := w.age() - call.began
	final := &meshloomv1.WorkResult{Last: true, Busy: durationpb.New(age)}
	failed := w.wholeFailure(ctx, err, out, age)
	var failures []*meshloomv1.EventFailure
	if failed == nil {
		failures = out.finish(w.lanes)
		final.Consumed = uint32(out.dropped)
	} else {
		failures, out.rows = []*meshloomv1.EventFailure{failed}, nil
	}
	spans.End(func(index uint32) (string, *meshloomv1.EventFailure) { return batchVerdict(out, failed, int(index)) }, failed)
	call.mu.Lock()
	call.calling = false
	armed := ctx.armed
	call.mu.Unlock()
	if armed != nil {
		armed.cancel()
	}
	w.sendMu.Lock()
	defer w.sendMu.Unlock()
	w.stream.release(w)
	w.send(columns.Pack(out.rows, w.view), failures, final)
}

// wholeFailure returns the failure of the whole batch, nil when the rows have verdicts of their own.
func (w *work) wholeFailure(ctx context.Context, err error, out *Emitter, age time.Duration) *meshloomv1.EventFailure {
	switch {
	case w.overdue(age):
		return w.timedOut(columns.None)
	case context.Cause(w.ctx) != nil:
		return cancelled(columns.None, "the batch call was cancelled")
	case errors.Is(err, Drop):
		for i, state := range out.state {
			if state == rowOpen {
				out.Drop(i)
			}
		}
		return nil
	case err != nil:
		return failureOf(ctx, columns.None, err)
	case out.misuse != nil:
		return retryOf(columns.None, reasonMisuse, out.misuse.Error())
	default:
		return nil
	}
}

func callBatch(ctx context.Context, b *body, batch *Batch, out *Emitter) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = newPanicError(cause)
		}
	}()
	return b.batch(ctx, batch, out)
}

func batchVerdict(out *Emitter, failed *meshloomv1.EventFailure, i int) (string, *meshloomv1.EventFailure) {
	if failed == nil {
		failed = out.failures[i]
	}
	switch {
	case failed != nil:
		return telemetry.VerdictOf(failed), failed
	case out.state[i] == rowAnswered:
		return telemetry.Delivered, nil
	default:
		return telemetry.Consumed, nil
	}
}
