package meshloom_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/meshloom/meshloom/sdks/go"
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

// BenchmarkHop measures events through one node over a Unix socket; client and node share the process. One operation is
// one event.
func BenchmarkHop(b *testing.B) {
	payload := []byte(`{"sensor":"alpha","celsius":21.5,"time":"2010-01-01T08:00:00Z","note":"` + strings.Repeat("x", 30) + `"}`)
	type reading struct {
		Sensor  string  `json:"sensor"`
		Celsius float64 `json:"celsius"`
		Time    string  `json:"time"`
		Note    string  `json:"note"`
	}
	node := func(h meshloom.Handler) func(context.Context, net.Listener) error {
		return func(ctx context.Context, l net.Listener) error {
			return meshloom.ServeListener(ctx, l, meshloom.New("n", h))
		}
	}
	for _, c := range []struct {
		name  string
		serve func(context.Context, net.Listener) error
	}{
		{"bare", serveBare},
		{"filter", node(meshloom.Filter(func(_ context.Context, in []byte) (bool, error) { return len(in) > 0, nil }))},
		{"map-bytes", node(meshloom.Map(func(_ context.Context, in []byte) ([]byte, error) { return in, nil }))},
		{"batch-bytes", node(meshloom.MapBatch(func(_ context.Context, in *meshloom.Batch, out *meshloom.Emitter) error {
			for i := range in.Len() {
				out.Emit(i, in.Data(i))
			}
			return nil
		}))},
		{"map-json", node(meshloom.Map(func(_ context.Context, in reading) (reading, error) { in.Celsius++; return in, nil }))},
	} {
		b.Run(c.name, func(b *testing.B) {
			served := harness.ServeUnix(b, filepath.Join(b.TempDir(), "n.sock"), c.serve)
			p := served.Process(b, &meshloomv1.OpenProcess{Pipeline: "p", Node: "n"})
			payloads := make([][]byte, benchEvents)
			for i := range payloads {
				payloads[i] = payload
			}
			batch := harness.Payloads(payloads...)
			b.ReportAllocs()
			b.ResetTimer()
			sent, answered, outputs := uint64(0), 0, 0
			for want := (b.N + benchEvents - 1) / benchEvents; answered < want; {
				for sent < uint64(want) && sent < uint64(answered)+benchInFlight {
					sent++
					p.Send(b, &meshloomv1.Work{Sequence: sent, Batch: batch})
				}
				result := p.Next(b)
				if len(result.GetFailures()) > 0 {
					b.Fatal(result.GetFailures()[0])
				}
				outputs += int(result.GetOutputs().GetCount())
				if result.GetLast() {
					answered++
				}
			}
			if outputs != answered*benchEvents {
				b.Fatalf("%d outputs of %d works", outputs, answered)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
