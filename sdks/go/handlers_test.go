package meshloom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"strings"
	"testing"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

type command struct {
	N  int    `json:"n"`
	Do string `json:"do"`
}

func serve(t testing.TB, nodes ...*meshloom.Node) *harness.Served {
	t.Helper()
	return harness.Serve(t, func(ctx context.Context, l net.Listener) error { return meshloom.ServeListener(ctx, l, nodes...) })
}

// ask sends one work with these payloads to a node of its own and returns the answer.
func ask(t *testing.T, node *meshloom.Node, payloads ...string) *harness.Answer {
	t.Helper()
	p := serve(t, node).Process(t, &meshloomv1.OpenProcess{Pipeline: "p", Node: "n"})
	work := workOf(1, payloads...)
	p.Send(t, work)
	return p.Collect(t, work)
}

func workOf(sequence uint64, payloads ...string) *meshloomv1.Work {
	raw := make([][]byte, len(payloads))
	for i, s := range payloads {
		raw[i] = []byte(s)
	}
	return &meshloomv1.Work{Sequence: sequence, Batch: harness.Payloads(raw...)}
}

func wantFailure(t *testing.T, a *harness.Answer, index uint32, action meshloomv1.FailureAction, reason, message string) {
	t.Helper()
	f := a.Failures[index]
	if f == nil {
		t.Fatalf("input %d has no failure: %+v", index, a)
	}
	if f.GetAction() != action || f.GetReason() != reason || !strings.Contains(f.GetMessage(), message) {
		t.Errorf("input %d: got %v %s %q, want %v %s with %q", index, f.GetAction(), f.GetReason(), f.GetMessage(), action, reason, message)
	}
}

const (
	retry  = meshloomv1.FailureAction_FAILURE_ACTION_RETRY
	reject = meshloomv1.FailureAction_FAILURE_ACTION_REJECT
)

func handleMap(_ context.Context, in command) (meshloom.Out[map[string]int], error) {
	out := map[string]int{"n": in.N}
	switch in.Do {
	case "drop":
		return meshloom.Out[map[string]int]{}, meshloom.Drop
	case "reject":
		return meshloom.Out[map[string]int]{}, meshloom.Rejectf("BAD_LINE", "line %d", in.N)
	case "retry":
		return meshloom.Out[map[string]int]{}, meshloom.RetryAfter(time.Second, errors.New("busy"))
	case "fail":
		return meshloom.Out[map[string]int]{}, fmt.Errorf("no %d", in.N)
	case "panic":
		panic("ouch")
	case "none":
		return meshloom.Out[map[string]int]{}, nil
	case "null":
		return meshloom.Emit(map[string]int(nil)), nil
	case "route":
		return meshloom.Emit(out).Route("elsewhere"), nil
	case "attributes":
		return meshloom.Emit(out).Key("k").Route("side").Type("t").Subject("s").ID("i").ContentType("x/y").
			Time(time.Unix(5, 7)).Extension("ext", int32(3)).Extension("flag", true), nil
	}
	return meshloom.Emit(out), nil
}

func TestMapGivesEachInputItsVerdict(t *testing.T) {
	a := ask(t, meshloom.New("n", meshloom.Map(handleMap), meshloom.Routes("side")),
		`{"n":0}`, `{"n":1,"do":"drop"}`, `{"n":2,"do":"reject"}`, `{"n":3,"do":"retry"}`, `{"n":4,"do":"fail"}`,
		`{"n":5,"do":"panic"}`, `{"n":6,"do":"none"}`, `{"n":7,"do":"null"}`, `{"n":8,"do":"attributes"}`, `{"n":"nine"}`, `{"n"`, ``, `{"do":"route"}`)
	if len(a.Outputs) != 3 || a.Consumed != 1 {
		t.Fatalf("got %d outputs and %d consumed, want 3 and 1", len(a.Outputs), a.Consumed)
	}
	if o := a.Outputs[0]; string(o.Payload) != `{"n":0}` || o.Attributes["content_type"] != "application/json" || o.Parent != 0 || o.TimeSet {
		t.Errorf("output 0 is %+v", o)
	}
	if o := a.Outputs[1]; string(o.Payload) != `null` || o.Parent != 7 {
		t.Errorf("an explicit null came as %+v", o)
	}
	o := a.Outputs[2]
	want := map[string]string{"content_type": "x/y", "key": "k", "route": "side", "type": "t", "subject": "s", "id": "i"}
	if fmt.Sprint(o.Attributes) != fmt.Sprint(want) || o.Time != 5e9+7 || o.Extensions["ext"] != int32(3) || o.Extensions["flag"] != true {
		t.Errorf("attributes came as %+v", o)
	}
	wantFailure(t, a, 2, reject, "BAD_LINE", "line 2")
	wantFailure(t, a, 3, retry, "RETRY", "busy")
	if after := a.Failures[3].GetRetryAfter().AsDuration(); after != time.Second {
		t.Errorf("retry_after is %v, want 1s", after)
	}
	wantFailure(t, a, 4, retry, "HANDLER_ERROR", "no 4")
	wantFailure(t, a, 5, retry, "PANIC", "ouch")
	wantFailure(t, a, 6, reject, "NO_RESULT", "meshloom.Drop")
	wantFailure(t, a, 9, reject, "PAYLOAD_MISMATCH", `field "n": want int, got string`)
	wantFailure(t, a, 10, reject, "PAYLOAD_MISMATCH", "byte 4")
	wantFailure(t, a, 11, reject, "PAYLOAD_MISMATCH", "empty")
	wantFailure(t, a, 12, reject, "ROUTE_UNDECLARED", "declared are: side")
	if last := a.Results[len(a.Results)-1]; last.GetBusy().AsDuration() <= 0 {
		t.Error("the last result has no busy time")
	}
}

