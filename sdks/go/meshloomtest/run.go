package meshloomtest

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Options change how a node is run; the zero value is a first attempt in one batch without config.
type Options struct {
	Config  any           // for encoding/json; nil: no config
	Attempt int           // which attempt the events are on, from 1; 0: the first
	Timeout time.Duration // of one handler call; 0: none
	Keyed   bool          // events of one key in sequence

	// BatchSize is the number of events in a batch; 0: all in one.
	BatchSize int
	// Splits cuts the events into so many batches at random places, in place of BatchSize; 0: it does not.
	Splits int
	// Seed decides where Splits cuts. 0 chooses one, which a test that fails prints.
	Seed uint64
	// Redeliver delivers every event once more when all are answered, under the same identity and as the next attempt: what
	// comes of it is in [Result.Redelivered].
	Redeliver bool
	// Cancel, once closed, has the batch in hand taken back, as a coordinator does; batches after it are not sent. A handler
	// that closes it cancels its own call.
	Cancel <-chan struct{}
	// Trace makes every event sampled, and fills [Result.Spans].
	Trace bool
}

// Run runs a node on events with the zero [Options].
func Run(t testing.TB, node *meshloom.Node, events ...any) *Result {
	t.Helper()
	return RunWith(t, Options{}, node, events...)
}

// RunWith runs a node on events: values for encoding/json, []byte, or [Event].
func RunWith(t testing.TB, options Options, node *meshloom.Node, events ...any) *Result {
	t.Helper()
	batches := options.cut(t, len(events))
	served := serve(t, node)
	open := &meshloomv1.OpenProcess{Pipeline: "test", Node: "test", ConfigJson: configJSON(t, options.Config)}
	if options.Keyed {
		open.Ordering = meshloomv1.Ordering_ORDERING_KEY
	}
	run := &run{options: options, stream: served.Process(t, open), events: events, batches: batches}
	result := run.deliver(t, max(options.Attempt, 1))
	if options.Redeliver {
		result.Redelivered = run.deliver(t, max(options.Attempt, 1)+1)
	}
	if err := run.stream.Stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := served.Stop(); err != nil {
		t.Fatalf("the node ended with %v", err)
	}
	return result
}

// run is a stream on which events are delivered.
type run struct {
	options  Options
	stream   *harness.Process
	events   []any
	batches  []int // events in each
	sequence uint64
}

// deliver sends every event and gathers the answers.
func (r *run) deliver(t testing.TB, attempt int) *Result {
	t.Helper()
	result := &Result{}
	var spans *spans
	if r.options.Trace {
		spans = recordSpans()
		defer spans.stop()
	}
	first := 0
	for _, count := range r.batches {
		r.sequence++
		work := &meshloomv1.Work{Sequence: r.sequence, Batch: batchOf(t, first, r.events[first:first+count])}
		for range count {
			work.Attempts = binary.LittleEndian.AppendUint32(work.Attempts, uint32(attempt))
		}
		if r.options.Timeout > 0 {
			work.Timeout = durationpb.New(r.options.Timeout)
		}
		if spans != nil {
			work.Batch.Spans = spans.contexts(first, count)
		}
		answer, cancelled := r.exchange(t, work)
		result.add(first, count, answer)
		first += count
		if cancelled {
			break
		}
	}
	result.sort()
	if spans != nil {
		result.Spans = spans.ended()
	}
	return result
}

// exchange sends a work and waits for its answer, or takes it back on the way.
func (r *run) exchange(t testing.TB, work *meshloomv1.Work) (answer *harness.Answer, cancelled bool) {
	t.Helper()
	r.stream.Send(t, work)
	answered, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-answered:
		case <-r.options.Cancel: // nil: never
			cancelled = true
			// An error means that the stream has broken, which Collect sees.
			_ = r.stream.Stream.Send(&meshloomv1.ProcessRequest{Request: &meshloomv1.ProcessRequest_Cancel{
				Cancel: &meshloomv1.Cancel{Sequence: work.GetSequence(), Reason: "the test asked"},
			}})
		}
	}()
	answer = r.stream.Collect(t, work)
	close(answered)
	<-watched
	return answer, cancelled
}

// cut returns how many events each batch has.
func (o Options) cut(t testing.TB, events int) []int {
	if o.Splits <= 0 {
		size := cmp.Or(o.BatchSize, max(events, 1))
		var batches []int
		for left := events; left > 0; left -= size {
			batches = append(batches, min(size, left))
		}
		return batches
	}
	seed := o.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the batches were cut at random; the same again by meshloomtest.Options{Seed: %d}", seed)
		}
	})
	random := rand.New(rand.NewPCG(seed, 0))
	cuts := []int{0, events}
	for range o.Splits - 1 {
		cuts = append(cuts, random.IntN(events+1))
	}
	slices.Sort(cuts)
	var batches []int
	for i, end := range cuts[1:] {
		if count := end - cuts[i]; count > 0 {
			batches = append(batches, count)
		}
	}
	return batches
}

func configJSON(t testing.TB, config any) []byte {
	t.Helper()
	if config == nil {
		return nil
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatalf("the config cannot be encoded: %v", err)
	}
	return encoded
}
