package meshloom

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

func TestCheckpointsAreToldInOrderAndOnce(t *testing.T) {
	var told []string
	entered, leave := make(chan struct{}), make(chan struct{})
	first := true
	s := newSettler(t.Context(), func(_ context.Context, upTo Checkpoint) error {
		if first {
			first = false
			close(entered)
			<-leave
		}
		told = append(told, upTo.String())
		return nil
	})
	s.settle(1, []byte("1"))
	<-entered
	s.settle(2, []byte("2"))
	s.settle(3, []byte("2")) // once more
	s.settle(4, nil)
	for i := range 2 * maxBacklog {
		s.settle(uint64(5+i), fmt.Appendf(nil, "%d", 3+i))
	}
	close(leave)
	s.finish()
	want := []string{}
	for i := range maxBacklog {
		want = append(want, fmt.Sprint(1+i))
	}
	want = append(want, fmt.Sprint(2+2*maxBacklog)) // the others are skipped
	if !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}
