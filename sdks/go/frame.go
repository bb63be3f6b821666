package meshloom

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
)

const (
	frameLinger = 5 * time.Millisecond // how long the first record of a frame waits for more
	frameEvents = 4096
	frameBytes  = 1 << 20
)

// frame gathers records that are sent together.
type frame struct {
	rows       []columns.Row
	chunk      columns.Chunk
	bytes      int
	spans      []*meshloomv1.SpanContext
	open       []trace.Span // ended when the frame is sent
	settled    []func(context.Context) error
	checkpoint []byte // the last one in the frame, nil: none
	timer      *time.Timer
}

func (f *frame) empty() bool { return len(f.rows) == 0 }

// add takes a record; it reports false when the frame must be sent first.
func (f *frame) add(row columns.Row, record *Record, producer *telemetry.Producer) bool {
	size := row.Size()
	if len(f.rows) > 0 && (len(f.rows) >= frameEvents || f.bytes+size > frameBytes) || !f.chunk.Add(&row, size) {
		return false
	}
	f.rows = append(f.rows, row)
	f.bytes += size
	if record.Settled != nil {
		f.settled = append(f.settled, record.Settled)
	}
	traceparent, _ := record.Extensions["traceparent"].(string)
	tracestate, _ := record.Extensions["tracestate"].(string)
	if wire, span := producer.Event(traceparent, tracestate); wire != nil {
		wire.Index = uint32(len(f.rows) - 1)
		f.spans = append(f.spans, wire)
		if span != nil {
			f.open = append(f.open, span)
		}
	}
	return true
}

// arm sends the frame when it has waited long enough.
func (f *frame) arm(send func()) {
	if f.timer == nil {
		f.timer = time.AfterFunc(frameLinger, send)
	} else {
		f.timer.Reset(frameLinger)
	}
}

// reset empties the frame after it was sent.
func (f *frame) reset() {
	if f.timer != nil {
		f.timer.Stop()
	}
	for _, span := range f.open {
		span.End()
	}
	clear(f.rows)
	*f = frame{rows: f.rows[:0], open: f.open[:0], timer: f.timer}
}

// settler tells the source what it may forget, in a goroutine of its own so that the stream is read on meanwhile.
type settler struct {
	ctx    context.Context
	commit func(context.Context, Checkpoint) error
	done   chan struct{}

	mu       sync.Mutex
	wake     sync.Cond
	waiting  map[uint64][]func(context.Context) error // of frames that have not settled
	ready    []func(context.Context) error
	upTo     []byte // newest checkpoint that was not committed yet, nil: none
	finished bool
}

func newSettler(ctx context.Context, commit func(context.Context, Checkpoint) error) *settler {
	s := &settler{ctx: context.WithoutCancel(ctx), commit: commit, waiting: map[uint64][]func(context.Context) error{}, done: make(chan struct{})}
	s.wake.L = &s.mu
	go s.run()
	return s
}

// sent remembers what to call when a frame settles.
func (s *settler) sent(sequence uint64, settled []func(context.Context) error) {
	if len(settled) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[sequence] = settled
}

func (s *settler) settle(sequence uint64, checkpoint []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = append(s.ready, s.waiting[sequence]...)
	delete(s.waiting, sequence)
	if checkpoint != nil && s.commit != nil {
		s.upTo = checkpoint
	}
	s.wake.Signal()
}

func (s *settler) run() {
	defer close(s.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.ready) == 0 && s.upTo == nil && !s.finished {
			s.wake.Wait()
		}
		if len(s.ready) == 0 && s.upTo == nil {
			return
		}
		ready, upTo := s.ready, s.upTo
		s.ready, s.upTo = nil, nil
		s.mu.Unlock()
		s.call(ready, upTo)
		s.mu.Lock()
	}
}

func (s *settler) call(ready []func(context.Context) error, upTo []byte) {
	for _, settled := range ready {
		if err := contained(func() error { return settled(s.ctx) }); err != nil {
			slog.Error("a Settled function failed", slog.Any("error", err))
		}
	}
	if upTo == nil {
		return
	}
	if err := contained(func() error { return s.commit(s.ctx, Checkpoint{upTo}) }); err != nil {
		slog.Error("the OnSettled function failed", slog.Any("error", err))
	}
}

// finish waits until everything that has settled so far was told.
func (s *settler) finish() {
	s.mu.Lock()
	s.finished = true
	s.wake.Signal()
	s.mu.Unlock()
	<-s.done
}
