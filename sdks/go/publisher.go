package meshloom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// PublisherOptions are the settings of a [Publisher]; the zero value has the defaults.
type PublisherOptions struct {
	Pipeline    string // the pipeline that is meant, so that no other takes the events by mistake
	Node        string // the source node that is meant
	QueueEvents int    // most events that are not acknowledged; default 16,384
	QueueBytes  int    // most payload bytes that are not acknowledged; default 16 MiB; a larger event goes alone
}

// Publisher publishes events to a source with `use: grpc`, and says when each is durable. It is safe for concurrent use.
//
// Events are gathered into batches for at most 5 ms and sent as the pipeline gives credit. When the connection breaks it
// is made again, and what was not acknowledged is sent again under the same ids, so that it is the same event to every
// sink that keys by uid. What is not acknowledged is held in memory, up to a bound at which Publish blocks.
type Publisher struct {
	address string
	open    *meshloomv1.OpenPublish
	options PublisherOptions
	cancel  context.CancelFunc
	done    chan struct{} // the worker has ended

	mu        sync.Mutex
	queue     publishQueue
	pending   map[uint64]*pending // by number
	bytes     uint64              // of pending
	number    uint64
	noMore    bool
	rejection *PublishError
	cause     error
	wake      chan struct{} // for the worker; holds one
	changed   chan struct{} // closed, and made anew, when something was acknowledged or the publisher ends
}

// NewPublisher returns a publisher to the source at HOST:PORT, its `listen`. It connects in the background, for as long as
// it takes.
func NewPublisher(address string, options PublisherOptions) (*Publisher, error) {
	host, port, err := net.SplitHostPort(address)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" {
		return nil, fmt.Errorf("%q is no address to publish to: write HOST:PORT, the `listen` of the source", address)
	}
	if options.QueueEvents <= 0 {
		options.QueueEvents = 16 << 10
	}
	if options.QueueBytes <= 0 {
		options.QueueBytes = 16 << 20
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Publisher{
		address: address,
		open: &meshloomv1.OpenPublish{
			Pipeline: options.Pipeline, Node: options.Node, Protocol: &meshloomv1.ProtocolRange{Min: 1, Max: 1},
		},
		options: options,
		cancel:  cancel,
		done:    make(chan struct{}),
		pending: map[uint64]*pending{},
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
	go p.run(ctx)
	return p, nil
}

// Publish queues an event and returns its acknowledgement. It blocks while the queue is full. An event without an ID gets a
// UUIDv7 before it is first sent. Data, if it is a []byte, is copied. The error is a *[PublishError] or the context's.
func (p *Publisher) Publish(ctx context.Context, event Record) (*Acknowledgement, error) {
	e, err := encodePublished(event)
	if err != nil {
		return nil, err
	}
	for {
		p.mu.Lock()
		switch {
		case p.rejection != nil:
			defer p.mu.Unlock()
			return nil, p.rejection
		case p.noMore:
			defer p.mu.Unlock()
			return nil, &PublishError{Reason: "CLOSED", Message: "the publisher is closed; make another"}
		case p.hasRoom(e.bytes()):
			defer p.mu.Unlock()
			p.number++
			e.number = p.number
			p.pending[e.number] = e
			p.bytes += e.bytes()
			p.queue.push(e, time.Now())
			p.wakeUp()
			return e.ack, nil
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func encodePublished(event Record) (*pending, error) {
	if event.Checkpoint != nil || event.Settled != nil {
		return nil, &PublishError{Reason: "INVALID", Message: "a publisher has no checkpoints: remove Checkpoint and Settled"}
	}
	if event.ID == "" {
		event.ID = uuid.Must(uuid.NewV7()).String()
	}
	if data, ok := event.Data.([]byte); ok {
		event.Data = bytes.Clone(data)
	}
	row, _, err := encodeRecord(&arena{}, &event, &identity{})
	if err != nil {
		return nil, &PublishError{Reason: "INVALID", Message: fmt.Sprintf("the event cannot be published: %v", err)}
	}
	return &pending{row: row, ack: &Acknowledgement{id: event.ID, done: make(chan struct{})}}, nil
}

func (p *Publisher) hasRoom(size uint64) bool {
	events := len(p.pending)
	return events == 0 || events < p.options.QueueEvents && p.bytes+size <= uint64(p.options.QueueBytes)
}

// Flush waits until nothing is unacknowledged. Its error is a *[PublishError] if the source has refused the publisher, an
// *[UnacknowledgedError] when ctx ends first.
func (p *Publisher) Flush(ctx context.Context) error {
	for {
		p.mu.Lock()
		changed, rejection, open := p.changed, p.rejection, len(p.pending)
		p.mu.Unlock()
		switch {
		case rejection != nil:
			return rejection
		case open == 0:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return p.unacknowledged(ctx.Err())
		}
	}
}

func (p *Publisher) unacknowledged(ctx error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := &UnacknowledgedError{Cause: p.cause, ctx: ctx}
	for _, number := range slices.Sorted(maps.Keys(p.pending)) {
		err.IDs = append(err.IDs, p.pending[number].ack.id)
	}
	return err
}

// Close takes no more events, waits as [Publisher.Flush] does, and ends the connection. What was not acknowledged by then
// is given up: the error names it, and its acknowledgements fail with CLOSED.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	p.noMore = true
	p.announce()
	p.mu.Unlock()
	err := p.Flush(ctx)
	p.cancel()
	<-p.done
	return err
}

// announce wakes whoever waits for room or acknowledgements. The caller holds mu.
func (p *Publisher) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Publisher) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake already
	}
}

