package meshloom

import (
	"context"
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
