package meshloom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
)

const (
	progressEvery = time.Second
	flushEvery    = 25 * time.Millisecond // how long answers wait for slower events of their work
	progressCalls = 256
)

// processStream serves one Process stream: it reads works, runs them side by side and writes their results.
type processStream struct {
	stream   grpc.BidiStreamingServer[meshloomv1.ProcessRequest, meshloomv1.ProcessResponse]
	node     *Node
	body     *body
	replica  Replica
	ordering meshloomv1.Ordering
	tracer   *telemetry.Tracer
	base     context.Context // parent of every work's context
	slots    chan struct{}   // one per running call
	streams  *streamCounter

	sendMu sync.Mutex // a gRPC stream takes one sender at a time
	over   bool       // the stream has ended, nothing is sent any more

	mu       sync.Mutex
	works    map[uint64]*work
	draining bool // no further work is taken
	running  sync.WaitGroup
}

// serve runs the stream until the coordinator half-closes it, it breaks, or the node drains.
func (s *processStream) serve(drain <-chan struct{}) error {
	s.works = map[uint64]*work{}
	s.base = telemetry.Unsampled(s.stream.Context())
	read := make(chan error, 1)
	go func() { read <- s.read() }()
	stop, ticked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ticked)
		s.tick(stop)
	}()
	defer func() {
		close(stop)
		<-ticked
		s.end()
	}()

	var err error
	select {
	case err = <-read:
	case <-drain:
	}
	s.mu.Lock()
	s.draining = true
	if err != nil {
		for _, w := range s.works {
			w.cancel(err)
		}
	}
	s.mu.Unlock()
	if err != nil { // nobody waits for answers, but the process for the calls that still run
		s.streams.add(1)
		go func() {
			defer s.streams.add(-1)
			s.running.Wait()
		}()
		return err
	}
	s.running.Wait()
	return nil
}

// end keeps calls that outlive the stream from sending on it.
func (s *processStream) end() {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.over = true
}

// acquire waits for room for one more call; it reports false when the work was taken back instead.
func (s *processStream) acquire(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// free gives back what acquire has taken.
func (s *processStream) free() { <-s.slots }

// read takes requests until the stream ends; half-close is no error.
func (s *processStream) read() error {
	for {
		request, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch r := request.GetRequest().(type) {
		case *meshloomv1.ProcessRequest_Work:
			if err := s.take(r.Work); err != nil {
				return err
			}
		case *meshloomv1.ProcessRequest_Cancel:
			s.mu.Lock()
			w := s.works[r.Cancel.GetSequence()]
			s.mu.Unlock()
			if w != nil {
				go w.takeBack(r.Cancel.GetReason())
			}
		case *meshloomv1.ProcessRequest_Open:
			return protocolViolation("open came twice: it is the first request of a stream, once")
		default: // a request of a later protocol: ignored, as unknown fields are
		}
	}
}

// take checks a work and starts it.
func (s *processStream) take(pb *meshloomv1.Work) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil // unread as far as the coordinator knows: the stream ends OK without an answer to it
	}
	if s.works[pb.GetSequence()] != nil {
		return protocolViolation("sequence %d is in hand already: a sequence is used once per stream", pb.GetSequence())
	}
	w, err := s.newWork(pb)
	if err != nil {
		// In a goroutine: a full send window must not keep Cancel and half-close from being read.
		s.running.Go(func() { s.refuse(pb.GetSequence(), err) })
		return nil
	}
	s.works[w.sequence] = w
	s.running.Go(w.run)
	return nil
}

// release takes a work off the books. It comes before its `last` is sent, since the coordinator may answer that with the
// next work at once.
func (s *processStream) release(w *work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.works, w.sequence)
}

