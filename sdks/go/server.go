package meshloom

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
	"github.com/meshloom/meshloom/sdks/go/internal/telemetry"
)

// nodeServer implements NodeService for the nodes of one process.
type nodeServer struct {
	meshloomv1.UnimplementedNodeServiceServer
	nodes     []*Node
	instances instances
	drain     chan struct{} // closed when the process drains
}

var sdk = &meshloomv1.Sdk{Language: "go", Version: Version}

// Describe says what the process is and which handlers it serves.
func (s *nodeServer) Describe(context.Context, *meshloomv1.DescribeRequest) (*meshloomv1.DescribeResponse, error) {
	response := &meshloomv1.DescribeResponse{Sdk: sdk, Protocol: &meshloomv1.ProtocolRange{Min: protocolVersion, Max: protocolVersion}}
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
	if err != nil {
		return err
	}
	request := first.GetOpen()
	if request == nil {
		return status.Error(codes.InvalidArgument, "the first request of a Process stream must be open")
	}
	node, body, opened, err := s.open(stream.Context(), request, false)
	if err != nil {
		return err
	}
	concurrency := int(request.GetConcurrency())
	if concurrency == 0 {
		concurrency = node.options.concurrency
	}
	if concurrency <= 0 {
		concurrency = defaultConcurrency
	}
	p := &processStream{
		stream: stream, node: node, body: body, ordering: request.GetOrdering(),
		replica: replicaOf(request), slots: make(chan struct{}, concurrency),
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
	if err != nil {
		return err
	}
	request := first.GetOpen()
	if request == nil {
		return status.Error(codes.InvalidArgument, "the first request of a Produce stream must be open")
	}
	_, body, opened, err := s.open(stream.Context(), request, true)
	if err != nil {
		return err
	}
	if n := len(request.Checkpoint); n > columns.MaxCheckpointBytes {
		return status.Errorf(codes.InvalidArgument, "the checkpoint has %d bytes, the limit is %d", n, columns.MaxCheckpointBytes)
	}
	replica := replicaOf(request)
	p := newProduceStream(stream, body.source, replica, request.Checkpoint,
		telemetry.ForProduce(replica.Pipeline, replica.Node, replica.Name(), request.GetTrace()))
	if err := stream.Send(&meshloomv1.ProduceResponse{Response: &meshloomv1.ProduceResponse_Opened{Opened: opened}}); err != nil {
		return err
	}
	return p.serve(s.drain)
}

// open negotiates, finds the handler and runs its set-up.
func (s *nodeServer) open(ctx context.Context, request opening, source bool) (*Node, *body, *meshloomv1.Opened, error) {
	if err := checkProtocol(request.GetProtocol()); err != nil {
		return nil, nil, nil, err
	}
	node, err := s.find(request.GetHandler())
	if err != nil {
		return nil, nil, nil, err
	}
	if is := node.role == meshloomv1.HandlerRole_HANDLER_ROLE_SOURCE; is != source {
		rpc := map[bool]string{true: "Produce", false: "Process"}
		return nil, nil, nil, badRequest(Violation{Field: "handler", Description: fmt.Sprintf("%q is served by %s, not by %s", node.name, rpc[is], rpc[source])})
	}
	ctx = context.WithValue(ctx, scopeKey{}, &scope{replica: replicaOf(request)})
	body, err := s.instances.open(ctx, node, request.GetConfigJson())
	if err != nil {
		return nil, nil, nil, setupStatus(node, err)
	}
	return node, body, &meshloomv1.Opened{Protocol: protocolVersion, Sdk: sdk, Limits: node.limitsMessage()}, nil
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
	return nil, badRequest(Violation{Field: "handler", Description: described + "; it serves: " + strings.Join(names, ", ")})
}

func replicaOf(request opening) Replica {
	return Replica{
		Pipeline: request.GetPipeline(), Node: request.GetNode(),
		Index: int(request.GetReplica().GetIndex()), Of: max(int(request.GetReplica().GetOf()), 1),
	}
}

// checkProtocol refuses a coordinator whose versions and ours have nothing in common, and names the side to upgrade.
func checkProtocol(theirs *meshloomv1.ProtocolRange) error {
	if theirs.GetMin() <= protocolVersion && theirs.GetMax() >= protocolVersion {
		return nil
	}
	side, remedy := "node", fmt.Sprintf("upgrade the node's Go SDK (now %s) to one that speaks protocol %d", Version, theirs.GetMin())
	if theirs.GetMax() < protocolVersion {
		side, remedy = "coordinator", fmt.Sprintf("upgrade the coordinator to one that speaks protocol %d", protocolVersion)
	}
	st := status.Newf(codes.FailedPrecondition, "the coordinator speaks protocol %d to %d, this node %d: %s", theirs.GetMin(), theirs.GetMax(), protocolVersion, remedy)
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{
		Reason: "PROTOCOL_UNSUPPORTED", Domain: "meshloom",
		Metadata: map[string]string{"upgrade": side, "remedy": remedy, "min": fmt.Sprint(protocolVersion), "max": fmt.Sprint(protocolVersion)},
	})
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}

// badRequest is INVALID_ARGUMENT with a violation per field: the pipeline does not start.
func badRequest(violations ...Violation) error {
	details := &errdetails.BadRequest{}
	for _, v := range violations {
		details.FieldViolations = append(details.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Description})
	}
	st := status.New(codes.InvalidArgument, (&ConfigError{violations}).Error())
	if detailed, err := st.WithDetails(details); err == nil {
		st = detailed
	}
	return st.Err()
}

// setupStatus translates an error of a set-up: a refused config is final, anything else is an outage.
func setupStatus(node *Node, err error) error {
	var refused *ConfigError
	if errors.As(err, &refused) {
		return badRequest(refused.Violations...)
	}
	st := status.Newf(codes.Unavailable, "set-up of %s failed: %v", node.name, err)
	if detailed, e := st.WithDetails(&errdetails.ErrorInfo{Reason: "SETUP_FAILED", Domain: "meshloom", Metadata: map[string]string{"handler": node.name}}); e == nil {
		st = detailed
	}
	return st.Err()
}
