package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

func handler(t *testing.T, name string) *meshloom.Node {
	t.Helper()
	for _, node := range nodes(&ledger{}) {
		if node.Name() == name {
			return node
		}
	}
	t.Fatalf("there is no handler %s", name)
	return nil
}

func do(command string) meshloomtest.Event { return meshloomtest.Event{Data: []byte(command)} }

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		handler, command string
		want             []string
	}{
		{"map", `{"do":"pass"}`, []string{`0: passed`}},
		{"map", `{"do":"drop"}`, []string{`0: dropped`}},
		{"map", `{"do":"emit","outputs":[{"value":{"a":1},"route":"left"}]}`, []string{`0: {"a":1} route=left`}},
		{"map", `{"do":"emit","outputs":[{"text":"plain","key":"k"}]}`, []string{`0: plain key=k`}},
		{"map", `{"do":"emit","outputs":[{"base64":"aGk="}]}`, []string{`0: hi`}},
		{"map", `{"do":"emit","outputs":[{"type":"t"}]}`, []string{`0: passed type=t`}},
		{"map", `{"do":"emit","outputs":[{"value":null}]}`, []string{`0: null`}},
		{"map", `{"do":"emit","outputs":[{"text":"x","route":"up"}]}`, []string{`0: rejected ROUTE_UNDECLARED`}},
		{"map", `{"do":"emit","outputs":[{"text":"x","extensions":{"Bad":{"type":"string","value":"v"}}}]}`, []string{`0: rejected OUTPUT_INVALID`}},
		{"map", `{"do":"emit","outputs":[]}`, []string{`0: rejected UNWRITABLE`}},
		{"map", `{"do":"copy"}`, []string{`0: {"do":"copy"}`}},
		{"map", `{"do":"reject"}`, []string{`0: rejected REJECTED`}},
		{"map", `{"do":"reject","reason":"NO","message":"why"}`, []string{`0: rejected NO`}},
		{"map", `{"do":"retry"}`, []string{`0: retried RETRY`}},
		{"map", `{"do":"retry","reason":"BUSY","after_ms":5}`, []string{`0: retried BUSY after 5ms`}},
		{"map", `{"do":"retry","until":1}`, []string{`0: passed`}},
		{"map", `{"do":"throw","message":"ouch"}`, []string{`0: retried HANDLER_ERROR`}},
		{"map", `{"do":"panic","message":"ouch"}`, []string{`0: retried PANIC`}},
		{"map", `{"do":"nothing"}`, []string{`0: rejected NO_RESULT`}},
		{"map", `{"do":"twice"}`, []string{`0: rejected UNWRITABLE`}},
		{"map", `{"do":"dance"}`, []string{`0: rejected PAYLOAD_MISMATCH`}},
		{"map", `[]`, []string{`0: rejected PAYLOAD_MISMATCH`}},
		{"map", `{"n":1}`, []string{`0: rejected PAYLOAD_MISMATCH`}},
		{"map", `{"do":"sleep","ms":1}`, []string{`0: passed`}},
		{"map", `{"do":"block","ms":1}`, []string{`0: passed`}},
		{"map", `{"do":"spin","ms":1}`, []string{`0: passed`}},
		{"map", `{"do":"hold","ms":1}`, []string{`0: passed`}},
		{"map", `{"do":"spans","names":["a","b"]}`, []string{`0: passed`}},
		{"map", `{"do":"allocate","bytes":100000}`, []string{`0: passed`}},
		{"filter", `{"do":"pass"}`, []string{`0: passed`}},
		{"filter", `{"do":"drop"}`, []string{`0: dropped`}},
		{"filter", `{"do":"nothing"}`, []string{`0: rejected UNWRITABLE`}},
		{"filter", `{"do":"retry","reason":"BUSY"}`, []string{`0: retried BUSY`}},
		{"flat_map", `{"do":"pass"}`, []string{`0: passed`}},
		{"flat_map", `{"do":"drop"}`, []string{`0: dropped`}},
		{"flat_map", `{"do":"nothing"}`, []string{`0: rejected NOT_ITERABLE`}},
		{"flat_map", `{"do":"emit","outputs":[{"text":"a"},{"text":"b","route":"right"}]}`, []string{`0: a`, `0: b route=right`}},
		{"flat_map", `{"do":"emit","outputs":[]}`, []string{`0: dropped`}},
		{"flat_map", `{"do":"stream","count":3,"bytes":2}`, []string{`0: xx`, `0: xx`, `0: xx`}},
		{"flat_map", `{"do":"stream","count":3,"bytes":2,"fail_after":2}`, []string{`0: retried HANDLER_ERROR`}},
		{"sink", `{"do":"pass"}`, []string{`0: dropped`}},
		{"sink", `{"do":"reject","reason":"NO"}`, []string{`0: rejected NO`}},
		{"batch", `{"do":"pass"}`, []string{`0: passed`}},
		{"batch", `{"do":"drop"}`, []string{`0: dropped`}},
		{"batch", `{"do":"emit","outputs":[{"text":"a"},{"text":"b"}]}`, []string{`0: a`, `0: b`}},
		{"batch", `{"do":"nothing"}`, []string{`0: retried UNACCOUNTED`}},
		{"batch", `{"do":"throw","message":"ouch"}`, []string{`batch: retried HANDLER_ERROR`}},
		{"batch", `{"do":"twice"}`, []string{`batch: retried RESULT_INDEX_REPEATED`}},
		{"batch", `{"do":"misname"}`, []string{`batch: retried RESULT_INDEX_REPEATED`}},
		{"batch", `{"do":"whole","outputs":[{"text":"all"}]}`, []string{`0: dropped`, `batch: all`}},
		{"batch", `{"do":"retry","reason":"BUSY"}`, []string{`0: retried BUSY`}},
		{"narrow", `{"do":"pass"}`, []string{`0: passed`}},
	} {
		t.Run(c.handler+"/"+c.command, func(t *testing.T) {
			meshloomtest.Run(t, handler(t, c.handler), do(c.command)).Expect(t, c.want...)
		})
	}
}

