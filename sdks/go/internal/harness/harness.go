// Package harness serves nodes in-process and dials them as a coordinator does; for tests.
package harness

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Deadline bounds everything that a test waits for.
const Deadline = time.Minute

// Served is a node process in miniature.
type Served struct {
	Conn   *grpc.ClientConn
	Client meshloomv1.NodeServiceClient

	Patient bool // streams have no deadline

	cancel context.CancelFunc
	done   chan error
}

// Serve serves nodes in memory until the test ends. serve is meshloom.ServeListener with the nodes given.
func Serve(t testing.TB, serve func(context.Context, net.Listener) error) *Served {
	t.Helper()
	listener := bufconn.Listen(8 << 20)
	return serveOn(t, listener, "passthrough:///bufconn", serve, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return listener.DialContext(ctx)
	}))
}

// ServeUnix serves nodes on a Unix socket.
func ServeUnix(t testing.TB, path string, serve func(context.Context, net.Listener) error) *Served {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, listener, "unix:"+path, serve)
}

// Dial dials a node process; it waits until the process listens.
func Dial(t testing.TB, target string) *Served {
	t.Helper()
	conn, err := grpc.NewClient(target, dialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Served{Conn: conn, Client: meshloomv1.NewNodeServiceClient(conn)}
}

func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(columns.MaxMessageBytes), grpc.MaxCallSendMsgSize(columns.MaxMessageBytes)),
		grpc.WithInitialWindowSize(8 << 20), grpc.WithInitialConnWindowSize(16 << 20),
	}
}

func serveOn(t testing.TB, listener net.Listener, target string, serve func(context.Context, net.Listener) error, options ...grpc.DialOption) *Served {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Served{cancel: cancel, done: make(chan error, 1)}
	go func() { s.done <- serve(ctx, listener) }()
	conn, err := grpc.NewClient(target, append(options, dialOptions()...)...)
	if err != nil {
		t.Fatal(err)
	}
	s.Conn, s.Client = conn, meshloomv1.NewNodeServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		if err := s.Stop(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	return s
}

// Drain does what SIGTERM does, without waiting.
func (s *Served) Drain() { s.cancel() }

// Stop drains and waits for the end; it may be called again.
func (s *Served) Stop() error {
	s.cancel()
	err := <-s.done
	s.done <- err
	return err
}

// Range is the protocol range of this repository.
func Range() *meshloomv1.ProtocolRange { return &meshloomv1.ProtocolRange{Min: 1, Max: 1} }

// context is that of a stream; it ends with the test.
func (s *Served) context(t testing.TB) (ctx context.Context, cancel context.CancelFunc) {
	if s.Patient {
		ctx, cancel = context.WithCancel(context.Background())
	} else {
		ctx, cancel = context.WithTimeout(context.Background(), Deadline)
	}
	t.Cleanup(cancel)
	return ctx, cancel
}

// Process opens a Process stream; it fails the test when the node refuses.
func (s *Served) Process(t testing.TB, open *meshloomv1.OpenProcess) *Process {
	t.Helper()
	p, err := s.TryProcess(t, open)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return p
}

// TryProcess opens a Process stream and returns the node's refusal.
func (s *Served) TryProcess(t testing.TB, open *meshloomv1.OpenProcess) (*Process, error) {
	t.Helper()
	ctx, cancel := s.context(t)
	stream, err := s.Client.Process(ctx)
	if err != nil {
		return nil, err
	}
	if open.Protocol == nil {
		open.Protocol = Range()
	}
	if err := stream.Send(&meshloomv1.ProcessRequest{Request: &meshloomv1.ProcessRequest_Open{Open: open}}); err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if first.GetOpened() == nil {
		t.Fatalf("the first response is %v, want opened", first)
	}
	return &Process{Stream: stream, Opened: first.GetOpened(), cancel: cancel}, nil
}

// Process is a coordinator's end of a Process stream.
type Process struct {
	Stream   grpc.BidiStreamingClient[meshloomv1.ProcessRequest, meshloomv1.ProcessResponse]
	Opened   *meshloomv1.Opened
	Progress []*meshloomv1.Progress // what Collect and Next saw on the way
	cancel   context.CancelFunc
}

// Send sends a work.
func (p *Process) Send(t testing.TB, work *meshloomv1.Work) {
	t.Helper()
	if err := p.Stream.Send(&meshloomv1.ProcessRequest{Request: &meshloomv1.ProcessRequest_Work{Work: work}}); err != nil {
		t.Fatal(err)
	}
}

// Cancel takes a work back.
func (p *Process) Cancel(t testing.TB, sequence uint64) {
	t.Helper()
	if err := p.Stream.Send(&meshloomv1.ProcessRequest{Request: &meshloomv1.ProcessRequest_Cancel{Cancel: &meshloomv1.Cancel{Sequence: sequence, Reason: "the test asked"}}}); err != nil {
		t.Fatal(err)
	}
}

// Break ends the stream as a lost connection does.
func (p *Process) Break() { p.cancel() }

// Next returns the next result.
func (p *Process) Next(t testing.TB) *meshloomv1.WorkResult {
	t.Helper()
	for {
		response, err := p.Stream.Recv()
		if err != nil {
			t.Fatalf("waiting for a result: %v", err)
		}
		if response.GetProgress() != nil {
			p.Progress = append(p.Progress, response.GetProgress())
		}
		if result := response.GetResult(); result != nil {
			return result
		}
	}
}
