package meshloom_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

func TestVerdictsAreErrorsOfTheirOwnTypes(t *testing.T) {
	cause := errors.New("cause")
	var rejected *meshloom.RejectError
	if err := fmt.Errorf("wrapped: %w", meshloom.Reject("NO", cause)); !errors.As(err, &rejected) || rejected.Reason != "NO" || !errors.Is(err, cause) {
		t.Errorf("got %#v", rejected)
	}
	var again *meshloom.RetryError
	if err := fmt.Errorf("wrapped: %w", meshloom.RetryAfter(time.Second, cause)); !errors.As(err, &again) || again.After != time.Second || !errors.Is(err, cause) {
		t.Errorf("got %#v", again)
	}
	for _, err := range []error{meshloom.Reject("NO", nil), meshloom.Retry(nil)} {
		if err.Error() == "" || errors.Unwrap(err) != nil {
			t.Errorf("without a cause: %v", err)
		}
	}
}

func TestARetryMayHaveAReason(t *testing.T) {
	a := ask(t, meshloom.New("n", meshloom.Sink(func(context.Context, []byte) error {
		return &meshloom.RetryError{Reason: "BUSY", After: 2 * time.Second, Err: errors.New("try later")}
	})), "x")
	wantFailure(t, a, 0, retry, "BUSY", "try later")
	if after := a.Failures[0].GetRetryAfter().AsDuration(); after != 2*time.Second {
		t.Errorf("after %v", after)
	}
}

func TestANilIteratorIsRejected(t *testing.T) {
	a := ask(t, meshloom.New("n", meshloom.FlatMap(func(context.Context, []byte) iter.Seq2[int, error] { return nil })), "x")
	wantFailure(t, a, 0, reject, "NOT_ITERABLE", "returned no iterator")
}
