package meshloom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
)

const (
	windowBytes  = 8 << 20
	keepaliveMin = 5 * time.Second // the coordinator pings every 20 s
	closeTimeout = time.Second     // for the last bytes of ended streams
)

// flushTimeout is for spans at the end; the coordinator kills after 5 s. Tests have more patience.
var flushTimeout = 2 * time.Second

// Main serves the nodes until SIGTERM or SIGINT, drains and exits: 0 after a drain, 69 when the address is taken, 78
// when the environment is wrong, 130 on a second signal, 1 for anything else. It does not return. Since the process is
// the node's, the garbage collector waits for at least 32 MiB, unless GOGC or GOMEMLIMIT is set.
func Main(nodes ...*Node) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitInterrupted)
	}()
	err := withHeapFloor(func() error { return Serve(ctx, nodes...) })
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "meshloom:", err)
	var start *startError
	if errors.As(err, &start) {
		os.Exit(start.code)
	}
	os.Exit(exitFailure)
}

// Serve listens where MESHLOOM_LISTEN says (`unix:/path`, `host:port`; default 127.0.0.1:7480) and serves the nodes
// until ctx is done; then it drains: health says NOT_SERVING, what is in hand is finished, set-ups are torn down.
// A TCP address that other machines can reach needs mutual TLS by MESHLOOM_TLS_CERT, _KEY and _CLIENT_CA, or
// MESHLOOM_INSECURE=1.
func Serve(ctx context.Context, nodes ...*Node) error {
	listener, at, err := listen(ctx, os.Getenv)
	if err != nil {
		return err
	}
	if at.network == "tcp" {
		announce(listener.Addr(), at.byHand, nodes)
	}
	return ServeListener(ctx, listener, nodes...)
}

// announce tells a person who started the node by hand what it is and how to use it.
func announce(at net.Addr, byHand bool, nodes []*Node) {
	names := make([]string, len(nodes))
	for i, node := range nodes {
		names[i] = node.name
	}
	how := ""
	if byHand {
		how = fmt.Sprintf("; use it with `connect: %s` in a pipeline file or `meshloom run --attach`", at)
	}
	fmt.Fprintf(os.Stderr, "meshloom node %s (Go SDK %s) listens on %s%s\n", strings.Join(names, ", "), Version, at, how)
}

// ServeListener is [Serve] on a listener of the caller's, which it closes.
func ServeListener(ctx context.Context, listener net.Listener, nodes ...*Node) error {
	if err := checkNodes(nodes); err != nil {
		_ = listener.Close()
		return err
	}
	flush, err := telemetry.Setup(ctx)
	if err != nil {
		slog.Warn("the node runs without traces", slog.Any("error", err))
	}
	watchers, endWatchers := context.WithCancel(context.Background())
	defer endWatchers()
	streams := newStreamCounter(watchers)
	s := &nodeServer{nodes: nodes, streams: streams, drain: make(chan struct{})}
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(columns.MaxMessageBytes), grpc.MaxSendMsgSize(columns.MaxMessageBytes),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(2*windowBytes),
		grpc.ReadBufferSize(256<<10), grpc.WriteBufferSize(256<<10),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
		grpc.StreamInterceptor(streams.intercept),
	)
	meshloomv1.RegisterNodeServiceServer(server, s)
	readiness := health.NewServer()
	readiness.SetServingStatus(meshloomv1.NodeService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(server, readiness)
	reflection.Register(server) // v1 and v1alpha

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		readiness.Shutdown() // NOT_SERVING
		close(s.drain)
		streams.wait()
		endWatchers()
		stopServer(server)
		err = <-served
	}
	err = errors.Join(err, s.instances.stop())
	flushCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if e := flush(flushCtx); e != nil {
		slog.Warn("some traces could not be exported", slog.Any("error", e))
	}
	return err
}

func checkNodes(nodes []*Node) error {
	if len(nodes) == 0 {
		return startErrorf(exitConfig, "there is no node to serve: pass what meshloom.New returns")
	}
	seen := map[string]bool{}
	for _, node := range nodes {
		if seen[node.name] {
			return startErrorf(exitConfig, "two nodes of this process have the name %q", node.name)
		}
		seen[node.name] = true
	}
	return nil
}

// stopServer lets ended streams write their last bytes, then closes what is left, such as idle connections.
func stopServer(server *grpc.Server) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		server.GracefulStop()
	}()
	select {
	case <-stopped:
	case <-time.After(closeTimeout):
		server.Stop()
		<-stopped
	}
}

// streamCounter knows the running streams of the node's own service, which a drain waits for, and ends the others
// (health watches, reflection), which would keep the server up for ever.
type streamCounter struct {
	watchers context.Context

	mu      sync.Mutex
	running int
	ended   sync.Cond // running fell to 0
}

func newStreamCounter(watchers context.Context) *streamCounter {
	c := &streamCounter{watchers: watchers}
	c.ended.L = &c.mu
	return c
}

func (c *streamCounter) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running += n; c.running == 0 {
		c.ended.Broadcast()
	}
}

func (c *streamCounter) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.running > 0 {
		c.ended.Wait()
	}
}

func (c *streamCounter) intercept(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, "/"+meshloomv1.NodeService_ServiceDesc.ServiceName+"/") {
		c.add(1)
		defer c.add(-1)
		return handle(server, stream)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(c.watchers, cancel)()
	return handle(server, &watchStream{ServerStream: stream, ctx: ctx})
}

type watchStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns one that also ends with the drain.
func (s *watchStream) Context() context.Context { return s.ctx }
