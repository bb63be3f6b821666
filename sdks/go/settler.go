package meshloom

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
)

// settler tells the source what it may forget, in a goroutine of its own so that the stream is read on meanwhile.
type settler struct {
	ctx    context.Context
	commit func(context.Context, Checkpoint) error
	done   chan struct{}

	mu       sync.Mutex
	wake     sync.Cond
	waiting  map[uint64][]func(context.Context) error // of frames that have not settled
	ready    []settlement
	newest   []byte // the last checkpoint that was told, or waits to be
	finished bool
}

// settlement is what is told together: the events of a frame, then the checkpoint.
type settlement struct {
	settled []func(context.Context) error
	upTo    []byte // nil: none
}

// maxBacklog is how many settlements wait for a slow source one by one; what comes on top is told with the last of them.
const maxBacklog = 64

func newSettler(ctx context.Context, commit func(context.Context, Checkpoint) error) *settler {
	s := &settler{ctx: context.WithoutCancel(ctx), commit: commit, waiting: map[uint64][]func(context.Context) error{}, done: make(chan struct{})}
	s.wake.L = &s.mu
	go s.run()
	return s
}

// sent remembers what to call when a frame settles.
func (s *settler) sent(sequence uint64, settled []func(context.Context) error) {
	if len(settled) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[sequence] = settled
}

func (s *settler) settle(sequence uint64, checkpoint []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := settlement{settled: s.waiting[sequence]}
	delete(s.waiting, sequence)
	if checkpoint != nil && s.commit != nil && !(s.newest != nil && bytes.Equal(checkpoint, s.newest)) {
		one.upTo, s.newest = checkpoint, checkpoint
	}
	switch n := len(s.ready); {
	case one.settled == nil && one.upTo == nil:
		return
	case n < maxBacklog:
		s.ready = append(s.ready, one)
	default:
		last := &s.ready[n-1]
		last.settled = append(last.settled, one.settled...)
		if one.upTo != nil {
			last.upTo = one.upTo
		}
	}
	s.wake.Signal()
}

func (s *settler) run() {
	defer close(s.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.ready) == 0 && !s.finished {
			s.wake.Wait()
		}
		if len(s.ready) == 0 {
			return
		}
		one := s.ready[0]
		s.ready = s.ready[1:]
		s.mu.Unlock()
		s.tell(one)
		s.mu.Lock()
	}
}

func (s *settler) tell(one settlement) {
	for _, settled := range one.settled {
		if err := contained(func() error { return settled(s.ctx) }); err != nil {
			slog.Error("a Settled function failed", slog.Any("error", err))
		}
	}
	if one.upTo == nil {
		return
	}
	if err := contained(func() error { return s.commit(s.ctx, Checkpoint{one.upTo}) }); err != nil {
		slog.Error("the OnSettled function failed", slog.Any("error", err))
	}
}

// finish waits until everything that has settled so far was told.
func (s *settler) finish() {
	s.mu.Lock()
	s.finished = true
	s.wake.Signal()
	s.mu.Unlock()
	<-s.done
}
