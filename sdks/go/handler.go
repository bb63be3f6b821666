package meshloom

import (
	"context"
	"errors"
	"iter"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Handler is what a node does with its events: one of [MapHandler], [FilterHandler], [FlatMapHandler], [BatchHandler],
// [SinkHandler] and [SourceHandler].
type Handler interface {
	role() meshloomv1.HandlerRole
	body() body
}

// body is a handler of any kind. One of each, batch and source is set.
type body struct {
	each   func(ctx context.Context, event Event, out *emission) error
	batch  func(ctx context.Context, batch *Batch, out *Emitter) error
	many   bool // a call of each may emit more than once
	sinks  bool // an event without outputs has been delivered
	source *sourceBody
	stop   func() error // tear-down, may be nil
}

// emission takes the outputs of one call for one input.
type emission struct {
	arena  *arena
	index  uint32
	rows   []columns.Row
	bytes  int
	passed bool
	full   func() error // called when 1 MiB of outputs is held
}

const holdBytes = 1 << 20

// reset makes the emission ready for the next call.
func (e *emission) reset(index uint32) {
	e.index, e.passed, e.bytes, e.rows = index, false, 0, e.rows[:0]
	e.arena.reset()
}

// errStopped ends a flat_map whose outputs nobody wants any more.
var errStopped = errors.New("meshloom: the call was taken back")

func (e *emission) emit(result any) error {
	row := e.next()
	if err := e.arena.fill(row, result); err != nil {
		return e.undo(err)
	}
	return e.hold(row)
}

// emitBytes is emit for a []byte, without boxing it.
func (e *emission) emitBytes(result []byte) error {
	if result == nil {
		return errNoResult
	}
	row := e.next()
	if err := e.arena.fillBytes(row, result); err != nil {
		return e.undo(err)
	}
	return e.hold(row)
}

// next adds a row to be filled in; rows are large, so they are made where they stay.
func (e *emission) next() *columns.Row {
	e.rows = append(e.rows, columns.Row{Parent: e.index})
	return &e.rows[len(e.rows)-1]
}

// undo takes the row back that could not be filled in.
func (e *emission) undo(err error) error {
	e.rows = e.rows[:len(e.rows)-1]
	return err
}

func (e *emission) hold(row *columns.Row) error {
	if e.bytes += row.Size(); e.bytes >= holdBytes && len(e.rows) > 1 {
		return e.full()
	}
	return nil
}

// MapHandler answers every event with one output. Made by [Map].
type MapHandler struct{ b body }

func (MapHandler) role() meshloomv1.HandlerRole { return meshloomv1.HandlerRole_HANDLER_ROLE_MAP }
func (h MapHandler) body() body                 { return h.b }

// Map makes a handler that answers every event with one output: a value for encoding/json, a []byte, an [Event], or an
// [Out] of one of them. nil is no result and rejects the event; return [Drop] to end it here.
func Map[In, Result any](handle func(ctx context.Context, in In) (Result, error)) MapHandler {
	read := decoder[In]()
	emit := encoder[Result]()
	return MapHandler{body{each: func(ctx context.Context, event Event, out *emission) error {
		in, err := read(event)
		if err != nil {
			return err
		}
		result, err := handle(ctx, in)
		if err != nil {
			return err
		}
		return emit(out, result)
	}}}
}

// FilterHandler lets events pass unchanged or drops them. Made by [Filter].
type FilterHandler struct{ b body }

func (FilterHandler) role() meshloomv1.HandlerRole {
	return meshloomv1.HandlerRole_HANDLER_ROLE_FILTER
}
func (h FilterHandler) body() body { return h.b }

// Filter makes a handler that lets an event pass unchanged (true) or drops it (false).
func Filter[In any](keep func(ctx context.Context, in In) (bool, error)) FilterHandler {
	read := decoder[In]()
	return FilterHandler{body{each: func(ctx context.Context, event Event, out *emission) error {
		in, err := read(event)
		if err != nil {
			return err
		}
		pass, err := keep(ctx, in)
		if err != nil {
			return err
		}
		if !pass {
			return Drop
		}
		out.passed = true
		return nil
	}}}
}

// FlatMapHandler answers every event with any number of outputs. Made by [FlatMap].
type FlatMapHandler struct{ b body }

func (FlatMapHandler) role() meshloomv1.HandlerRole {
	return meshloomv1.HandlerRole_HANDLER_ROLE_FLAT_MAP
}
func (h FlatMapHandler) body() body { return h.b }

// FlatMap makes a handler that answers every event with the results that an iterator yields, none also; see [Map] for
// what a result may be. A nil iterator is nothing to iterate over and rejects the event. An error that is yielded ends the iteration and is the verdict on the event. Outputs are held
// until the iterator ends or 1 MiB is reached; those already sent before an error come again with the next attempt.
func FlatMap[In, Result any](handle func(ctx context.Context, in In) iter.Seq2[Result, error]) FlatMapHandler {
	read := decoder[In]()
	emit := encoder[Result]()
	return FlatMapHandler{body{many: true, each: func(ctx context.Context, event Event, out *emission) error {
		in, err := read(event)
		if err != nil {
			return err
		}
		results := handle(ctx, in)
		if results == nil {
			return errNotIterable
		}
		for result, err := range results {
			if err != nil {
				return err
			}
			if err := emit(out, result); err != nil {
				return err
			}
		}
		return nil
	}}}
}

// SinkHandler delivers events somewhere; there are no outputs. Made by [Sink].
type SinkHandler struct{ b body }

func (SinkHandler) role() meshloomv1.HandlerRole { return meshloomv1.HandlerRole_HANDLER_ROLE_SINK }
func (h SinkHandler) body() body                 { return h.b }

// Sink makes a handler that delivers every event; nil says that it has been delivered. Delivery is at least once with a
// stable [Event.UID]: key by it where each event must arrive once.
func Sink[In any](deliver func(ctx context.Context, in In) error) SinkHandler {
	read := decoder[In]()
	return SinkHandler{body{sinks: true, each: func(ctx context.Context, event Event, _ *emission) error {
		in, err := read(event)
		if err != nil {
			return err
		}
		return deliver(ctx, in)
	}}}
}

// BatchHandler handles whole batches at once. Made by [MapBatch].
type BatchHandler struct{ b body }

func (BatchHandler) role() meshloomv1.HandlerRole { return meshloomv1.HandlerRole_HANDLER_ROLE_BATCH }
func (h BatchHandler) body() body                 { return h.b }

// MapBatch makes a handler that is called with whole batches. It must say what becomes of every row: by an output, a
// drop, a rejection or a retry, or by an output of the whole batch. An error that it returns is the verdict on the whole
// batch, and everything emitted in that call is forgotten.
func MapBatch(handle func(ctx context.Context, batch *Batch, out *Emitter) error) BatchHandler {
	return BatchHandler{body{batch: handle}}
}

// OnStop returns the handler with a tear-down: it runs once, after the last stream of the handler has ended and before
// the process exits.
func OnStop[H HandlerKind](handler H, stop func() error) H {
	switch h := any(&handler).(type) {
	case *MapHandler:
		h.b.stop = stop
	case *FilterHandler:
		h.b.stop = stop
	case *FlatMapHandler:
		h.b.stop = stop
	case *BatchHandler:
		h.b.stop = stop
	case *SinkHandler:
		h.b.stop = stop
	case *SourceHandler:
		h.b.stop = stop
	}
	return handler
}

// HandlerKind is any concrete handler type, for functions that are generic over set-ups: a node's role must be known before
// its set-up has run.
type HandlerKind interface {
	MapHandler | FilterHandler | FlatMapHandler | BatchHandler | SinkHandler | SourceHandler
	Handler
}
