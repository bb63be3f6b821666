package meshloom

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// publishSoon is longer than anything in these tests takes.
const publishSoon = 60 * time.Second

func withinSoon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), publishSoon)
	t.Cleanup(cancel)
	return ctx
}

// ingress is a real server whose streams the test drives.
type ingress struct {
	meshloomv1.UnimplementedIngressServiceServer
	address string
	streams chan *ingressStream
	server  *grpc.Server
}

// ingressStream is one publisher's stream, as the test sees it.
type ingressStream struct {
	t        *testing.T
	open     *meshloomv1.OpenPublish
	requests chan *meshloomv1.PublishRequest
	tell     chan *meshloomv1.PublishResponse
	end      chan error
}

func startIngress(t *testing.T, address string) *ingress {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	i := &ingress{address: listener.Addr().String(), streams: make(chan *ingressStream, 10), server: grpc.NewServer()}
	meshloomv1.RegisterIngressServiceServer(i.server, i)
	go i.server.Serve(listener)
	t.Cleanup(i.server.Stop)
	return i
}

func (i *ingress) Publish(stream grpc.BidiStreamingServer[meshloomv1.PublishRequest, meshloomv1.PublishResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s := &ingressStream{
		open: first.GetOpen(), requests: make(chan *meshloomv1.PublishRequest, 100),
		tell: make(chan *meshloomv1.PublishResponse, 100), end: make(chan error, 1),
	}
	s.tell <- &meshloomv1.PublishResponse{Response: &meshloomv1.PublishResponse_Opened{Opened: &meshloomv1.OpenedPublish{Protocol: 1}}}
	i.streams <- s
	go func() {
		for {
			request, err := stream.Recv()
			if err != nil {
				return
			}
			s.requests <- request
		}
	}()
	for {
		select {
		case response := <-s.tell:
			if err := stream.Send(response); err != nil {
				return err
			}
		case err := <-s.end:
			return err
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (i *ingress) stream(t *testing.T) *ingressStream {
	t.Helper()
	select {
	case s := <-i.streams:
		s.t = t
		return s
	case <-time.After(publishSoon):
		t.Fatal("no stream was opened")
		return nil
	}
}

func (s *ingressStream) credit(events, bytes uint64) {
	s.tell <- &meshloomv1.PublishResponse{Response: &meshloomv1.PublishResponse_Credit{Credit: &meshloomv1.PublishCredit{Events: events, Bytes: bytes}}}
}

func (s *ingressStream) acknowledge(sequence uint64) {
	s.tell <- &meshloomv1.PublishResponse{Response: &meshloomv1.PublishResponse_Acknowledged{Acknowledged: &meshloomv1.Acknowledged{Sequence: sequence}}}
}

// publication returns the next publication: its sequence and the ids in it.
func (s *ingressStream) publication() (uint64, []string) {
	s.t.Helper()
	select {
	case request := <-s.requests:
		publication := request.GetPublication()
		column := publication.GetBatch().GetId()
		var texts, ids []string
		start := uint32(0)
		for ends := column.GetValues().GetEnds(); len(ends) > 0; ends = ends[4:] {
			end := binary.LittleEndian.Uint32(ends)
			texts = append(texts, string(column.GetValues().GetData()[start:end]))
			start = end
		}
		ids = texts
		if index := column.GetIndex(); len(index) > 0 {
			ids = nil
			for ; len(index) > 0; index = index[4:] {
				ids = append(ids, texts[binary.LittleEndian.Uint32(index)])
			}
		}
		if len(ids) != int(publication.GetBatch().GetCount()) {
			s.t.Fatalf("%d ids for %d events", len(ids), publication.GetBatch().GetCount())
		}
		return publication.GetSequence(), ids
	case <-time.After(publishSoon):
		s.t.Fatal("no publication came")
		return 0, nil
	}
}

func startPublisher(t *testing.T, address string, options PublisherOptions) *Publisher {
	t.Helper()
	p, err := NewPublisher(address, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Close(ended)
	})
	return p
}

func mustPublish(t *testing.T, p *Publisher, event Record) *Acknowledgement {
	t.Helper()
	ack, err := p.Publish(withinSoon(t), event)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func mustWait(t *testing.T, acks ...*Acknowledgement) {
	t.Helper()
	for _, ack := range acks {
		if err := ack.Wait(withinSoon(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantReason(t *testing.T, err error, reason, words string) {
	t.Helper()
	var refused *PublishError
	if !errors.As(err, &refused) || refused.Reason != reason || !strings.Contains(refused.Message, words) {
		t.Fatalf("got %v, want %s: ... %s ...", err, reason, words)
	}
}

func TestAcknowledgementsMayComeInAnyOrder(t *testing.T) {
	i := startIngress(t, "127.0.0.1:0")
	p := startPublisher(t, i.address, PublisherOptions{Pipeline: "p", Node: "n"})
	s := i.stream(t)
	if s.open.GetPipeline() != "p" || s.open.GetNode() != "n" || s.open.GetProtocol().GetMax() != 1 {
		t.Fatalf("opened with %v", s.open)
	}
	s.credit(10, 1000)
	first := mustPublish(t, p, Record{Data: 1, ID: "a", Key: "k", Extensions: map[string]any{"site": "north"}})
	one, ids := s.publication()
	if !slices.Equal(ids, []string{"a"}) {
		t.Fatal(ids)
	}
	second := mustPublish(t, p, Record{Data: []byte("two")})
	two, ids := s.publication()
	if id, err := uuid.Parse(ids[0]); err != nil || id.Version() != 7 || second.ID() != ids[0] {
		t.Fatal(ids, err)
	}
	s.acknowledge(two)
	mustWait(t, second)
	select {
	case <-first.Done():
		t.Fatal("acknowledged before its time")
	default:
	}
	s.acknowledge(one)
	mustWait(t, first)
	if err := p.Close(withinSoon(t)); err != nil {
		t.Fatal(err)
	}
}

func TestABatchIsWhatTheCreditAdmits(t *testing.T) {
	i := startIngress(t, "127.0.0.1:0")
	p := startPublisher(t, i.address, PublisherOptions{})
	for range 5 {
		mustPublish(t, p, Record{Data: make([]byte, 10)})
	}
	s := i.stream(t)
	select {
	case request := <-s.requests:
		t.Fatalf("without credit: %v", request)
	case <-time.After(200 * time.Millisecond):
	}
	for _, c := range []struct {
		events, bytes uint64
		want          int
	}{{10, 20, 2}, {10, 1, 1}, {10, 1000, 2}} { // any credit admits one event, whatever its size
		s.credit(c.events, c.bytes)
		sequence, ids := s.publication()
		if len(ids) != c.want {
			t.Fatalf("%d events with credit for %d and %d bytes", len(ids), c.events, c.bytes)
		}
		s.acknowledge(sequence)
	}
	if err := p.Flush(withinSoon(t)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasNotAcknowledgedIsSentAgainWithTheSameIDs(t *testing.T) {
	i := startIngress(t, "127.0.0.1:0")
	p := startPublisher(t, i.address, PublisherOptions{})
	var acks []*Acknowledgement
	for n := range 3 {
		acks = append(acks, mustPublish(t, p, Record{Data: n}))
	}
	s := i.stream(t)
	s.credit(2, 1000)
	_, ids := s.publication()
	s.end <- status.Error(codes.Unavailable, "the pipeline is stopping")
	s = i.stream(t)
	s.credit(2, 1000)
	if _, again := s.publication(); len(ids) != 2 || !slices.Equal(again, ids) {
		t.Fatal(ids, again)
	}
	i.server.Stop() // cuts the connection
	i = startIngress(t, i.address)
	s = i.stream(t)
	s.credit(3, 1000)
	sequence, again := s.publication()
	if len(again) != 3 || !slices.Equal(again[:2], ids) {
		t.Fatal(ids, again)
	}
	s.acknowledge(sequence)
	mustWait(t, acks...)
}

func TestARefusedEventFailsAlone(t *testing.T) {
	i := startIngress(t, "127.0.0.1:0")
	p := startPublisher(t, i.address, PublisherOptions{})
	var acks []*Acknowledgement
	for _, id := range []string{"0", "1", "2"} {
		acks = append(acks, mustPublish(t, p, Record{Data: 1, ID: id}))
	}
	s := i.stream(t)
	s.credit(6, 1000)
	sequence, _ := s.publication()
	failure := &meshloomv1.EventFailure{Index: 1, Reason: "EVENT_TOO_LARGE", Message: "raise it at the source"}
	s.tell <- &meshloomv1.PublishResponse{Response: &meshloomv1.PublishResponse_Refused{Refused: &meshloomv1.Refused{
		Sequence: sequence, Failures: []*meshloomv1.EventFailure{failure},
	}}}
	wantReason(t, acks[1].Wait(withinSoon(t)), "EVENT_TOO_LARGE", "raise it at the source")
	sequence, ids := s.publication()
	if !slices.Equal(ids, []string{"0", "2"}) {
		t.Fatal(ids)
	}
	s.acknowledge(sequence)
	mustWait(t, acks[0], acks[2])
}

func TestCloseSaysWhatWasNotAcknowledged(t *testing.T) {
	i := startIngress(t, "127.0.0.1:0")
	p := startPublisher(t, i.address, PublisherOptions{})
	first := mustPublish(t, p, Record{Data: 1, ID: "e1"})
	mustPublish(t, p, Record{Data: 2, ID: "e2"})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := p.Close(ctx)
	var open *UnacknowledgedError
	if !errors.As(err, &open) || !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(open.IDs, []string{"e1", "e2"}) {
		t.Fatal(err)
	}
	if !strings.Contains(err.Error(), "2 events were not acknowledged in time") {
		t.Fatal(err)
	}
	wantReason(t, first.Wait(withinSoon(t)), "CLOSED", "publish it again with the same id")
	_, err = p.Publish(withinSoon(t), Record{Data: 3})
	wantReason(t, err, "CLOSED", "the publisher is closed")
}

func TestAPublisherThatIsRefusedSaysWhyAndStops(t *testing.T) {
	i := startIngress(t, "127.0.0.1:0")
	p := startPublisher(t, i.address, PublisherOptions{Node: "other"})
	ack := mustPublish(t, p, Record{Data: 1})
	i.stream(t).end <- status.Error(codes.NotFound, "there is no node `other` here")
	words := "refused this publisher: there is no node `other` here"
	wantReason(t, ack.Wait(withinSoon(t)), "REJECTED", words)
	_, err := p.Publish(withinSoon(t), Record{Data: 2})
	wantReason(t, err, "REJECTED", words)
	wantReason(t, p.Flush(withinSoon(t)), "REJECTED", words)
}

func TestAFullQueueBlocksUntilSomethingIsAcknowledged(t *testing.T) {
	i := startIngress(t, "127.0.0.1:0")
	p := startPublisher(t, i.address, PublisherOptions{QueueEvents: 2})
	first, second := mustPublish(t, p, Record{Data: 1}), mustPublish(t, p, Record{Data: 2})
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Publish(short, Record{Data: 3}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	third := make(chan *Acknowledgement, 1)
	go func() {
		ack, err := p.Publish(context.Background(), Record{Data: 3})
		if err == nil {
			third <- ack
		}
	}()
	s := i.stream(t)
	s.credit(3, 1000)
	sequence, ids := s.publication()
	if len(ids) != 2 {
		t.Fatal(ids)
	}
	s.acknowledge(sequence)
	mustWait(t, first, second)
	sequence, _ = s.publication()
	s.acknowledge(sequence)
	select {
	case ack := <-third:
		mustWait(t, ack)
	case <-time.After(publishSoon):
		t.Fatal("Publish did not return")
	}
}

func TestASourceThatIsNotThereIsNamedAsTheCause(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	p := startPublisher(t, address, PublisherOptions{})
	mustPublish(t, p, Record{Data: 1})
	for deadline := time.Now().Add(publishSoon); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		err := p.Flush(ctx)
		cancel()
		if err != nil && strings.Contains(err.Error(), address) {
			return
		}
		if err == nil || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestWhatCannotBeSentIsRefusedAtOnce(t *testing.T) {
	for _, address := range []string{"", "localhost", ":7490", "host:port"} {
		if _, err := NewPublisher(address, PublisherOptions{}); err == nil || !strings.Contains(err.Error(), "write HOST:PORT") {
			t.Fatalf("%q: %v", address, err)
		}
	}
	i := startIngress(t, "127.0.0.1:0")
	p := startPublisher(t, i.address, PublisherOptions{})
	for _, c := range []struct {
		event Record
		words string
	}{
		{Record{Data: make(chan int)}, "cannot be encoded as JSON"},
		{Record{Data: 1, Checkpoint: 1}, "no checkpoints"},
		{Record{Data: make([]byte, 16<<20+1)}, "the limit is"},
		{Record{Data: 1, Key: strings.Repeat("k", 1025)}, "the key has 1025 bytes"},
	} {
		_, err := p.Publish(withinSoon(t), c.event)
		wantReason(t, err, "INVALID", c.words)
	}
	if err := p.Close(withinSoon(t)); err != nil {
		t.Fatal(err)
	}
}