func TestMapOfRawBytes(t *testing.T) {
	a := ask(t, meshloom.New("n", meshloom.Map(func(_ context.Context, in []byte) ([]byte, error) {
		if len(in) == 0 {
			return nil, nil
		}
		return append([]byte("raw "), in...), nil
	})), "one", "")
	if string(a.Outputs[0].Payload) != "raw one" || a.Outputs[0].Attributes["content_type"] != "application/octet-stream" {
		t.Errorf("got %+v", a.Outputs[0])
	}
	wantFailure(t, a, 1, reject, "NO_RESULT", "nothing")
}

func TestResultsThatCannotBeSentAreRejected(t *testing.T) {
	type any1 = any
	a := ask(t, meshloom.New("n", meshloom.Map(func(_ context.Context, in command) (any1, error) {
		switch in.Do {
		case "function":
			return func() {}, nil
		case "huge":
			return make([]byte, columns.MaxEventBytes+1), nil
		case "key":
			return meshloom.Emit(1).Key(strings.Repeat("k", columns.MaxKeyBytes+1)), nil
		case "type":
			return meshloom.Emit(1).Type(strings.Repeat("k", columns.MaxAttributeBytes+1)), nil
		case "utf8":
			return meshloom.Emit(1).Subject("\xff"), nil
		case "extension":
			return meshloom.Emit(1).Extension("Bad-Name", 1), nil
		case "extensiontype":
			return meshloom.Emit(1).Extension("name", 1.5), nil
		case "time":
			return meshloom.Emit(1).Time(time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)), nil
		}
		out := meshloom.Emit(1)
		for i := range columns.MaxExtensions + 1 {
			out = out.Extension(fmt.Sprintf("e%d", i), true)
		}
		return out, nil
	})), `{"do":"function"}`, `{"do":"huge"}`, `{"do":"key"}`, `{"do":"type"}`, `{"do":"utf8"}`, `{"do":"extension"}`, `{"do":"extensiontype"}`, `{"do":"time"}`, `{"do":"many"}`)
	for i, reason := range []string{"OUTPUT_INVALID", "EVENT_TOO_LARGE", "ATTRIBUTE_TOO_LARGE", "ATTRIBUTE_TOO_LARGE", "OUTPUT_INVALID", "OUTPUT_INVALID", "OUTPUT_INVALID", "OUTPUT_INVALID", "TOO_MANY_EXTENSIONS"} {
		wantFailure(t, a, uint32(i), reject, reason, "")
	}
}

func TestFilterPassesUnchangedOrDrops(t *testing.T) {
	a := ask(t, meshloom.New("n", meshloom.Filter(func(_ context.Context, in command) (bool, error) {
		if in.Do == "reject" {
			return false, meshloom.Reject("NO", errors.New("no"))
		}
		return in.N%2 == 0, nil
	})), `{"n":0}`, `{"n":1}`, `{"n":2}`, `{"do":"reject"}`)
	if len(a.Outputs) != 2 || !a.Outputs[0].Passed || a.Outputs[1].Parent != 2 || a.Consumed != 1 {
		t.Errorf("got %+v", a)
	}
	if len(a.Outputs[0].Attributes) != 0 {
		t.Errorf("a filter set attributes: %+v", a.Outputs[0])
	}
	wantFailure(t, a, 3, reject, "NO", "no")
}

