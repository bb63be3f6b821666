package meshloom

import (
	"testing"
	"time"
)

// A call may begin between the look at the clock and the look at the call.
func TestNoCallIsYoungerThanNothing(t *testing.T) {
	now := time.Now()
	w := &work{sequence: 1, started: now, workers: []*worker{{calling: true, index: 2, began: time.Second}}}
	calls := w.running(now, nil)
	if len(calls) != 1 || calls[0].GetAge().AsDuration() != 0 {
		t.Fatalf("a call that has just begun is reported as %v", calls)
	}
}
