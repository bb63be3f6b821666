package meshloom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
)

// Replica says which running instance of a node this is.
type Replica struct {
	Pipeline string // name of the pipeline
	Node     string // name of the node in the pipeline file
	Index    int    // 0 to Of - 1
	Of       int    // number of replicas, at least 1
}

// Name returns NODE/INDEX.
func (r Replica) Name() string { return fmt.Sprintf("%s/%d", r.Node, r.Index) }

// scope is what the SDK knows about a call; found in the call's context.
type scope struct {
	replica Replica
	event   Event // no view: the call has no single event
}

type scopeKey struct{}

func scopeOf(ctx context.Context) *scope {
	if s, ok := ctx.Value(scopeKey{}).(*scope); ok {
		return s
	}
	return &scope{}
}

// EventFrom returns the event that a handler of single events was called with; the zero Event anywhere else.
func EventFrom(ctx context.Context) Event { return scopeOf(ctx).event }

// Attempt returns which attempt at this node this is, from 1. In a batch handler attempts differ from row to row, see
// [Batch.Attempt]; there it returns 0.
func Attempt(ctx context.Context) int { return scopeOf(ctx).event.attempt }

// ReplicaFrom returns which running instance of which node a handler, source or set-up was called in.
func ReplicaFrom(ctx context.Context) Replica { return scopeOf(ctx).replica }

// Logger returns the application's [slog.Default] with node, replica, uid and, when the event is traced, trace_id and
// span_id set.
func Logger(ctx context.Context) *slog.Logger {
	s := scopeOf(ctx)
	attributes := []any{slog.String("node", s.replica.Node), slog.String("replica", s.replica.Name())}
	if s.event.view != nil {
		attributes = append(attributes, slog.String("uid", s.event.UID().String()))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		attributes = append(attributes, slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return slog.Default().With(attributes...)
}

// errTakenBack is the cause of the cancellation of a work that the coordinator took back.
var errTakenBack = errors.New("meshloom: the coordinator took the work back")

// callContext is the context of one handler call. It is small, since every call has its own: what a handler may ask for is
// made when it asks; a span of the call goes into a context above it. Its deadline costs no timer until someone waits for it, which most handlers never do.
type callContext struct {
	worker *worker
	began  time.Duration // after the work's start
	armed  *armed        // guarded by the worker's mu
	index  uint32        // None: a batch call
}

// armed is what a call's context is once someone waits for its deadline.
type armed struct {
	context.Context
	cancel context.CancelFunc
}

// event returns the event of the call; the zero Event for a batch call.
func (c *callContext) event() Event {
	if c.index == columns.None {
		return Event{}
	}
	w, i := c.worker.work, int(c.index)
	return Event{view: w.view, index: i, attempt: w.attempts.At(i)}
}

// arm makes the context that Done and Err speak of. What a handler left running sees it cancelled once the call has
// returned.
func (c *callContext) arm() context.Context {
	deadline, ok := c.deadline()
	r := c.worker
	if !ok {
		return r.work.ctx
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.armed == nil {
		c.armed = &armed{}
		c.armed.Context, c.armed.cancel = context.WithDeadline(r.work.ctx, deadline)
		if !r.calling || r.index != c.index {
			c.armed.cancel()
		}
	}
	return c.armed
}

func (c *callContext) deadline() (time.Time, bool) {
	w := c.worker.work
	return w.started.Add(c.began + w.timeout), w.timeout > 0
}

// Deadline implements [context.Context].
func (c *callContext) Deadline() (time.Time, bool) {
	if deadline, ok := c.deadline(); ok {
		return deadline, true
	}
	return c.worker.work.ctx.Deadline()
}

// Done implements [context.Context].
func (c *callContext) Done() <-chan struct{} { return c.arm().Done() }

// Err implements [context.Context].
func (c *callContext) Err() error { return c.arm().Err() }

// Value implements [context.Context].
func (c *callContext) Value(key any) any {
	if _, ok := key.(scopeKey); ok {
		return &scope{replica: c.worker.work.stream.replica, event: c.event()}
	}
	return c.worker.work.ctx.Value(key)
}

// AfterFunc lets contexts derived from this one follow it without a goroutine.
func (c *callContext) AfterFunc(f func()) func() bool { return context.AfterFunc(c.arm(), f) }
