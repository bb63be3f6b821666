package meshloom_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

const (
	benchEvents   = 512
	benchInFlight = 4
)

// bare is what a node could be at best without an SDK: it answers every batch with its own payload column.
type bare struct {
	meshloomv1.UnimplementedNodeServiceServer
}

func (bare) Process(stream grpc.BidiStreamingServer[meshloomv1.ProcessRequest, meshloomv1.ProcessResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Opened{Opened: &meshloomv1.Opened{}}}); err != nil {
		return err
	}
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		work := request.GetWork()
		if err := stream.Send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Result{Result: &meshloomv1.WorkResult{
			Sequence: work.GetSequence(), Last: true, Outputs: &meshloomv1.Outputs{Count: work.GetBatch().GetCount(), Payload: work.GetBatch().GetPayload()},
		}}}); err != nil {
			return err
		}
	}
}

func serveBare(ctx context.Context, l net.Listener) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(columns.MaxMessageBytes), grpc.InitialWindowSize(8<<20), grpc.InitialConnWindowSize(16<<20),
		grpc.ReadBufferSize(256<<10), grpc.WriteBufferSize(256<<10))
	meshloomv1.RegisterNodeServiceServer(server, bare{})
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Serve(l)
}

// hop is a node that is measured: works of 512 events, 4 in flight, over a Unix socket; client and node share the process.
type hop struct {
	stream *harness.Process
	batch  *meshloomv1.Batch
	sent   uint64
}

func newHop(b *testing.B, serve func(context.Context, net.Listener) error) *hop {
	b.Helper()
	served := harness.ServeUnix(b, filepath.Join(b.TempDir(), "n.sock"), serve)
	payloads := make([][]byte, benchEvents)
	for i := range payloads {
		payloads[i] = benchPayload
	}
	return &hop{stream: served.Process(b, &meshloomv1.OpenProcess{Pipeline: "p", Node: "n"}), batch: harness.Payloads(payloads...)}
}

// run sends works and waits for all answers.
func (h *hop) run(b *testing.B, works int) {
	b.Helper()
	begun, outputs := h.sent, 0
	for answered := 0; answered < works; {
		for h.sent-begun < uint64(min(works, answered+benchInFlight)) {
			h.sent++
			h.stream.Send(b, &meshloomv1.Work{Sequence: h.sent, Batch: h.batch})
		}
		result := h.stream.Next(b)
		if len(result.GetFailures()) > 0 {
			b.Fatal(result.GetFailures()[0])
		}
		outputs += int(result.GetOutputs().GetCount())
		if result.GetLast() {
			answered++
		}
	}
	if outputs != works*benchEvents {
		b.Fatalf("%d outputs of %d works", outputs, works)
	}
}

var benchPayload = []byte(`{"sensor":"alpha","celsius":21.5,"time":"2010-01-01T08:00:00Z","note":"` + strings.Repeat("x", 30) + `"}`)

type benchReading struct {
	Sensor  string  `json:"sensor"`
	Celsius float64 `json:"celsius"`
	Time    string  `json:"time"`
	Note    string  `json:"note"`
}

func warmer(_ context.Context, in benchReading) (benchReading, error) {
	in.Celsius++
	return in, nil
}

func serveOnly(h meshloom.Handler) func(context.Context, net.Listener) error {
	return func(ctx context.Context, l net.Listener) error {
		return meshloom.ServeListener(ctx, l, meshloom.New("n", h))
	}
}

// BenchmarkHop measures events through one node. One operation is one event.
func BenchmarkHop(b *testing.B) {
	for _, c := range []struct {
		name  string
		serve func(context.Context, net.Listener) error
	}{
		{"bare", serveBare},
		{"filter", serveOnly(meshloom.Filter(func(_ context.Context, in []byte) (bool, error) { return len(in) > 0, nil }))},
		{"map-bytes", serveOnly(meshloom.Map(func(_ context.Context, in []byte) ([]byte, error) { return in, nil }))},
		{"batch-bytes", serveOnly(meshloom.MapBatch(func(_ context.Context, in *meshloom.Batch, out *meshloom.Emitter) error {
			for i := range in.Len() {
				out.Emit(i, in.Data(i))
			}
			return nil
		}))},
		{"map-json", serveOnly(meshloom.Map(warmer))},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := newHop(b, c.serve)
			b.ReportAllocs()
			b.ResetTimer()
			h.run(b, (b.N+benchEvents-1)/benchEvents)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
