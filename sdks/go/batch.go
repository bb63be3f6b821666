package meshloom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Batch is what a batch handler is called with: 1 to 65,536 events in columns.
type Batch struct {
	view     *columns.View
	attempts columns.Attempts
}

// Len returns the number of rows.
func (b *Batch) Len() int { return b.view.Count }

// Event returns row i. It panics when i is not a row, as an index of a slice does.
func (b *Batch) Event(i int) Event {
	if i < 0 || i >= b.view.Count {
		panic(fmt.Sprintf("meshloom: row %d of a batch of %d", i, b.view.Count))
	}
	return Event{view: b.view, index: i, attempt: b.attempts.At(i)}
}

// All yields every row with its index.
func (b *Batch) All() iter.Seq2[int, Event] {
	return func(yield func(int, Event) bool) {
		for i := range b.view.Count {
			if !yield(i, b.Event(i)) {
				return
			}
		}
	}
}

// Data returns the payload of row i, a part of the received buffer: do not change it.
func (b *Batch) Data(i int) []byte { return b.Event(i).Data() }

// JSON decodes the payload of row i into v; what does not fit gives an error for [Emitter.Reject] or [Emitter.Fail].
func (b *Batch) JSON(i int, v any) error { return decodeJSON(b.Event(i).Data(), v) }

// Rows yields the rows of a batch with their payloads decoded from JSON. A row whose payload does not fit is rejected on the way,
// with the field named, and not yielded.
func Rows[T any](batch *Batch, out *Emitter) iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		for i := range batch.Len() {
			var row T
			if err := batch.JSON(i, &row); err != nil {
				out.Fail(i, err)
			} else if !yield(i, row) {
				return
			}
		}
	}
}

// Attempt returns which attempt at this node this is for row i, from 1.
func (b *Batch) Attempt(i int) int { return b.Event(i).Attempt() }

// Emitter takes what becomes of the rows of a batch. Rows may be named in any order and a row may have several outputs;
// a row that already has a verdict may not be named again. It is not safe for concurrent use.
type Emitter struct {
	ctx      context.Context // of the call
	arena    arena
	rows     []columns.Row
	failures map[int]*meshloomv1.EventFailure
	state    []rowState
	dropped  int
	whole    bool
	misuse   error
}

type rowState uint8

const (
	rowOpen     rowState = iota
	rowAnswered          // has outputs
	rowDropped
	rowFailed
)

func newEmitter(ctx context.Context, view *columns.View, routes []string) *Emitter {
	return &Emitter{ctx: ctx, arena: arena{routes: routes, inputs: view, keeps: true}, state: make([]rowState, view.Count), failures: map[int]*meshloomv1.EventFailure{}}
}

// take marks row i; it reports false, and remembers why, when the row may not be named.
func (e *Emitter) take(i int, as rowState) bool {
	switch {
	case e.misuse != nil:
	case i < 0 || i >= len(e.state):
		e.misuse = fmt.Errorf("the handler named row %d of a batch of %d", i, len(e.state))
	case e.state[i] == rowOpen || (e.state[i] == rowAnswered && as == rowAnswered):
		e.state[i] = as
		return true
	default:
		e.misuse = fmt.Errorf("the handler named row %d twice: a row has outputs or one verdict", i)
	}
	return false
}

// Emit adds an output of row i; see [Map] for what a result may be. One that cannot be encoded rejects the row.
func (e *Emitter) Emit(i int, result any) {
	if !e.take(i, rowAnswered) {
		return
	}
	e.rows = append(e.rows, columns.Row{Parent: uint32(i)})
	if err := e.arena.fill(&e.rows[len(e.rows)-1], result); err != nil {
		e.fail(i, failureOf(e.ctx, uint32(i), err)) // which takes the row with it
	}
}

// Pass lets row i pass unchanged.
func (e *Emitter) Pass(i int) {
	if e.take(i, rowAnswered) {
		e.rows = append(e.rows, columns.Row{Parent: uint32(i), Pass: true})
	}
}

// Whole adds an output of the whole batch. Rows that nothing names then end with it.
func (e *Emitter) Whole(result any) error {
	row := columns.Row{Parent: columns.None}
	if err := e.arena.fill(&row, result); err != nil {
		return err
	}
	e.whole = true
	e.rows = append(e.rows, row)
	return nil
}

// Drop ends row i on purpose, without output.
func (e *Emitter) Drop(i int) {
	if e.take(i, rowDropped) {
		e.dropped++
	}
}

// Reject makes row i a dead letter; see the function [Reject].
func (e *Emitter) Reject(i int, reason string, cause error) { e.Fail(i, Reject(reason, cause)) }

// Retry asks for another attempt at row i; see the function [Retry].
func (e *Emitter) Retry(i int, cause error) { e.Fail(i, Retry(cause)) }

// RetryAfter asks for another attempt at row i, not before after has passed; see the function [RetryAfter].
func (e *Emitter) RetryAfter(i int, after time.Duration, cause error) {
	e.Fail(i, RetryAfter(after, cause))
}

// Fail gives row i the verdict that err has when a handler of single events returns it: [Drop], a rejection, or a retry.
func (e *Emitter) Fail(i int, err error) {
	if errors.Is(err, Drop) {
		e.Drop(i)
		return
	}
	if err == nil {
		err = errors.New("the handler failed the row without an error")
	}
	if e.take(i, rowFailed) {
		e.failures[i] = failureOf(e.ctx, uint32(i), err)
	}
}

// finish closes the books after the handler has returned and returns the failures in order of rows. With lanes, the
// later events of a key are held after a retry.
func (e *Emitter) finish(lanes [][]int32) []*meshloomv1.EventFailure {
	for i, state := range e.state {
		switch {
		case state != rowOpen:
		case e.whole:
			e.state[i] = rowDropped
			e.dropped++
		default:
			e.fail(i, retryOf(uint32(i), reasonUnaccounted,
				"the batch handler did not say what becomes of this row: call Emit, Pass, Drop, Reject or Retry for every row, or Whole"))
		}
	}
	for _, lane := range lanes {
		e.hold(lane)
	}
	// Rows that failed after some of their outputs were added take these with them.
	e.rows = slices.DeleteFunc(e.rows, func(row columns.Row) bool {
		return row.Parent != columns.None && e.state[row.Parent] != rowAnswered
	})
	byParent := func(a, b columns.Row) int { return cmp.Compare(a.Parent, b.Parent) }
	if !slices.IsSortedFunc(e.rows, byParent) {
		slices.SortStableFunc(e.rows, byParent)
	}
	failures := make([]*meshloomv1.EventFailure, 0, len(e.failures))
	for _, index := range slices.Sorted(maps.Keys(e.failures)) {
		failures = append(failures, e.failures[index])
	}
	return failures
}

func (e *Emitter) fail(i int, failure *meshloomv1.EventFailure) {
	e.state[i] = rowFailed
	e.failures[i] = failure
}

// hold turns every event of a key behind one that is to be retried into KEY_HELD.
func (e *Emitter) hold(lane []int32) {
	held := false
	for _, row := range lane {
		i := int(row)
		switch failure := e.failures[i]; {
		case held:
			if e.state[i] == rowDropped {
				e.dropped--
			}
			e.fail(i, keyHeld(uint32(i)))
		case failure != nil && failure.Action != meshloomv1.FailureAction_FAILURE_ACTION_REJECT:
			held = true
		}
	}
}

func keyHeld(index uint32) *meshloomv1.EventFailure {
	return retryOf(index, reasonKeyHeld, "an earlier event of the same key is to be retried first")
}