// settle ends events, which nobody waits for any more. The caller holds mu. why: per event, nil: durable.
func (p *Publisher) settle(entries []*pending, why func(i int) error) {
	for i, e := range entries {
		delete(p.pending, e.number)
		p.bytes -= e.bytes()
		e.ack.err = why(i)
		close(e.ack.done)
	}
	p.announce()
}

// run makes one connection after the other until the publisher is closed or refused.
func (p *Publisher) run(ctx context.Context) {
	defer close(p.done)
	failures := 0
	for ctx.Err() == nil {
		opened, err := p.connect(ctx)
		p.mu.Lock()
		p.queue.disconnected(time.Now())
		p.cause = err
		if ctx.Err() == nil && fatal(err) {
			text := fmt.Sprintf("the source at %s refused this publisher: %s", p.address, status.Convert(err).Message())
			p.rejection = &PublishError{Reason: "REJECTED", Message: text}
			p.settle(p.queue.everything(), func(int) error { return p.rejection })
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		if opened {
			failures = 0
		}
		timer := time.NewTimer(backoff(failures))
		failures++
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	closed := &PublishError{Reason: "CLOSED", Message: "the publisher was closed before the event was acknowledged; publish it again with the same id"}
	p.settle(p.queue.everything(), func(int) error { return closed })
}

var errConnectionEnded = errors.New("the connection has ended")

// connect makes one connection and uses it to its end.
func (p *Publisher) connect(ctx context.Context) (opened bool, err error) {
	conn, err := grpc.NewClient("passthrough:///"+p.address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 20 * time.Second, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := meshloomv1.NewIngressServiceClient(conn).Publish(ctx)
	if err != nil {
		return false, err
	}
	// A failed Send says no more than that the stream has ended; Recv says why.
	_ = stream.Send(&meshloomv1.PublishRequest{Request: &meshloomv1.PublishRequest_Open{Open: p.open}})
	read := make(chan error, 1)
	go func() { read <- p.read(stream, &opened) }()
	for {
		p.mu.Lock()
		wait, ready := p.queue.wait(time.Now())
		var publication *meshloomv1.Publication
		if ready && wait == 0 {
			publication = p.queue.next(time.Now())
		}
		p.mu.Unlock()
		if publication != nil {
			_ = stream.Send(&meshloomv1.PublishRequest{Request: &meshloomv1.PublishRequest_Publication{Publication: publication}})
		}
		var due <-chan time.Time
		if publication != nil {
			wait = 0
		}
		if ready {
			due = time.After(wait)
		}
		select {
		case <-p.wake:
		case <-due:
		case err := <-read:
			return opened, err
		}
	}
}

// read takes what the source says until the stream ends.
func (p *Publisher) read(stream grpc.BidiStreamingClient[meshloomv1.PublishRequest, meshloomv1.PublishResponse], opened *bool) error {
	for {
		response, err := stream.Recv()
		if err != nil {
			if _, ok := status.FromError(err); !ok {
				return errConnectionEnded // io.EOF: in order
			}
			return err
		}
		p.mu.Lock()
		switch r := response.GetResponse().(type) {
		case *meshloomv1.PublishResponse_Opened:
			*opened, p.cause = true, nil
		case *meshloomv1.PublishResponse_Credit:
			p.queue.grant(r.Credit)
		case *meshloomv1.PublishResponse_Acknowledged:
			p.settle(p.queue.acknowledged(r.Acknowledged.GetSequence()), func(int) error { return nil })
		case *meshloomv1.PublishResponse_Refused:
			closed, why := p.queue.refused(r.Refused, time.Now())
			p.settle(closed, func(i int) error { return why[i] })
		default: // a kind of a later protocol
		}
		p.mu.Unlock()
		p.wakeUp()
	}
}

// fatal tells that another attempt would change nothing.
func fatal(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.Unimplemented, codes.PermissionDenied,
		codes.Unauthenticated, codes.ResourceExhausted, codes.OutOfRange:
		return true
	default:
		return false
	}
}

// backoff returns the wait before the next attempt: doubling from 100 ms to 30 s, with equal jitter.
func backoff(failures int) time.Duration {
	whole := min(30*time.Second, 100*time.Millisecond<<min(failures, 16))
	return whole/2 + rand.N(whole/2+1)
}
