package meshloom

import (
	"testing"
	"time"
)

func TestFastCallsShareALookAtTheClock(t *testing.T) {
	var c clock
	now := time.Duration(0)
	for _, want := range []int{1, 3, 7, 15, 31, 31} {
		now += fastCalls
		if c.set(now); c.left != want || c.last != now {
			t.Fatalf("%d calls share the look at %v, want %d", c.left, c.last, want)
		}
	}
	if got := c.look(time.Now().Add(-time.Hour)); got != now || c.left != 30 {
		t.Errorf("a call that shares a look begins at %v, want %v", got, now)
	}
	c.expire()
	if got := c.look(time.Now().Add(-time.Hour)); got < time.Hour || c.left != 0 {
		t.Errorf("after a slow call the next begins at %v and %d share that", got, c.left)
	}
}

func TestATightTimeoutLooksAtTheClockForEveryCall(t *testing.T) {
	c := clock{exact: true}
	for range 3 {
		if c.set(c.last + 1); c.left != 0 {
			t.Fatal("calls share a look")
		}
	}
}

func TestHalvesOfASpan(t *testing.T) {
	s := span{0, 5}
	for _, want := range []span{{2, 5}, {1, 2}, {0, 1}} {
		if got := s.half(); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	if !s.empty() || !s.half().empty() {
		t.Error("something was left")
	}
}
