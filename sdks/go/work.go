package meshloom

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// work is one batch in hand: workers claim its inputs, answers are collected and sent in as few results as possible.
type work struct {
	stream   *processStream
	sequence uint64
	view     *columns.View
	attempts columns.Attempts
	timeout  time.Duration                      // of one call, 0: none
	lanes    [][]int32                          // nil: any order; else inputs that must run one after the other
	spans    map[uint32]*meshloomv1.SpanContext // of the sampled events, nil: none
	started  time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc

	workerMu sync.Mutex // guards what follows
	workers  []*worker
	active   int                        // workers that have not left
	called   int                        // workers that have been called in, the first one also
	taken    []*meshloomv1.EventFailure // answers to inputs that were taken back

	// sendMu orders the results of this work; a call whose outputs are sent in pieces holds it until it ends.
	sendMu   sync.Mutex
	consumed uint32
}

// employ sets up the first worker, which has claimed every unit.
func (w *work) employ() {
	units := w.view.Count
	if w.lanes != nil {
		units = len(w.lanes)
	}
	w.workers = []*worker{{work: w, units: span{0, units}}}
	w.active, w.called = 1, 1
}

func (w *work) age() time.Duration { return time.Since(w.started) }

// run handles the work; it goes on in other goroutines after run has returned.
func (w *work) run() {
	if w.stream.body.batch != nil {
		w.runBatch()
	} else {
		w.start()
	}
}

// finish answers for the rest and ends the work: no call runs any more.
func (w *work) finish() {
	defer w.cancel(nil)
	var busy time.Duration
	for _, one := range w.workers {
		busy += one.busy
	}
	w.sendMu.Lock()
	defer w.sendMu.Unlock()
	sheets, failures := w.collect()
	w.stream.release(w)
	w.send(sheets, failures, &meshloomv1.WorkResult{Last: true, Consumed: w.consumed, Busy: durationpb.New(busy)})
}

// collect takes what the workers hold. The caller holds sendMu.
func (w *work) collect() ([]*columns.Sheet, []*meshloomv1.EventFailure) {
	w.workerMu.Lock()
	workers, failures := w.workers, w.taken
	w.taken = nil
	w.workerMu.Unlock()
	var sheets []*columns.Sheet
	for _, one := range workers {
		one.mu.Lock()
		sheets = append(sheets, one.sheets...)
		failures = append(failures, one.failures...)
		w.consumed += one.consumed
		one.sheets, one.failures, one.consumed, one.bytes = nil, nil, 0, 0
		one.mu.Unlock()
	}
	return columns.Arrange(sheets, w.view), failures
}

// flush sends what has been answered so far. wait says whether to wait for a call that sends its outputs in pieces.
func (w *work) flush(wait bool) {
	if wait {
		w.sendMu.Lock()
	} else if !w.sendMu.TryLock() {
		return
	}
	defer w.sendMu.Unlock()
	sheets, failures := w.collect()
	if len(sheets) > 0 || len(failures) > 0 {
		w.send(sheets, failures, nil)
	}
}

const failuresPerResult = 4096 // x 4 KiB of message stays far below the message limit

// send sends sheets and failures in as many results as the limits ask for. The final one, if given, comes last. The caller
// holds sendMu.
func (w *work) send(sheets []*columns.Sheet, failures []*meshloomv1.EventFailure, final *meshloomv1.WorkResult) {
	for len(sheets) > 0 || len(failures) > 0 || final != nil {
		result := &meshloomv1.WorkResult{}
		var sheet *columns.Sheet
		if len(sheets) > 0 {
			sheet, sheets = sheets[0], sheets[1:]
			result.Outputs = sheet.Outputs()
			result.Outputs.Continued = len(sheets) > 0 && sheet.Continues(sheets[0])
		}
		if result.Outputs == nil || !result.Outputs.Continued {
			n := min(len(failures), failuresPerResult)
			result.Failures, failures = failures[:n], failures[n:]
		}
		if final != nil && len(sheets) == 0 && len(failures) == 0 {
			result.Last, result.Consumed, result.Busy = true, final.Consumed, final.Busy
			final = nil
		}
		result.Sequence = w.sequence
		w.stream.send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Result{Result: result}})
		if sheet != nil {
			sheet.Free()
		}
	}
}

