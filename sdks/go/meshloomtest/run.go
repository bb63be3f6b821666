// Package meshloomtest runs a node on events in a test: no coordinator, no network. Set-up and tear-down run, events and
// answers go through the real protocol, and the answers are checked as a coordinator checks them.
package meshloomtest

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Options change how a node is run; the zero value is a first attempt in one batch without config.
type Options struct {
	Config  any           // for encoding/json; nil: no config
	Attempt int           // which attempt the events are on, from 1; 0: the first
	Splits  int           // events per batch; 0: all in one
	Timeout time.Duration // of one handler call; 0: none
	Keyed   bool          // events of one key in sequence
}

// Event is an event with attributes. Any other value given to [Run] is the payload of an event without.
type Event struct {
	Data                                 any // a value for encoding/json, or a []byte as it is
	ID, Source, Type, Subject, Key, From string
	ContentType                          string // default: application/json, for a []byte none
	Time                                 time.Time
}

// Output is an output event. Attributes that the node left alone are empty here.
type Output struct {
	Input                                                  int // index of the event it came from, -1: the whole batch
	Data                                                   []byte
	Passed                                                 bool // the payload is the input's, unchanged
	ContentType, Type, Subject, Key, ID, Route, DataSchema string
	Time                                                   time.Time
	Extensions                                             map[string]any
}

// Text returns the payload as a string.
func (o Output) Text() string { return string(o.Data) }

// JSON decodes the payload into v and fails the test when it does not fit.
func (o Output) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(o.Data, v); err != nil {
		t.Fatalf("output of input %d: %v in %.200q", o.Input, err, o.Data)
	}
}

// Failure is an event that was rejected or is to be retried.
type Failure struct {
	Input      int // index of the event, -1: the whole batch
	Reason     string
	Message    string
	RetryAfter time.Duration // 0: as the node's retry policy says
}

// Result is what became of the events.
type Result struct {
	Outputs  []Output
	Dropped  int // number of events that ended with no output on purpose; for a sink: delivered
	Rejected []Failure
	Retried  []Failure
}

// Run runs a node on events with the zero [Options].
func Run(t testing.TB, node *meshloom.Node, events ...any) *Result {
	t.Helper()
	return RunWith(t, Options{}, node, events...)
}

// RunWith runs a node on events.
func RunWith(t testing.TB, options Options, node *meshloom.Node, events ...any) *Result {
	t.Helper()
	served := harness.Serve(t, func(ctx context.Context, l net.Listener) error { return meshloom.ServeListener(ctx, l, node) })
	open := &meshloomv1.OpenProcess{Pipeline: "test", Node: "test", ConfigJson: configJSON(t, options.Config)}
	if options.Keyed {
		open.Ordering = meshloomv1.Ordering_ORDERING_KEY
	}
	stream := served.Process(t, open)
	result := &Result{}
	first, sequence := 0, uint64(0)
	for part := range slices.Chunk(events, max(cmp.Or(options.Splits, len(events)), 1)) {
		sequence++
		work := &meshloomv1.Work{Sequence: sequence, Batch: batchOf(t, first, part)}
		if options.Attempt > 0 {
			for range part {
				work.Attempts = binary.LittleEndian.AppendUint32(work.Attempts, uint32(options.Attempt))
			}
		}
		if options.Timeout > 0 {
			work.Timeout = durationpb.New(options.Timeout)
		}
		stream.Send(t, work)
		result.add(first, stream.Collect(t, work))
		first += len(part)
	}
	if err := stream.Stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := served.Stop(); err != nil {
		t.Fatalf("the node ended with %v", err)
	}
	return result
}

func (r *Result) add(first int, a *harness.Answer) {
	at := func(index uint32) int {
		if index == columns.None {
			return -1
		}
		return first + int(index)
	}
	for _, o := range a.Outputs {
		out := Output{
			Input: at(o.Parent), Data: o.Payload, Passed: o.Passed, Extensions: o.Extensions,
			ContentType: o.Attributes["content_type"], Type: o.Attributes["type"], Subject: o.Attributes["subject"],
			Key: o.Attributes["key"], ID: o.Attributes["id"], Route: o.Attributes["route"], DataSchema: o.Attributes["data_schema"],
		}
		if o.TimeSet {
			out.Time = time.Unix(0, o.Time).UTC()
		}
		r.Outputs = append(r.Outputs, out)
	}
	slices.SortStableFunc(r.Outputs, func(a, b Output) int { return a.Input - b.Input })
	for _, f := range a.Failures {
		failure := Failure{Input: at(f.GetIndex()), Reason: f.GetReason(), Message: f.GetMessage(), RetryAfter: f.GetRetryAfter().AsDuration()}
		if f.GetAction() == meshloomv1.FailureAction_FAILURE_ACTION_REJECT {
			r.Rejected = append(r.Rejected, failure)
		} else {
			r.Retried = append(r.Retried, failure)
		}
	}
	byInput := func(a, b Failure) int { return a.Input - b.Input }
	slices.SortFunc(r.Rejected, byInput)
	slices.SortFunc(r.Retried, byInput)
	r.Dropped += int(a.Consumed)
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

// batchOf encodes events; first is the number of events before them, which keeps uids distinct.
func batchOf(t testing.TB, first int, events []any) *meshloomv1.Batch {
	t.Helper()
	rows := make([]columns.Row, len(events))
	uids := make([]byte, 16*len(events))
	froms := make([]string, len(events))
	for i, value := range events {
		binary.BigEndian.PutUint64(uids[16*i+8:], uint64(first+i+1))
		event, ok := value.(Event)
		if !ok {
			event = Event{Data: value}
		}
		row, err := rowOf(event)
		if err != nil {
			t.Fatalf("event %d: %v", first+i, err)
		}
		rows[i], froms[i] = row, event.From
	}
	batch := columns.EncodeBatch(rows, nil)
	batch.Uid = uids
	if slices.ContainsFunc(froms, func(s string) bool { return s != "" }) {
		batch.From = harness.Texts(froms...)
	}
	return batch
}

func rowOf(e Event) (columns.Row, error) {
	row := columns.Row{Meta: &columns.Meta{}}
	if raw, ok := e.Data.([]byte); ok {
		row.Payload = raw
	} else {
		encoded, err := json.Marshal(e.Data)
		if err != nil {
			return row, err
		}
		row.Payload, row.Default = encoded, "application/json"
	}
	for _, a := range []struct {
		to    *columns.Attr
		value string
	}{
		{&row.Meta.ContentType, e.ContentType}, {&row.Meta.ID, e.ID}, {&row.Meta.Source, e.Source},
		{&row.Meta.Type, e.Type}, {&row.Meta.Subject, e.Subject}, {&row.Meta.Key, e.Key},
	} {
		if a.value != "" {
			*a.to = columns.SetTo(a.value)
		}
	}
	if !e.Time.IsZero() {
		row.Meta.Time, row.Meta.TimeSet = e.Time.UnixNano(), true
	}
	return row, row.Meta.Check()
}