func TestTheConfigsCommandTakesThePlaceOfThePayload(t *testing.T) {
	options := meshloomtest.Options{Config: map[string]any{"command": map[string]any{"do": "drop"}}}
	meshloomtest.RunWith(t, options, handler(t, "map"), do("no JSON at all")).Expect(t, "0: dropped")
}

func TestContext(t *testing.T) {
	options := meshloomtest.Options{Config: map[string]any{"label": "L", "wait": "2s"}, Timeout: time.Hour}
	event := do(`{"do":"context"}`)
	event.Key, event.Time = "k", time.Unix(0, 7)
	r := meshloomtest.RunWith(t, options, handler(t, "map"), event)
	var got map[string]any
	r.Outputs[0].JSON(t, &got)
	for name, want := range map[string]any{
		"key": "k", "subject": nil, "time": "7", "attempt": 1.0, "label": "L", "wait_ms": 2000.0, "room_bytes": 1024.0,
		"node": "test", "replica": "test/0", "trace": nil, "uid": "00000000000000000000000000000001",
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if left, _ := got["deadline_ms"].(float64); left <= 0 || left > 3_600_000 {
		t.Errorf("deadline_ms: got %v", got["deadline_ms"])
	}
}

func TestReport(t *testing.T) {
	noted := do(`{"do":"note","n":5}`)
	noted.Key = "k"
	options := meshloomtest.Options{BatchSize: 1}
	r := meshloomtest.RunWith(t, options, handler(t, "map"), noted, do(`{"do":"note","n":6}`), do(`{"do":"report"}`), do(`{"do":"report"}`))
	first := `{"calls":3,"cancelled":[],"most":1,"notes":[["k",5],[null,6]],"setups":1,"teardowns":0}`
	second := `{"calls":4,"cancelled":[],"most":1,"notes":[],"setups":1,"teardowns":0}`
	if r.Outputs[2].Text() != first || r.Outputs[3].Text() != second {
		t.Errorf("got %s and %s", r.Outputs[2].Text(), r.Outputs[3].Text())
	}
}

func TestSleepEndsWhenItsTimeIsUp(t *testing.T) {
	options := meshloomtest.Options{BatchSize: 1, Timeout: 10 * time.Millisecond}
	meshloomtest.RunWith(t, options, handler(t, "map"), do(`{"do":"sleep","ms":600000}`)).Expect(t, "0: retried TIMEOUT")
}

func TestSetUpAndTearDownAreLogged(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	meshloomtest.RunWith(t, meshloomtest.Options{Config: map[string]any{"label": "L", "log": log}}, handler(t, "sink"), do(`{"do":"pass"}`))
	wantLines(t, log, "setup L", "teardown L")
}

func wantLines(t *testing.T, path string, want ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSpace(string(text)), "\n"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgramsOfSources(t *testing.T) {
	for name, c := range map[string]struct {
		program string
		from    any
		want    []string
	}{
		"plain":       {`{"count":2}`, nil, []string{`{"n":1} id=#1`, `{"n":2} id=1#1`}},
		"resumed":     {`{"count":3}`, 2, []string{`{"n":3} id=2#1`}},
		"ids":         {`{"count":2,"ids":true}`, nil, []string{`{"n":1} id=e1`, `{"n":2} id=e2`}},
		"checkpoints": {`{"count":3,"checkpoint_every":2}`, nil, []string{`{"n":1} id=#1`, `{"n":2} id=#2`, `{"n":3} id=2#1`}},
		"digits":      {`{"count":3,"checkpoint_digits":4}`, "0001", []string{`{"n":2} id="0001"#1`, `{"n":3} id="0002"#1`}},
		"fill":        {`{"count":1,"bytes":3,"pause_ms":1}`, nil, []string{`{"n":1,"fill":"xxx"} id=#1`}},
		"attributes":  {`{"count":1,"attributes":true,"traceparent":"tp"}`, nil, []string{`{"n":1} key=k1 type=test id=#1 time=1970-01-01T00:00:00.000000001Z part=1 traceparent=tp`}},
	} {
		t.Run(name, func(t *testing.T) {
			r := meshloomtest.RunSource(t, running(c.program, c.from, ""), handler(t, "source"))
			r.Expect(t, c.want...)
			if !r.Exhausted {
				t.Error("the source did not end")
			}
		})
	}
}

func running(text string, from any, log string) meshloomtest.SourceOptions {
	return meshloomtest.SourceOptions{From: from, Config: map[string]any{"program": json.RawMessage(text), "log": log, "label": "L"}}
}

func TestWhatHasSettledIsLogged(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	options := running(`{"count":2,"checkpoint_every":2}`, nil, log)
	meshloomtest.RunSource(t, options, handler(t, "queue"))
	wantLines(t, log, "setup L", "receipt 1", "receipt 2", "settled 2", "teardown L")
	log = filepath.Join(t.TempDir(), "log")
	options = running(`{"count":1,"checkpoint_digits":4}`, nil, log)
	meshloomtest.RunSource(t, options, handler(t, "source"))
	wantLines(t, log, "setup L", "receipt 1", "settled 1", "teardown L")
}
