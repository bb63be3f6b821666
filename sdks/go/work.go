package meshloom

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// State of one input of a work. It moves from open to running to closed, or from either to closed when the work is
// taken back; whoever closes it answers for it.
const (
	inputOpen uint32 = iota
	inputRunning
	inputClosed
)

// work is one batch in hand: workers claim its inputs, answers are collected and sent in as few results as possible.
type work struct {
	stream   *processStream
	sequence uint64
	view     *columns.View
	attempts func(int) int
	timeout  time.Duration // of one call, 0: none
	lanes    [][]int32     // nil: any order; else inputs that must run one after the other
	spans    map[uint32]*meshloomv1.SpanContext
	started  time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc

	state    []atomic.Uint32 // per input
	next     atomic.Int64
	workers  []*worker
	workerMu sync.Mutex                 // guards workers and taken
	taken    []*meshloomv1.EventFailure // answers to inputs that were taken back

	// sendMu orders the results of this work; a call whose outputs are sent in pieces holds it until it ends.
	sendMu   sync.Mutex
	consumed uint32
}

// units returns how many pieces of work can be claimed.
func (w *work) units() int {
	if w.lanes != nil {
		return len(w.lanes)
	}
	return w.view.Count
}

// run handles the work to its end.
func (w *work) run() {
	if w.stream.body.batch != nil {
		w.runBatch()
		return
	}
	var running sync.WaitGroup
	units := int64(w.units())
	for range min(units, int64(cap(w.stream.slots))) {
		if w.next.Load() >= units {
			break
		}
		if !w.stream.acquire(w.ctx) {
			break
		}
		one := &worker{work: w}
		w.workerMu.Lock()
		w.workers = append(w.workers, one)
		w.workerMu.Unlock()
		running.Go(func() {
			defer func() { <-w.stream.slots }()
			one.run()
		})
	}
	running.Wait()
	var busy time.Duration
	for _, one := range w.workers {
		busy += one.busy
	}
	w.sendMu.Lock()
	defer w.sendMu.Unlock()
	rows, failures := w.collect()
	w.stream.release(w)
	w.send(rows, failures, &meshloomv1.WorkResult{Last: true, Consumed: w.consumed, Busy: durationpb.New(busy)})
}

// collect takes what the workers hold, sorted by input. The caller holds sendMu.
func (w *work) collect() ([]columns.Row, []*meshloomv1.EventFailure) {
	w.workerMu.Lock()
	workers, failures := w.workers, w.taken
	w.taken = nil
	w.workerMu.Unlock()
	var rows []columns.Row
	for _, one := range workers {
		one.mu.Lock()
		if rows == nil && len(one.rows) > 0 {
			rows = make([]columns.Row, 0, min(w.view.Count, len(workers)*len(one.rows)))
		}
		rows = append(rows, one.rows...)
		clear(one.rows)
		failures = append(failures, one.failures...)
		w.consumed += one.consumed
		one.rows, one.failures, one.consumed, one.bytes = one.rows[:0], nil, 0, 0
		one.mu.Unlock()
	}
	byParent := func(a, b columns.Row) int { return cmp.Compare(a.Parent, b.Parent) }
	if !slices.IsSortedFunc(rows, byParent) {
		slices.SortStableFunc(rows, byParent)
	}
	return rows, failures
}

// flush sends what has been answered so far. wait says whether to wait for a call that sends its outputs in pieces.
func (w *work) flush(wait bool) {
	if wait {
		w.sendMu.Lock()
	} else if !w.sendMu.TryLock() {
		return
	}
	defer w.sendMu.Unlock()
	rows, failures := w.collect()
	if len(rows) > 0 || len(failures) > 0 {
		w.send(rows, failures, nil)
	}
}

const failuresPerResult = 4096 // x 4 KiB of message stays far below the message limit

// send sends rows and failures in as many results as the limits ask for. The final one, if given, comes last. The caller
// holds sendMu.
func (w *work) send(rows []columns.Row, failures []*meshloomv1.EventFailure, final *meshloomv1.WorkResult) {
	for len(rows) > 0 || len(failures) > 0 || final != nil {
		result := &meshloomv1.WorkResult{}
		var named uint32 = columns.None
		if len(rows) > 0 {
			n := columns.Take(rows, w.view)
			result.Outputs = columns.EncodeOutputs(rows[:n], w.view)
			named = rows[n-1].Parent
			rows = rows[n:]
			result.Outputs.Continued = len(rows) > 0 && rows[0].Parent == named && named != columns.None
		}
		if result.Outputs == nil || !result.Outputs.Continued {
			n := min(len(failures), failuresPerResult)
			result.Failures, failures = failures[:n], failures[n:]
		}
		if final != nil && len(rows) == 0 && len(failures) == 0 {
			result.Last, result.Consumed, result.Busy = true, final.Consumed, final.Busy
			final = nil
		}
		result.Sequence = w.sequence
		w.stream.send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Result{Result: result}})
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
	now := time.Now()
	began := map[uint32]time.Time{}
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	for _, one := range w.workers {
		if index, at, ok := one.current(); ok {
			began[index] = at
		}
	}
	for i := range w.state {
		index := uint32(i)
		switch {
		case w.state[i].CompareAndSwap(inputOpen, inputClosed):
			w.taken = append(w.taken, cancelled(index, reason))
		case w.state[i].CompareAndSwap(inputRunning, inputClosed):
			if at, ok := began[index]; ok && w.overdue(now.Sub(at)) {
				w.taken = append(w.taken, w.timedOut(index))
			} else {
				w.taken = append(w.taken, cancelled(index, reason))
			}
		}
	}
}

func (w *work) overdue(age time.Duration) bool { return w.timeout > 0 && age >= w.timeout }

func (w *work) timedOut(index uint32) *meshloomv1.EventFailure {
	return retryOf(index, reasonTimeout, "the call took longer than the node's timeout of "+w.timeout.String())
}

func cancelled(index uint32, reason string) *meshloomv1.EventFailure {
	return retryOf(index, reasonCancelled, "the work was taken back: "+reason)
}

// running appends the calls that run, for Progress.
func (w *work) running(now time.Time, calls []*meshloomv1.HandlerCall) []*meshloomv1.HandlerCall {
	w.workerMu.Lock()
	defer w.workerMu.Unlock()
	for _, one := range w.workers {
		if index, at, ok := one.current(); ok {
			age := max(0, now.Sub(at)) // it may have begun just now
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
			if !ok || len(key) == 0 {
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
