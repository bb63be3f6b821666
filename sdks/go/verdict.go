package meshloom

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Drop is returned as the error of a handler to end the event here on purpose: no output, no failure.
var Drop = errors.New("meshloom: event dropped on purpose")

// RejectError is the verdict that makes an event a dead letter now, without further attempts. Made by [Reject] and
// [Rejectf]; anywhere in the chain of the error that a handler returns it counts.
type RejectError struct {
	Reason string // a stable code of 1 to 64 characters of [A-Z0-9_]; empty: REJECTED
	Err    error  // tells a person why
}

// Error returns the text of the cause.
func (e *RejectError) Error() string { return causeText(e.Err, "rejected by the handler") }

// Unwrap returns the cause.
func (e *RejectError) Unwrap() error { return e.Err }

// RetryError is the verdict that asks for another attempt at an event. Made by [Retry] and [RetryAfter]; return one of your
// own to give the retry a reason.
type RetryError struct {
	Reason string        // a stable code of 1 to 64 characters of [A-Z0-9_]; empty: RETRY
	After  time.Duration // earliest time of the next attempt, from now; 0 leaves it to the node's retry policy
	Err    error         // tells a person why
}

// Error returns the text of the cause.
func (e *RetryError) Error() string { return causeText(e.Err, "the handler asked for a retry") }

// Unwrap returns the cause.
func (e *RetryError) Unwrap() error { return e.Err }

func causeText(cause error, otherwise string) string {
	if cause == nil {
		return otherwise
	}
	return cause.Error()
}

// Reject returns an error that makes the event a dead letter now, without further attempts. reason is a stable code of
// 1 to 64 characters of [A-Z0-9_]; cause tells a person why.
func Reject(reason string, cause error) error { return &RejectError{Reason: reason, Err: cause} }

// Rejectf is [Reject] with a message made by [fmt.Errorf].
func Rejectf(reason, format string, args ...any) error {
	return Reject(reason, fmt.Errorf(format, args...))
}

// Retry returns an error that asks for another attempt as the node's retry policy says. Every error that is no verdict
// does the same; Retry says that it is meant.
func Retry(cause error) error { return RetryAfter(0, cause) }

// RetryAfter is [Retry] with the earliest time of the next attempt from now; 0 leaves it to the node's retry policy.
func RetryAfter(after time.Duration, cause error) error { return &RetryError{After: after, Err: cause} }

// failureOf translates an error of a handler into a failure of input index. ctx is the call's context.
func failureOf(ctx context.Context, index uint32, err error) *meshloomv1.EventFailure {
	failure := &meshloomv1.EventFailure{Index: index, Action: meshloomv1.FailureAction_FAILURE_ACTION_RETRY, Reason: reasonError, Message: cleanMessage(err.Error())}
	var rejected *RejectError
	var again *RetryError
	var broken *columns.Error
	switch {
	case errors.As(err, &rejected):
		failure.Action, failure.Reason = meshloomv1.FailureAction_FAILURE_ACTION_REJECT, cleanReason(rejected.Reason, reasonRejected)
	case errors.As(err, &again):
		failure.Reason = cleanReason(again.Reason, reasonRetry)
		if again.After > 0 {
			failure.RetryAfter = durationpb.New(again.After)
		}
	case errors.As(err, &broken):
		failure.Action, failure.Reason = meshloomv1.FailureAction_FAILURE_ACTION_REJECT, broken.Reason
		failure.Message = cleanMessage(broken.Message)
	case errors.Is(err, context.DeadlineExceeded) && errors.Is(ctx.Err(), context.DeadlineExceeded):
		failure.Reason = reasonTimeout
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		failure.Reason = reasonCancelled
	}
	return failure
}

// retryOf is a failure that the SDK itself answers.
func retryOf(index uint32, reason, message string) *meshloomv1.EventFailure {
	return &meshloomv1.EventFailure{Index: index, Action: meshloomv1.FailureAction_FAILURE_ACTION_RETRY, Reason: reason, Message: cleanMessage(message)}
}

// panicError is the verdict on a call that panicked.
func panicError(cause any) error {
	return &RetryError{Reason: reasonPanic, Err: fmt.Errorf("the handler panicked: %v", cause)}
}
