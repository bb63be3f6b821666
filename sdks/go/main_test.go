package meshloom_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// TestMain lets the test binary be a node process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("MESHLOOM_TEST_NODE") == "1" {
		meshloom.BePatient()
		meshloom.Main(meshloom.New("n", meshloom.Map(handleMap)))
	}
	os.Exit(m.Run())
}

// process starts the test binary as a node.
func process(t *testing.T, listen string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Deadline)
	t.Cleanup(cancel)
	node := exec.CommandContext(ctx, os.Args[0])
	node.Env = append(os.Environ(), "MESHLOOM_TEST_NODE=1", "MESHLOOM_LISTEN="+listen)
	said, err := node.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	return node, bufio.NewReader(said)
}

// reflectAlpha asks the old reflection service, which the protocol demands beside the new one.
//
//lint:file-ignore SA1019 the old service is deprecated, tools that speak it are not
func reflectAlpha(ctx context.Context, t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	alpha, err := grpc_reflection_v1alpha.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := alpha.Send(&grpc_reflection_v1alpha.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1alpha.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	if r, err := alpha.Recv(); err != nil || len(r.GetListServicesResponse().GetService()) < 3 {
		t.Errorf("reflection v1alpha: %v, %v", r, err)
	}
}

func TestMainServesAndDrainsOnSIGTERM(t *testing.T) {
	node, said := process(t, "127.0.0.1:0")
	line, err := said.ReadString('\n')
	if err != nil || !strings.Contains(line, "meshloom node n (Go SDK") {
		t.Fatalf("said %q, %v", line, err)
	}
	_, address, _ := strings.Cut(strings.TrimSpace(line), "listens on ")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Deadline)
	defer cancel()
	if r, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: "meshloom.v1.NodeService"}, grpc.WaitForReady(true)); err != nil || r.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", r, err)
	}
	v1, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := &grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "meshloom.v1.NodeService"}}
	if err := v1.Send(ask); err != nil {
		t.Fatal(err)
	}
	if r, err := v1.Recv(); err != nil || len(r.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("reflection v1: %v, %v", r, err)
	}
	reflectAlpha(ctx, t, conn)
	if err := node.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := node.Wait(); err != nil {
		t.Errorf("the node ended with %v, want exit 0", err)
	}
}

// collector is an OTLP receiver.
type collector struct {
	coltrace.UnimplementedTraceServiceServer
	got chan *coltrace.ExportTraceServiceRequest
}

func (c *collector) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.got <- r
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func TestMainExportsTracesAndFlushesThemAtTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	receiver := &collector{got: make(chan *coltrace.ExportTraceServiceRequest, 10)}
	server := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(server, receiver)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()

	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_SERVICE_NAME", "p/filter")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=filter-0")
	socket := filepath.Join(t.TempDir(), "n.sock")
	node, _ := process(t, "unix:"+socket)
	p := harness.Dial(t, "unix:"+socket).Process(t, &meshloomv1.OpenProcess{Pipeline: "p", Node: "filter"})
	work := workOf(1, `{}`)
	work.Batch.Spans = []*meshloomv1.SpanContext{sampled(0, 9)}
	p.Send(t, work)
	p.Collect(t, work)
	if err := node.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := node.Wait(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
	got := waitFor(t, receiver.got, "an export").GetResourceSpans()[0]
	resource := map[string]string{}
	for _, a := range got.GetResource().GetAttributes() {
		resource[a.GetKey()] = a.GetValue().GetStringValue()
	}
	span := got.GetScopeSpans()[0].GetSpans()[0]
	if resource["service.name"] != "p/filter" || resource["service.instance.id"] != "filter-0" || span.GetName() != "process filter" || span.GetTraceId()[0] != 9 {
		t.Errorf("exported %v of %v", span, resource)
	}
}

func TestMainExitsWith69WhenTheAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("unix", filepath.Join(t.TempDir(), "n.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	node, said := process(t, "unix:"+taken.Addr().String())
	line, _ := said.ReadString('\n')
	var exit *exec.ExitError
	if err := node.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 69 || !strings.Contains(line, "set MESHLOOM_LISTEN to another address") {
		t.Errorf("ended with %v and said %q", err, line)
	}
}
