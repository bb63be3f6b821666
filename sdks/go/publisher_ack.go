package meshloom

import (
	"context"
	"fmt"
)

// PublishError says why an event was not published.
type PublishError struct {
	// Reason is INVALID (the event was not sent), REJECTED (the source refused this publisher, nothing more is published),
	// CLOSED, or the code with which the pipeline refused the event.
	Reason  string
	Message string // for a person
}

func (e *PublishError) Error() string { return e.Reason + ": " + e.Message }

// UnacknowledgedError says what was not acknowledged when [Publisher.Flush] or [Publisher.Close] ran out of time. It wraps
// the error of the context.
type UnacknowledgedError struct {
	IDs   []string // of the events, in the order of publishing
	Cause error    // what kept the connection from being made or broke it last; nil: nothing
	ctx   error
}

func (e *UnacknowledgedError) Error() string {
	why := ""
	if e.Cause != nil {
		why = fmt.Sprintf(" (%v)", e.Cause)
	}
	return fmt.Sprintf("%d events were not acknowledged in time%s: publish them again with the same ids", len(e.IDs), why)
}

// Unwrap returns the error of the context.
func (e *UnacknowledgedError) Unwrap() error { return e.ctx }

// Acknowledgement tells what became of one event.
type Acknowledgement struct {
	id   string
	done chan struct{}
	err  error // set before done is closed
}

// ID returns the event's id.
func (a *Acknowledgement) ID() string { return a.id }

// Done is closed once the event is durable, or will never be.
func (a *Acknowledgement) Done() <-chan struct{} { return a.done }

// Err returns why the event was not published, a *[PublishError]; nil until Done is closed, and if it is durable.
func (a *Acknowledgement) Err() error {
	select {
	case <-a.done:
		return a.err
	default:
		return nil
	}
}

// Wait waits until the event is durable and returns nil, or why it is not: a *[PublishError], or the context's error.
func (a *Acknowledgement) Wait(ctx context.Context) error {
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
