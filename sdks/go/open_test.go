package meshloom_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// wantStatus checks a status and, unless reason is empty, its ErrorInfo.
func wantStatus(t *testing.T, err error, code codes.Code, reason, says string) map[string]string {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != code || !strings.Contains(st.Message(), says) {
		t.Errorf("got %v, want %v with %q", err, code, says)
	}
	if reason == "" {
		return nil
	}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == reason && info.GetDomain() == "meshloom" {
			return info.GetMetadata()
		}
	}
	t.Errorf("details %v, want %s", st.Details(), reason)
	return nil
}

// wantViolation checks INVALID_ARGUMENT with a violation of one field.
func wantViolation(t *testing.T, err error, field, says string) {
	t.Helper()
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok && st.Code() == codes.InvalidArgument {
			for _, v := range bad.GetFieldViolations() {
				if v.GetField() == field && strings.Contains(v.GetDescription(), says) {
					return
				}
			}
		}
	}
	t.Errorf("got %v with %v, want a violation of %q with %q", err, st.Details(), field, says)
}

func TestStreamRefusals(t *testing.T) {
	one, two := meshloom.New("one", meshloom.Map(handleMap)), meshloom.New("two", meshloom.Map(handleMap))
	s := serve(t, one, two)
	_, err := s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "three"})
	wantStatus(t, err, codes.NotFound, "HANDLER_UNKNOWN", `no handler "three" in this process; it serves: one, two`)
	_, err = s.TryProcess(t, &meshloomv1.OpenProcess{})
	wantStatus(t, err, codes.NotFound, "HANDLER_UNKNOWN", "several handlers and none was named; it serves: one, two")
	_, err = s.TryProduce(t, &meshloomv1.OpenProduce{Handler: "one"})
	wantStatus(t, err, codes.FailedPrecondition, "HANDLER_ROLE_MISMATCH", "served by Process, not by Produce")
	_, err = s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "one", Protocol: &meshloomv1.ProtocolRange{Min: 2, Max: 3}})
	if metadata := wantStatus(t, err, codes.FailedPrecondition, "PROTOCOL_UNSUPPORTED", "upgrade the node"); metadata["upgrade"] != "node" || metadata["to"] != "2" {
		t.Errorf("metadata %v", metadata)
	}
	for _, bad := range []*meshloomv1.ProtocolRange{{}, {Max: 1}, {Min: 2, Max: 1}} {
		_, err = s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "one", Protocol: bad})
		wantViolation(t, err, "protocol", "no range")
	}
	p, err := s.TryProcess(t, &meshloomv1.OpenProcess{Handler: "one", Protocol: &meshloomv1.ProtocolRange{Min: 1, Max: 9}})
	if err != nil || p.Opened.GetProtocol() != 1 {
		t.Errorf("a newer coordinator: %v, %v", p, err)
	}
}

// ended reads until the stream ends.
func ended(p *harness.Process) error {
	for {
		if _, err := p.Stream.Recv(); err != nil {
			return err
		}
	}
}

func TestRequestsOutOfOrderEndTheStream(t *testing.T) {
	s := serve(t, meshloom.New("n", meshloom.Map(handleMap)))
	process, err := s.Client.Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Send(&meshloomv1.ProcessRequest{Request: &meshloomv1.ProcessRequest_Work{Work: workOf(1, "{}")}}); err != nil {
		t.Fatal(err)
	}
	_, err = process.Recv()
	wantStatus(t, err, codes.InvalidArgument, "PROTOCOL_VIOLATION", "must be open")

	twice := s.Process(t, &meshloomv1.OpenProcess{Node: "n"})
	if err := twice.Stream.Send(&meshloomv1.ProcessRequest{Request: &meshloomv1.ProcessRequest_Open{Open: &meshloomv1.OpenProcess{}}}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, ended(twice), codes.InvalidArgument, "PROTOCOL_VIOLATION", "open came twice")

	idle, err := s.Client.Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := idle.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("half-close before open: %v", err)
	}
}

func TestAViolationEndsTheStreamThoughAHandlerIsDeaf(t *testing.T) {
	called, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, meshloom.New("n", meshloom.Map(func(context.Context, string) (string, error) {
		close(called)
		<-leave
		return "late", nil
	})))
	p := s.Process(t, &meshloomv1.OpenProcess{Node: "n"})
	p.Send(t, workOf(1, `"a"`))
	waitFor(t, called, "the call")
	p.Send(t, workOf(1, `"a"`))
	wantStatus(t, ended(p), codes.InvalidArgument, "PROTOCOL_VIOLATION", "used once")
	close(leave) // its answer goes nowhere; the node ends after it
}

func TestADrainingNodeTakesNoNewStream(t *testing.T) {
	g := newGate()
	s := serve(t, meshloom.New("n", meshloom.Map(g.handle)))
	p := s.Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, `"a"`)
	p.Send(t, work)
	waitFor(t, g.called, "the call")
	health := healthv1.NewHealthClient(s.Conn)
	watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "meshloom.v1.NodeService"})
	if err != nil {
		t.Fatal(err)
	}
	s.Drain()
	for {
		r, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetStatus() == healthv1.HealthCheckResponse_NOT_SERVING {
			break
		}
	}
	for { // health turns first
		if _, err = s.TryProcess(t, &meshloomv1.OpenProcess{Node: "n"}); err != nil {
			break
		}
	}
	wantStatus(t, err, codes.Unavailable, "", "drains")
	close(g.leave)
	if a := p.Collect(t, work); len(a.Outputs) != 1 {
		t.Errorf("got %+v", a)
	}
	if _, err := p.Stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want OK", err)
	}
}
