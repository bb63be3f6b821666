package meshloom

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"

	"google.golang.org/grpc"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
)

// produceStream serves one Produce stream: it runs the source's iterator and frames what it yields by demand.
type produceStream struct {
	stream   grpc.BidiStreamingServer[meshloomv1.ProduceRequest, meshloomv1.ProduceResponse]
	run      producer
	ctx      context.Context // of the user's code, done on Stop
	cancel   context.CancelFunc
	producer *telemetry.Producer
	settler  *settler

	ids   identity // used by the iterator's goroutine alone
	arena arena

	mu       sync.Mutex
	room     sync.Cond // credit came or the stream stops
	events   uint64    // credit left
	bytes    uint64
	stopping bool
	broken   error // sending failed
	frame    frame
	sequence uint64
	last     []byte // the last checkpoint sent or resumed from, nil: none
}

func newProduceStream(stream grpc.BidiStreamingServer[meshloomv1.ProduceRequest, meshloomv1.ProduceResponse], source *sourceBody, run producer, volatile bool, replica Replica, from []byte, tracer *telemetry.Producer) *produceStream {
	p := &produceStream{stream: stream, run: run, producer: tracer, ids: newIdentity(from, volatile), last: from, arena: arena{keeps: true}}
	p.ctx, p.cancel = context.WithCancel(context.WithValue(stream.Context(), scopeKey{}, &scope{replica: replica}))
	p.settler = newSettler(p.ctx, source.settled)
	p.room.L = &p.mu
	return p
}

// serve runs the stream until Stop, half-close, drain or a failure. After Exhausted it stays for what is yet to settle.
func (p *produceStream) serve(drain <-chan struct{}) error {
	defer p.cancel()
	read, produced := make(chan error, 1), make(chan error, 1)
	go func() { read <- p.read() }()
	go func() { produced <- p.produce() }()

	var failed error
	running := true
	for ended := false; !ended; {
		select {
		case err := <-produced:
			running, failed, ended = false, err, err != nil
		case err := <-read:
			failed, ended = err, true
		case <-drain:
			ended = true
		}
	}
	p.stop()
	if running {
		if err := <-produced; failed == nil {
			failed = err
		}
	}
	p.settler.finish()
	return failed
}

// read takes requests until Stop, half-close or a broken stream.
func (p *produceStream) read() error {
	for {
		request, err := p.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch r := request.GetRequest().(type) {
		case *meshloomv1.ProduceRequest_Demand:
			p.mu.Lock()
			p.events = addCredit(p.events, r.Demand.GetEvents())
			p.bytes = addCredit(p.bytes, r.Demand.GetBytes())
			p.room.Broadcast()
			p.mu.Unlock()
		case *meshloomv1.ProduceRequest_Settled:
			p.settler.settle(r.Settled.GetSequence(), r.Settled.Checkpoint)
		case *meshloomv1.ProduceRequest_Stop:
			return nil
		case *meshloomv1.ProduceRequest_Open:
			return protocolViolation("open came twice: it is the first request of a stream, once")
		default: // a request of a later protocol: ignored, as unknown fields are
		}
	}
}

func addCredit(left, more uint64) uint64 {
	if left > math.MaxUint64-more {
		return math.MaxUint64
	}
	return left + more
}

func (p *produceStream) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Said before the iterator can notice, whose end would be taken for exhaustion otherwise.
	p.stopping = true
	p.cancel()
	p.flush()
	p.room.Broadcast()
}

// produce runs the iterator to its end, sends what is in hand and, if the source ended by itself, Exhausted.
func (p *produceStream) produce() error {
	var failed error
	err := contained(func() error {
		for record, err := range p.run(p.ctx) {
			if err == nil {
				err = p.take(&record)
			}
			if err != nil {
				failed = err
				break
			}
		}
		return nil
	})
	if failed == nil {
		failed = err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush()
	switch {
	case p.stopping: // whatever the iterator said about its end: it was asked to end
		return nil
	case p.broken != nil:
		return p.broken
	case failed != nil:
		return sourceStatus(failed)
	default:
		return p.stream.Send(&meshloomv1.ProduceResponse{Response: &meshloomv1.ProduceResponse_Exhausted{Exhausted: &meshloomv1.Exhausted{}}})
	}
}

// take puts a record into the frame, waiting for credit. It fails once the stream stops.
func (p *produceStream) take(record *Record) error {
	row, checkpoint, err := encodeRecord(&p.arena, record, &p.ids)
	if err != nil {
		return err
	}
	size := uint64(len(row.Payload))
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.stopping || p.broken != nil {
			return errStopped
		}
		// Any credit admits one event alone; a frame of several must fit into what is left.
		if p.events > 0 && p.bytes > 0 && (p.frame.empty() || size <= p.bytes) && p.frame.add(row, record, p.producer) {
			break
		}
		if !p.frame.empty() {
			p.flush()
			continue
		}
		p.room.Wait()
	}
	if checkpoint != nil {
		p.frame.checkpoint = checkpoint
	}
	p.events--
	p.bytes -= min(p.bytes, size)
	switch {
	case p.events == 0 || p.bytes == 0:
		p.flush()
	case len(p.frame.rows) == 1:
		p.frame.arm(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.flush()
		})
	}
	return nil
}

// flush sends the frame. The caller holds mu.
func (p *produceStream) flush() {
	if p.frame.empty() || p.broken != nil {
		return
	}
	if p.frame.checkpoint != nil {
		p.last = p.frame.checkpoint
	}
	p.sequence++
	p.settler.sent(p.sequence, p.frame.settled)
	p.broken = p.stream.Send(&meshloomv1.ProduceResponse{Response: &meshloomv1.ProduceResponse_Produced{Produced: &meshloomv1.Produced{
		Sequence: p.sequence, Batch: columns.EncodeBatch(p.frame.rows, p.frame.spans), Checkpoint: p.last,
	}}})
	p.frame.reset()
}