func split(_ context.Context, in command) iter.Seq2[map[string]int, error] {
	return func(yield func(map[string]int, error) bool) {
		for part := range in.N {
			if !yield(map[string]int{"part": part}, nil) {
				return
			}
		}
		if in.Do == "fail" {
			yield(nil, errors.New("late"))
		}
	}
}

func TestFlatMap(t *testing.T) {
	a := ask(t, meshloom.New("n", meshloom.FlatMap(split)), `{"n":3}`, `{"n":0}`, `{"n":2,"do":"fail"}`, `{"n":1}`)
	if len(a.Outputs) != 4 || a.Consumed != 1 {
		t.Fatalf("got %d outputs and %d consumed", len(a.Outputs), a.Consumed)
	}
	for i, parent := range []uint32{0, 0, 0, 3} {
		if a.Outputs[i].Parent != parent {
			t.Errorf("output %d came from %d, want %d", i, a.Outputs[i].Parent, parent)
		}
	}
	wantFailure(t, a, 2, retry, "HANDLER_ERROR", "late")
}

func TestFlatMapSendsLargeOutputsInPieces(t *testing.T) {
	big := strings.Repeat("x", 300<<10)
	node := meshloom.New("n", meshloom.FlatMap(func(_ context.Context, in command) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for range in.N {
				if !yield(big, nil) {
					return
				}
			}
			if in.Do == "fail" {
				yield("", errors.New("late"))
			}
		}
	}))
	a := ask(t, node, `{"n":9}`, `{"n":1}`, `{"n":12}`, `{"n":7,"do":"fail"}`, `{"n":5}`)
	count := map[uint32]int{}
	for _, o := range a.Outputs {
		count[o.Parent]++
	}
	if count[0] != 9 || count[1] != 1 || count[2] != 12 || count[4] != 5 {
		t.Errorf("outputs per input: %v", count)
	}
	if len(a.Results) < 5 {
		t.Errorf("8 MiB came in %d results: outputs are held beyond 1 MiB", len(a.Results))
	}
	wantFailure(t, a, 3, retry, "HANDLER_ERROR", "late")
}

func TestSink(t *testing.T) {
	var got []string
	a := ask(t, meshloom.New("n", meshloom.Sink(func(_ context.Context, e meshloom.Event) error {
		if e.Text() == "bad" {
			return meshloom.Retry(errors.New("full"))
		}
		got = append(got, e.Text()+e.UID().String())
		return nil
	}), meshloom.Concurrency(1)), "a", "bad", "b")
	if a.Consumed != 2 || len(a.Outputs) != 0 || len(got) != 2 || !strings.HasSuffix(got[1], "0003") {
		t.Errorf("got %+v and %v", a, got)
	}
	wantFailure(t, a, 1, retry, "RETRY", "full")
}