// checkLimits holds a work against what Opened allowed. The caller holds mu.
func (s *processStream) checkLimits(batch *meshloomv1.Batch) error {
	limits := s.node.limitsMessage()
	if max := limits.GetMaxInFlightWorks(); len(s.works) >= int(max) {
		return &columns.Error{Reason: reasonLimits, Message: fmt.Sprintf("%d works are in hand, the node's limit", max)}
	}
	if max := limits.GetMaxBatchEvents(); max > 0 && batch.GetCount() > max {
		return &columns.Error{Reason: columns.TooLarge, Message: fmt.Sprintf("the batch has %d events, the node's limit is %d", batch.GetCount(), max)}
	}
	if max := limits.GetMaxBatchBytes(); max > 0 && proto.Size(batch) > int(max) {
		return &columns.Error{Reason: columns.TooLarge, Message: fmt.Sprintf("the batch has %d bytes, the node's limit is %d", proto.Size(batch), max)}
	}
	return nil
}

func (s *processStream) newWork(pb *meshloomv1.Work) (*work, error) {
	if err := s.checkLimits(pb.GetBatch()); err != nil {
		return nil, err
	}
	view, err := columns.Decode(pb.GetBatch())
	if err != nil {
		return nil, err
	}
	if !view.Identified() {
		return nil, &columns.Error{Reason: columns.Malformed, Message: "the batch has no uid column"}
	}
	attempts, err := columns.DecodeAttempts(pb.GetAttempts(), view.Count)
	if err != nil {
		return nil, err
	}
	w := &work{stream: s, sequence: pb.GetSequence(), view: view, attempts: attempts, lanes: lanesOf(view, s.ordering), started: time.Now()}
	if t := pb.GetTimeout(); t != nil {
		if err := t.CheckValid(); err != nil || t.AsDuration() <= 0 {
			return nil, &columns.Error{Reason: columns.Malformed, Message: "the timeout is no positive duration"}
		}
		w.timeout = t.AsDuration()
	}
	w.ctx, w.cancel = context.WithCancelCause(s.base)
	if s.body.batch == nil {
		w.employ()
	}
	if sampled := view.Sampled(); len(sampled) > 0 {
		w.spans = make(map[uint32]*meshloomv1.SpanContext, len(sampled))
		for _, span := range sampled {
			w.spans[span.Index] = span
		}
	}
	return w, nil
}

// refuse answers a malformed work; the stream goes on.
func (s *processStream) refuse(sequence uint64, err error) {
	reason, message := columns.Malformed, err.Error()
	var broken *columns.Error
	if errors.As(err, &broken) {
		reason, message = broken.Reason, broken.Message
	}
	s.send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Result{Result: &meshloomv1.WorkResult{
		Sequence: sequence, Last: true, Failures: []*meshloomv1.EventFailure{retryOf(columns.None, reason, message)},
	}}})
}

// send writes one response. An error means that the stream has broken, which the reader sees and ends the stream for.
func (s *processStream) send(response *meshloomv1.ProcessResponse) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if !s.over {
		_ = s.stream.Send(response)
	}
}

// tick sends answers that wait for slower events, and Progress once a second while work is in hand.
func (s *processStream) tick(stop <-chan struct{}) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	reported := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			// Not the ticker's time: on a busy machine that lies before the start of calls that run by now.
			now := time.Now()
			s.mu.Lock()
			works := make([]*work, 0, len(s.works))
			for _, w := range s.works {
				works = append(works, w)
			}
			s.mu.Unlock()
			if len(works) == 0 {
				reported = now
				continue
			}
			if now.Sub(reported) >= progressEvery {
				reported = now
				s.progress(works, now)
			}
			for _, w := range works {
				w.expire()
				if s.body.batch == nil && now.Sub(w.started) >= flushEvery {
					w.flush(false)
				}
			}
		}
	}
}

// progress reports the running calls, oldest first.
func (s *processStream) progress(works []*work, now time.Time) {
	var calls []*meshloomv1.HandlerCall
	for _, w := range works {
		calls = w.running(now, calls)
	}
	slices.SortFunc(calls, func(a, b *meshloomv1.HandlerCall) int {
		return cmp.Compare(b.GetAge().AsDuration(), a.GetAge().AsDuration())
	})
	s.send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Progress{
		Progress: &meshloomv1.Progress{Calls: calls[:min(len(calls), progressCalls)]},
	}})
}
