package harness

import (
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Produce is a coordinator's end of a Produce stream.
type Produce struct {
	Stream grpc.BidiStreamingClient[meshloomv1.ProduceRequest, meshloomv1.ProduceResponse]
}

// Produce opens a Produce stream; it fails the test when the node refuses.
func (s *Served) Produce(t testing.TB, open *meshloomv1.OpenProduce) *Produce {
	t.Helper()
	p, err := s.TryProduce(t, open)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return p
}

// TryProduce opens a Produce stream and returns the node's refusal.
func (s *Served) TryProduce(t testing.TB, open *meshloomv1.OpenProduce) (*Produce, error) {
	t.Helper()
	ctx, _ := s.context(t)
	stream, err := s.Client.Produce(ctx)
	if err != nil {
		return nil, err
	}
	if open.Protocol == nil {
		open.Protocol = Range()
	}
	p := &Produce{Stream: stream}
	p.send(t, &meshloomv1.ProduceRequest{Request: &meshloomv1.ProduceRequest_Open{Open: open}})
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if first.GetOpened() == nil {
		t.Fatalf("the first response is %v, want opened", first)
	}
	return p, nil
}

func (p *Produce) send(t testing.TB, request *meshloomv1.ProduceRequest) {
	t.Helper()
	if err := p.Stream.Send(request); err != nil {
		t.Fatal(err)
	}
}

// Demand gives credit.
func (p *Produce) Demand(t testing.TB, events, bytes uint64) {
	t.Helper()
	p.send(t, &meshloomv1.ProduceRequest{Request: &meshloomv1.ProduceRequest_Demand{Demand: &meshloomv1.Demand{Events: events, Bytes: bytes}}})
}

// Settled says that a frame has settled.
func (p *Produce) Settled(t testing.TB, frame *meshloomv1.Produced) {
	t.Helper()
	p.send(t, &meshloomv1.ProduceRequest{Request: &meshloomv1.ProduceRequest_Settled{Settled: &meshloomv1.Settled{Sequence: frame.GetSequence(), Checkpoint: frame.Checkpoint}}})
}

// Stop asks the source to stop.
func (p *Produce) Stop(t testing.TB) {
	t.Helper()
	p.send(t, &meshloomv1.ProduceRequest{Request: &meshloomv1.ProduceRequest_Stop{Stop: &meshloomv1.Stop{}}})
}

// Next returns the next frame, or nil when the source is exhausted or the stream has ended OK.
func (p *Produce) Next(t testing.TB) (frame *meshloomv1.Produced, exhausted bool) {
	t.Helper()
	response, err := p.Stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, false
	}
	if err != nil {
		t.Fatalf("waiting for a frame: %v", err)
	}
	return response.GetProduced(), response.GetExhausted() != nil
}