func TestEventPassesThroughMap(t *testing.T) {
	p := serve(t, meshloom.New("n", meshloom.Map(func(ctx context.Context, e meshloom.Event) (meshloom.Out[meshloom.Event], error) {
		if at := e.Time(); !at.Equal(time.Unix(0, 9)) {
			return meshloom.Out[meshloom.Event]{}, fmt.Errorf("time %v", at)
		}
		if e.Attempt() != 4 || meshloom.Attempt(ctx) != 4 || meshloom.EventFrom(ctx).ID() != "id-1" || e.Type() != "t" || e.Key() != "" || e.Source() != "src" || e.ContentType() != "text/plain" {
			return meshloom.Out[meshloom.Event]{}, fmt.Errorf("attributes of %+v", e)
		}
		if v, ok := e.Extension("x"); !ok || v != "why" {
			return meshloom.Out[meshloom.Event]{}, fmt.Errorf("extension %v", v)
		}
		return meshloom.Emit(e).Route("r"), nil
	}), meshloom.Routes("r"))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	work := workOf(1, "payload")
	work.Attempts = harness.Attempts(4)
	b := work.Batch
	b.Id, b.Type, b.Source, b.ContentType = harness.Texts("id-1"), harness.Texts("t"), harness.Texts("src"), harness.Texts("text/plain")
	b.Time = []byte{9, 0, 0, 0, 0, 0, 0, 0}
	b.Extensions = []*meshloomv1.Extension{{Name: "x", Type: meshloomv1.ExtensionType_EXTENSION_TYPE_STRING, Values: harness.Texts("why").Values}}
	p.Send(t, work)
	a := p.Collect(t, work)
	// Neither the payload nor its content type goes back.
	if len(a.Outputs) != 1 || !a.Outputs[0].Passed || a.Outputs[0].Attributes["route"] != "r" || len(a.Outputs[0].Attributes) != 1 {
		t.Errorf("got %+v", a)
	}
}

func TestDescribe(t *testing.T) {
	type config struct {
		Label string        `json:"label" meshloom:"required"`
		Every time.Duration `json:"every" default:"5s"`
	}
	s := serve(t,
		meshloom.NewWith("one", func(context.Context, config) (meshloom.MapHandler, error) { return meshloom.Map(handleMap), nil },
			meshloom.Routes("side"), meshloom.Description("does one"), meshloom.MaxBatch(100, 1<<20), meshloom.MaxInFlight(3)),
		meshloom.New("two", meshloom.Source(func(context.Context, meshloom.Checkpoint) iter.Seq2[meshloom.Record, error] { return nil }), meshloom.Volatile()))
	d, err := s.Client.Describe(t.Context(), &meshloomv1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if d.GetSdk().GetLanguage() != "go" || d.GetSdk().GetVersion() != meshloom.Version || d.GetProtocol().GetMax() != 1 {
		t.Errorf("got %v", d)
	}
	one, two := d.GetHandlers()[0], d.GetHandlers()[1]
	if one.GetRole() != meshloomv1.HandlerRole_HANDLER_ROLE_MAP || one.GetRoutes()[0] != "side" || one.GetDescription() != "does one" || one.GetLimits().GetMaxBatchEvents() != 100 || one.GetLimits().GetMaxInFlightWorks() != 3 {
		t.Errorf("got %v", one)
	}
	if two.GetRole() != meshloomv1.HandlerRole_HANDLER_ROLE_SOURCE || two.GetReplays() || two.GetPartitioned() {
		t.Errorf("got %v", two)
	}
	var schema struct {
		Properties           map[string]map[string]any
		Required             []string
		AdditionalProperties bool
	}
	if err := json.Unmarshal(one.GetConfigSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Properties["label"]["type"] != "string" || schema.Properties["every"]["default"] != "5s" || schema.Required[0] != "label" || schema.AdditionalProperties {
		t.Errorf("schema %s", one.GetConfigSchema())
	}
}

func TestLargeBatchesComeAndGo(t *testing.T) {
	p := serve(t, meshloom.New("n", meshloom.Map(func(_ context.Context, in []byte) ([]byte, error) { return in, nil }))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	payloads := make([][]byte, 20)
	for i := range payloads {
		payloads[i] = []byte(strings.Repeat(string(rune('a'+i)), 1500<<10)) // 30 MiB together
	}
	work := &meshloomv1.Work{Sequence: 1, Batch: harness.Payloads(payloads...)}
	p.Send(t, work)
	a := p.Collect(t, work)
	if len(a.Outputs) != 20 {
		t.Fatalf("got %d outputs", len(a.Outputs))
	}
	for _, o := range a.Outputs {
		if len(o.Payload) != 1500<<10 || o.Payload[0] != byte('a'+o.Parent) {
			t.Errorf("output of %d has %d bytes and starts with %c", o.Parent, len(o.Payload), o.Payload[0])
		}
	}
	for i, result := range a.Results {
		if n := len(result.GetOutputs().GetPayload().GetData()); n > columns.ChunkBytes {
			t.Errorf("result %d has %d bytes", i, n)
		}
	}
}

func TestAnEmptyPayloadIsAPayload(t *testing.T) {
	p := serve(t, meshloom.New("n", meshloom.Map(func(_ context.Context, in []byte) ([]byte, error) { return in, nil }))).Process(t, &meshloomv1.OpenProcess{Node: "n"})
	for sequence, spoil := range []func(*meshloomv1.Batch){func(*meshloomv1.Batch) {}, func(b *meshloomv1.Batch) { b.Payload = nil }} {
		work := workOf(uint64(sequence), "", "")
		spoil(work.Batch)
		p.Send(t, work)
		if a := p.Collect(t, work); len(a.Outputs) != 2 || len(a.Outputs[1].Payload) != 0 {
			t.Errorf("%d: got %+v", sequence, a)
		}
	}
}
