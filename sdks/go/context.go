package meshloom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Replica says which running instance of a node this is.
type Replica struct {
	Pipeline string // name of the pipeline
	Node     string // name of the node in the pipeline file
	Index    int    // 0 to Of - 1
	Of       int    // number of replicas, at least 1
}

// Name returns NODE-INDEX.
func (r Replica) Name() string { return fmt.Sprintf("%s-%d", r.Node, r.Index) }

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

// callContext is the context of one handler call. Its deadline costs no timer until someone waits for it, which most
// handlers never do.
type callContext struct {
	context.Context // the work's context, with the call's span when the event is traced

	scope    scope
	deadline time.Time // zero: none

	mu     sync.Mutex
	armed  context.Context
	cancel context.CancelFunc
	ended  bool
}

// arm makes the context that Done and Err speak of.
func (c *callContext) arm() context.Context {
	if c.deadline.IsZero() {
		return c.Context
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed == nil {
		c.armed, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.armed
}

// end frees the timer once the call has returned; what the handler left running sees a cancelled context.
func (c *callContext) end() {
	if c.deadline.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}

// Deadline implements [context.Context].
func (c *callContext) Deadline() (time.Time, bool) {
	if c.deadline.IsZero() {
		return c.Context.Deadline()
	}
	return c.deadline, true
}

// Done implements [context.Context].
func (c *callContext) Done() <-chan struct{} { return c.arm().Done() }

// Err implements [context.Context].
func (c *callContext) Err() error { return c.arm().Err() }

// Value implements [context.Context].
func (c *callContext) Value(key any) any {
	if _, ok := key.(scopeKey); ok {
		return &c.scope
	}
	return c.Context.Value(key)
}

// AfterFunc lets contexts derived from this one follow it without a goroutine.
func (c *callContext) AfterFunc(f func()) func() bool { return context.AfterFunc(c.arm(), f) }
