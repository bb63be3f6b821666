package meshloomtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// WholeBatch stands for the index of an input where an output or a failure belongs to the whole batch.
const WholeBatch = -1

// Output is an output event. Attributes that the node left alone are empty here.
type Output struct {
	Input       int // index of the event it came from, or [WholeBatch]; of a source, its own place
	Data        []byte
	Passed      bool // the payload is the input's, unchanged
	ContentType string
	Type        string
	Subject     string
	Key         string
	ID          string
	Route       string
	DataSchema  string
	Time        time.Time
	Extensions  map[string]any
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

// String returns the payload and the attributes that matter in a pipeline: `{"celsius":40} key=roof route=hot`.
func (o Output) String() string {
	text := "passed"
	if !o.Passed {
		text = fmt.Sprintf("%q", o.Data)
		if utf8.Valid(o.Data) && len(o.Data) > 0 {
			text = string(o.Data)
		}
	}
	for _, a := range []struct{ name, value string }{{"key", o.Key}, {"route", o.Route}, {"type", o.Type}, {"subject", o.Subject}, {"id", o.ID}} {
		if a.value != "" {
			text += " " + a.name + "=" + a.value
		}
	}
	if !o.Time.IsZero() {
		text += " time=" + o.Time.Format(time.RFC3339Nano)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Extensions)) {
		text += fmt.Sprintf(" %s=%v", name, o.Extensions[name])
	}
	return text
}

// Failure is an event that was rejected or is to be retried.
type Failure struct {
	Input      int // index of the event, or [WholeBatch]
	Reason     string
	Message    string
	RetryAfter time.Duration // 0: as the node's retry policy says
}

// Result is what became of the events.
type Result struct {
	Outputs  []Output
	Dropped  []int // events that ended with no output on purpose; for a sink: delivered
	Rejected []Failure
	Retried  []Failure

	Spans       []Span  // with [Options.Trace]: the spans that have ended, in order
	Redelivered *Result // with [Options.Redeliver]: what became of the second delivery
}

// String tells what became of each event, in order:
//
//	0: {"celsius":40} key=roof route=hot
//	1: passed
//	2: dropped
//	3: rejected TOO_COLD: -300 is below what there is
//	4: retried BUSY after 2s: try later
//	batch: {"rows":5}
func (r *Result) String() string { return strings.Join(r.lines(), "\n") }

// Expect fails the test unless String's lines are these, and shows how they differ. The message of a rejection or a retry may be
// left out.
func (r *Result) Expect(t testing.TB, lines ...string) {
	t.Helper()
	got := r.lines()
	if !slices.EqualFunc(lines, got, matches) {
		t.Errorf("what became of the events (-want +got):\n%s", diff(lines, got))
	}
}

// matches tells whether a line is as wanted, with or without its message.
func matches(want, got string) bool {
	return got == want || strings.HasPrefix(got, want+": ")
}

type line struct {
	input int
	text  string
}

func (r *Result) lines() []string {
	var lines []line
	for _, o := range r.Outputs {
		lines = append(lines, line{o.Input, o.String()})
	}
	for _, input := range r.Dropped {
		lines = append(lines, line{input, "dropped"})
	}
	for _, f := range r.Rejected {
		lines = append(lines, line{f.Input, "rejected " + f.Reason + ": " + f.Message})
	}
	for _, f := range r.Retried {
		after := ""
		if f.RetryAfter > 0 {
			after = " after " + f.RetryAfter.String()
		}
		lines = append(lines, line{f.Input, "retried " + f.Reason + after + ": " + f.Message})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(uint(a.input), uint(b.input)) }) // whole batches last
	texts := make([]string, len(lines))
	for i, l := range lines {
		name := fmt.Sprint(l.input)
		if l.input == WholeBatch {
			name = "batch"
		}
		texts[i] = name + ": " + l.text
	}
	return texts
}

// add takes down the answer to a batch of so many events.
func (r *Result) add(first, count int, a *harness.Answer) {
	at := func(index uint32) int {
		if index == columns.None {
			return WholeBatch
		}
		return first + int(index)
	}
	open := map[int]bool{}
	for i := range count {
		open[first+i] = true
	}
	for _, o := range a.Outputs {
		r.Outputs = append(r.Outputs, outputOf(at(o.Parent), o))
		delete(open, at(o.Parent))
	}
	for _, f := range a.Failures {
		failure := Failure{Input: at(f.GetIndex()), Reason: f.GetReason(), Message: f.GetMessage(), RetryAfter: f.GetRetryAfter().AsDuration()}
		if f.GetAction() == meshloomv1.FailureAction_FAILURE_ACTION_REJECT {
			r.Rejected = append(r.Rejected, failure)
		} else {
			r.Retried = append(r.Retried, failure)
		}
		delete(open, failure.Input)
	}
	if a.Failures[columns.None] == nil {
		r.Dropped = slices.AppendSeq(r.Dropped, maps.Keys(open))
	}
}

func outputOf(input int, o harness.Output) Output {
	out := Output{
		Input: input, Data: o.Payload, Passed: o.Passed, Extensions: o.Extensions,
		ContentType: o.Attributes["content_type"], Type: o.Attributes["type"], Subject: o.Attributes["subject"],
		Key: o.Attributes["key"], ID: o.Attributes["id"], Route: o.Attributes["route"], DataSchema: o.Attributes["data_schema"],
	}
	if o.TimeSet && o.Time != columns.NoTime {
		out.Time = time.Unix(0, o.Time).UTC()
	}
	return out
}

// sort puts everything in order of the inputs: answers come as handlers end.
func (r *Result) sort() {
	slices.SortStableFunc(r.Outputs, func(a, b Output) int { return a.Input - b.Input })
	slices.Sort(r.Dropped)
	byInput := func(a, b Failure) int { return a.Input - b.Input }
	slices.SortFunc(r.Rejected, byInput)
	slices.SortFunc(r.Retried, byInput)
}
