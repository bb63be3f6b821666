package meshloomtest_test

import (
	"context"
	"iter"
	"slices"
	"testing"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

// numbers counts to 5 and remembers what it is told.
type numbers struct {
	settled   []int
	committed []string
}

func (n *numbers) node() *meshloom.Node {
	return meshloom.New("count", meshloom.Source(func(_ context.Context, from meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] {
		return func(yield func(meshloom.Record, error) bool) {
			last := 0
			if err := from.Decode(&last); err != nil {
				yield(meshloom.Record{}, err)
				return
			}
			for i := last + 1; i <= 5; i++ {
				settled := func(context.Context) error { n.settled = append(n.settled, i); return nil }
				if !yield(meshloom.Record{Data: i, Checkpoint: i, Settled: settled}, nil) {
					return
				}
			}
		}
	}, meshloom.OnSettled(func(_ context.Context, upTo meshloom.Checkpoint) error {
		n.committed = append(n.committed, upTo.String())
		return nil
	})))
}

func TestRunSource(t *testing.T) {
	n := &numbers{}
	r := meshloomtest.RunSource(t, meshloomtest.SourceOptions{From: 2}, n.node())
	r.Expect(t, "3 id=2#1", "4 id=3#1", "5 id=4#1")
	if r.Checkpoint.String() != "5" || !r.Exhausted || r.Checkpoints[len(r.Checkpoints)-1].String() != "5" {
		t.Errorf("got %+v", r)
	}
	if !slices.Equal(n.settled, []int{3, 4, 5}) || n.committed[len(n.committed)-1] != "5" {
		t.Errorf("settled %v, committed %v", n.settled, n.committed)
	}
	some := meshloomtest.RunSource(t, meshloomtest.SourceOptions{Limit: 2}, n.node())
	some.Expect(t, "1 id=#1", "2 id=1#1")
	if some.Exhausted {
		t.Error("exhausted after two of five")
	}
	rest := meshloomtest.RunSource(t, meshloomtest.SourceOptions{From: some.Checkpoint}, n.node())
	rest.Expect(t, "3 id=2#1", "4 id=3#1", "5 id=4#1")
	meshloomtest.RunSource(t, meshloomtest.SourceOptions{From: meshloom.Checkpoint{}, Limit: 1}, n.node()).Expect(t, "1 id=#1")
}

func TestNothingIsToldOfWhatHasNotSettled(t *testing.T) {
	n := &numbers{}
	if r := meshloomtest.RunSource(t, meshloomtest.SourceOptions{Unsettled: true}, n.node()); len(r.Outputs) != 5 || len(n.settled)+len(n.committed) != 0 {
		t.Errorf("got %+v, settled %v, committed %v", r, n.settled, n.committed)
	}
}