// takeBack answers every open input RETRY and cancels the calls that run. The work's `last` follows once these have
// returned.
func (w *work) takeBack(reason string) {
	if w.stream.body.batch != nil {
		w.cancel(errTakenBack)
		return // runBatch answers for the whole batch
	}
	w.closeOpen(reason)
	w.cancel(errTakenBack) // only now: the work may end as soon as its context does, and every input must be closed by then
	w.flush(true)
}

func (w *work) closeOpen(reason string) {
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	for _, one := range w.workers {
		one.mu.Lock()
		if one.calling && one.answered == nil {
			one.answered = cancelled(one.index, reason)
			if w.overdue(w.age() - one.began) {
				one.answered = w.timedOut(one.index)
			}
			w.taken = append(w.taken, one.answered)
		}
		for _, i := range one.open() {
			w.taken = append(w.taken, cancelled(i, reason))
		}
		one.lane, one.units = nil, span{}
		one.mu.Unlock()
	}
	slices.SortFunc(w.taken, func(a, b *meshloomv1.EventFailure) int { return cmp.Compare(a.Index, b.Index) })
}

func (w *work) overdue(age time.Duration) bool { return w.timeout > 0 && age >= w.timeout }

func (w *work) timedOut(index uint32) *meshloomv1.EventFailure {
	return retryOf(index, reasonTimeout, "the call took longer than the node's timeout of "+w.timeout.String())
}

func cancelled(index uint32, reason string) *meshloomv1.EventFailure {
	return retryOf(index, reasonCancelled, "the work was taken back: "+reason)
}

// expire lets every worker look at the clock before its next call, and answers for calls that are over their time, however
// deaf they are to their context.
func (w *work) expire() {
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	for _, one := range w.workers {
		one.mu.Lock()
		one.clock.expire()
		// A batch call answers for its rows when it returns.
		if w.stream.body.batch == nil && one.calling && one.answered == nil && w.overdue(w.age()-one.began) {
			one.answered = w.timedOut(one.index)
			w.taken = append(w.taken, one.answered)
		}
		one.mu.Unlock()
	}
}

// withdraw takes back an answer; it reports false when it has been sent.
func (w *work) withdraw(answer *meshloomv1.EventFailure) bool {
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	at := slices.Index(w.taken, answer)
	if at < 0 {
		return false
	}
	w.taken = slices.Delete(w.taken, at, at+1)
	return true
}

// running appends the calls that run, for Progress.
func (w *work) running(now time.Time, calls []*meshloomv1.HandlerCall) []*meshloomv1.HandlerCall {
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	for _, one := range w.workers {
		if index, began, ok := one.current(); ok {
			age := max(0, now.Sub(w.started)-began) // it may have begun just now
			calls = append(calls, &meshloomv1.HandlerCall{Sequence: w.sequence, Index: index, Age: durationpb.New(age)})
		}
	}
	return calls
}

// lanesOf groups the inputs that must run one after the other.
func lanesOf(view *columns.View, ordering meshloomv1.Ordering) [][]int32 {
	switch ordering {
	case meshloomv1.Ordering_ORDERING_ALL:
		all := make([]int32, view.Count)
		for i := range all {
			all[i] = int32(i)
		}
		return [][]int32{all}
	case meshloomv1.Ordering_ORDERING_KEY:
		lanes := make([][]int32, 0, view.Count)
		byKey := map[string]int{}
		for i := range view.Count {
			key, ok := view.Key.Bytes(i)
			if !ok {
				lanes = append(lanes, []int32{int32(i)})
				continue
			}
			at, known := byKey[string(key)]
			if !known {
				at = len(lanes)
				byKey[string(key)] = at
				lanes = append(lanes, nil)
			}
			lanes[at] = append(lanes[at], int32(i))
		}
		return lanes
	default:
		return nil
	}
}
