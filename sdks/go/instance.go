package meshloom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
)

// instances holds what set-ups made: one handler per node and distinct config, shared by streams, torn down together
// after the last stream has ended.
type instances struct {
	mu   sync.Mutex
	made map[instanceKey]*instance
}

type instanceKey struct{ node, config string }

type instance struct {
	mu   sync.Mutex // held while the set-up runs
	body *body
}

// open returns the handler for a config and runs its set-up if none has succeeded yet.
func (s *instances) open(ctx context.Context, node *Node, config []byte) (*body, error) {
	key := instanceKey{node.name, canonicalConfig(config)}
	s.mu.Lock()
	if s.made == nil {
		s.made = map[instanceKey]*instance{}
	}
	one := s.made[key]
	if one == nil {
		one = &instance{}
		s.made[key] = one
	}
	s.mu.Unlock()

	one.mu.Lock()
	defer one.mu.Unlock()
	if one.body != nil {
		return one.body, nil
	}
	// The set-up outlives the stream that asked for it: contexts that it hands to pools must not end with the stream.
	ctx = context.WithoutCancel(ctx)
	err := contained(func() error {
		handler, err := node.setup(ctx, config)
		if err != nil {
			return err
		}
		b := handler.body()
		if b.each == nil && b.batch == nil && b.source == nil {
			return errors.New("the set-up returned a handler that was not made by Map, Filter, FlatMap, MapBatch, Sink or Source")
		}
		one.body = &b
		return nil
	})
	return one.body, err
}

// stop tears everything down and returns what went wrong.
func (s *instances) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []error
	for key, one := range s.made {
		one.mu.Lock()
		if one.body != nil && one.body.stop != nil {
			if err := contained(one.body.stop); err != nil {
				failed = append(failed, fmt.Errorf("tear-down of %s: %w", key.node, err))
			}
		}
		one.body = nil
		one.mu.Unlock()
	}
	s.made = nil
	return errors.Join(failed...)
}

// newPanicError logs where a panic came from and returns it as a verdict.
func newPanicError(cause any) error {
	slog.Error("a handler panicked", slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
	return panicError(cause)
}
