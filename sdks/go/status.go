package meshloom

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Reasons of the statuses that end streams.
const (
	reasonUnsupported    = "PROTOCOL_UNSUPPORTED"
	reasonViolation      = "PROTOCOL_VIOLATION"
	reasonUnknownHandler = "HANDLER_UNKNOWN"
	reasonRoleMismatch   = "HANDLER_ROLE_MISMATCH"
	reasonSetupFailed    = "SETUP_FAILED"
	reasonSourceFailed   = "SOURCE_FAILED"
	reasonRepeated       = "CHECKPOINT_REPEATED"
)

const errorDomain = "meshloom"

// withDetails is a status with one detail. A detail that cannot be packed is left out: the code and the message stand alone.
func withDetails(code codes.Code, message string, detail protoadapt.MessageV1) error {
	st := status.New(code, message)
	if detailed, err := st.WithDetails(detail); err == nil {
		st = detailed
	}
	return st.Err()
}

// refusal is a status with the reason for programs.
func refusal(code codes.Code, reason string, metadata map[string]string, format string, args ...any) error {
	return withDetails(code, cleanMessage(fmt.Sprintf(format, args...)), &errdetails.ErrorInfo{Reason: reason, Domain: errorDomain, Metadata: metadata})
}

// protocolViolation ends a stream whose requests come in an order that is not allowed.
func protocolViolation(format string, args ...any) error {
	return refusal(codes.InvalidArgument, reasonViolation, nil, format, args...)
}

// badRequest is INVALID_ARGUMENT with a violation per field: the pipeline does not start.
func badRequest(message string, violations ...Violation) error {
	details := &errdetails.BadRequest{}
	for _, v := range violations {
		details.FieldViolations = append(details.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: cleanMessage(v.Field), Description: cleanMessage(v.Description),
		})
	}
	return withDetails(codes.InvalidArgument, cleanMessage(message), details)
}

// setupStatus translates an error of a set-up: a refused config is final, anything else is an outage.
func setupStatus(node *Node, err error) error {
	if refused := violationsOf(err); refused != nil {
		return badRequest((&ConfigError{refused}).Error(), refused...)
	}
	return refusal(codes.Unavailable, reasonSetupFailed, map[string]string{"handler": node.name}, "set-up of %s failed: %v", node.name, err)
}

// sourceStatus is how a stream ends whose source failed: the coordinator opens it again, but for a checkpoint that the source
// cannot read, which keeps the pipeline from starting.
func sourceStatus(err error) error {
	var unread *CheckpointError
	if errors.As(err, &unread) {
		return badRequest(unread.Error(), Violation{Field: "checkpoint", Description: unread.Error()})
	}
	var repeated *repeatedError
	if errors.As(err, &repeated) {
		return refusal(codes.Aborted, reasonRepeated, nil, "%v", err)
	}
	return refusal(codes.Aborted, reasonSourceFailed, nil, "the source failed: %v", err)
}

// negotiate returns the highest version that both sides speak. Without one it names the side to upgrade: the one whose highest
// version is too low.
func negotiate(theirs, ours *meshloomv1.ProtocolRange) (uint32, error) {
	low, high := theirs.GetMin(), theirs.GetMax()
	if low == 0 || high < low {
		why := fmt.Sprintf("%d to %d is no range of protocol versions: it goes from at least 1 upwards", low, high)
		return 0, badRequest(why, Violation{Field: "protocol", Description: why})
	}
	if low <= ours.GetMax() && ours.GetMin() <= high {
		return min(high, ours.GetMax()), nil
	}
	side, to := "node", low
	remedy := fmt.Sprintf("upgrade the node's Go SDK (now %s) to one that speaks protocol %d", Version, to)
	if high < ours.GetMin() {
		side, to = "coordinator", ours.GetMin()
		remedy = fmt.Sprintf("upgrade the coordinator to one that speaks protocol %d", to)
	}
	return 0, refusal(codes.FailedPrecondition, reasonUnsupported, map[string]string{"upgrade": side, "to": strconv.FormatUint(uint64(to), 10)},
		"the coordinator speaks protocol %d to %d, this node %d to %d: %s", low, high, ours.GetMin(), ours.GetMax(), remedy)
}
