package meshloom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
)

// nodeServer implements NodeService for the nodes of one process.
type nodeServer struct {
	meshloomv1.UnimplementedNodeServiceServer
	nodes     []*Node
	instances instances
	streams   *streamCounter
	drain     chan struct{} // closed when the process drains
}

var (
	sdk       = &meshloomv1.Sdk{Language: "go", Version: Version}
	protocols = &meshloomv1.ProtocolRange{Min: protocolVersion, Max: protocolVersion}
)

// Describe says what the process is and which handlers it serves.
func (s *nodeServer) Describe(context.Context, *meshloomv1.DescribeRequest) (*meshloomv1.DescribeResponse, error) {
	response := &meshloomv1.DescribeResponse{Sdk: sdk, Protocol: protocols}
	for _, node := range s.nodes {
		response.Handlers = append(response.Handlers, node.describe())
	}
	return response, nil
}

// opening is what OpenProcess and OpenProduce have in common.
type opening interface {
	GetProtocol() *meshloomv1.ProtocolRange
	GetPipeline() string
	GetNode() string
	GetHandler() string
	GetReplica() *meshloomv1.Replica
	GetConfigJson() []byte
}

// Process runs a transform or a sink.
func (s *nodeServer) Process(stream grpc.BidiStreamingServer[meshloomv1.ProcessRequest, meshloomv1.ProcessResponse]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil // half-closed before it was opened: nothing is in hand
	}
	if err != nil {
		return err
	}
	request := first.GetOpen()
	if request == nil {
		return protocolViolation("the first request of a Process stream must be open")
	}
	node, body, opened, err := s.open(stream.Context(), request, false)
	if err != nil {
		return err
	}
	p := &processStream{
		stream: stream, node: node, body: body, ordering: request.GetOrdering(), streams: s.streams,
		replica: replicaOf(request), slots: make(chan struct{}, node.calls(request)),
	}
	p.tracer = telemetry.ForProcess(p.replica.Pipeline, p.replica.Node, p.replica.Name())
	if err := stream.Send(&meshloomv1.ProcessResponse{Response: &meshloomv1.ProcessResponse_Opened{Opened: opened}}); err != nil {
		return err
	}
	return p.serve(s.drain)
}

// Produce runs a source.
func (s *nodeServer) Produce(stream grpc.BidiStreamingServer[meshloomv1.ProduceRequest, meshloomv1.ProduceResponse]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil // half-closed before it was opened: nothing is in hand
	}
	if err != nil {
		return err
	}
	request := first.GetOpen()
	if request == nil {
		return protocolViolation("the first request of a Produce stream must be open")
	}
	node, body, opened, err := s.open(stream.Context(), request, true)
	if err != nil {
		return err
	}
	if err := checkCheckpoint(request.Checkpoint); err != nil {
		return sourceStatus(err)
	}
	run, err := body.source.resume(Checkpoint{request.Checkpoint})
	if err != nil {
		return sourceStatus(err)
	}
	replica := replicaOf(request)
	p := newProduceStream(stream, body.source, run, node.options.volatile, replica, request.Checkpoint,
		telemetry.ForProduce(replica.Pipeline, replica.Node, replica.Name(), request.GetTrace()))
	if err := stream.Send(&meshloomv1.ProduceResponse{Response: &meshloomv1.ProduceResponse_Opened{Opened: opened}}); err != nil {
		return err
	}
	return p.serve(s.drain)
}

// open negotiates, finds the handler and runs its set-up.
func (s *nodeServer) open(ctx context.Context, request opening, source bool) (*Node, *body, *meshloomv1.Opened, error) {
	select {
	case <-s.drain:
		return nil, nil, nil, status.Error(codes.Unavailable, "the node drains and takes no new stream")
	default:
	}
	protocol, err := negotiate(request.GetProtocol(), protocols)
	if err != nil {
		return nil, nil, nil, err
	}
	node, err := s.find(request.GetHandler())
	if err != nil {
		return nil, nil, nil, err
	}
	if is := node.role == meshloomv1.HandlerRole_HANDLER_ROLE_SOURCE; is != source {
		rpc := map[bool]string{true: "Produce", false: "Process"}
		return nil, nil, nil, refusal(codes.FailedPrecondition, reasonRoleMismatch, nil, "the handler %q is served by %s, not by %s", node.name, rpc[is], rpc[source])
	}
	ctx = context.WithValue(ctx, scopeKey{}, &scope{replica: replicaOf(request)})
	body, err := s.instances.open(ctx, node, request.GetConfigJson())
	if err != nil {
		return nil, nil, nil, setupStatus(node, err)
	}
	return node, body, &meshloomv1.Opened{Protocol: protocol, Sdk: sdk, Limits: node.limitsMessage()}, nil
}

func (s *nodeServer) find(name string) (*Node, error) {
	names := make([]string, len(s.nodes))
	for i, node := range s.nodes {
		if node.name == name || (name == "" && len(s.nodes) == 1) {
			return node, nil
		}
		names[i] = node.name
	}
	described := fmt.Sprintf("there is no handler %q in this process", name)
	if name == "" {
		described = "this process serves several handlers and none was named"
	}
	return nil, refusal(codes.NotFound, reasonUnknownHandler, nil, "%s; it serves: %s", described, strings.Join(names, ", "))
}

func replicaOf(request opening) Replica {
	return Replica{
		Pipeline: request.GetPipeline(), Node: request.GetNode(),
		Index: int(request.GetReplica().GetIndex()), Of: max(int(request.GetReplica().GetOf()), 1),
	}
}
