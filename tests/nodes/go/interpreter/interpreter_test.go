package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshloom/meshloom/sdks/go"
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

// summary says what became of events in one line, so that a table can hold it.
func summary(r *meshloomtest.Result) string {
	var parts []string
	for _, o := range r.Outputs {
		text := o.Text()
		if o.Passed {
			text = "passed"
		}
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s%s", text, o.Route, o.Key)))
	}
	if r.Dropped > 0 {
		parts = append(parts, fmt.Sprintf("dropped %d", r.Dropped))
	}
	for _, f := range slices.Concat(r.Rejected, r.Retried) {
		parts = append(parts, fmt.Sprintf("%d:%s", f.Input, f.Reason))
	}
	return strings.Join(parts, "; ")
}

func TestCommands(t *testing.T) {
	for _, c := range []struct{ handler, command, want string }{
		{"map", `{"do":"pass"}`, "passed"},
		{"map", `{"do":"drop"}`, "dropped 1"},
		{"map", `{"do":"emit","outputs":[{"value":{"a":1},"route":"left"}]}`, `{"a":1} left`},
		{"map", `{"do":"emit","outputs":[{"text":"plain","key":"k"}]}`, `plain k`},
		{"map", `{"do":"emit","outputs":[{"base64":"aGk="}]}`, `hi`},
		{"map", `{"do":"emit","outputs":[{"type":"t"}]}`, "passed"},
		{"map", `{"do":"emit","outputs":[{"value":null}]}`, "null"},
		{"map", `{"do":"emit","outputs":[{"text":"x","route":"up"}]}`, "0:ROUTE_UNDECLARED"},
		{"map", `{"do":"emit","outputs":[{"text":"x","extensions":{"Bad":{"type":"string","value":"v"}}}]}`, "0:OUTPUT_INVALID"},
		{"map", `{"do":"emit","outputs":[]}`, "0:UNWRITABLE"},
		{"map", `{"do":"copy"}`, `{"do":"copy"}`},
		{"map", `{"do":"reject"}`, "0:REJECTED"},
		{"map", `{"do":"reject","reason":"NO","message":"why"}`, "0:NO"},
		{"map", `{"do":"retry"}`, "0:RETRY"},
		{"map", `{"do":"retry","reason":"BUSY","after_ms":5}`, "0:BUSY"},
		{"map", `{"do":"retry","until":1}`, "passed"},
		{"map", `{"do":"throw","message":"ouch"}`, "0:HANDLER_ERROR"},
		{"map", `{"do":"panic","message":"ouch"}`, "0:PANIC"},
		{"map", `{"do":"nothing"}`, "0:NO_RESULT"},
		{"map", `{"do":"twice"}`, "0:UNWRITABLE"},
		{"map", `{"do":"dance"}`, "0:PAYLOAD_MISMATCH"},
		{"map", `[]`, "0:PAYLOAD_MISMATCH"},
		{"map", `{"n":1}`, "0:PAYLOAD_MISMATCH"},
		{"map", `{"do":"sleep","ms":1}`, "passed"},
		{"map", `{"do":"block","ms":1}`, "passed"},
		{"map", `{"do":"spin","ms":1}`, "passed"},
		{"map", `{"do":"hold","ms":1}`, "passed"},
		{"map", `{"do":"spans","names":["a","b"]}`, "passed"},
		{"map", `{"do":"allocate","bytes":100000}`, "passed"},
		{"filter", `{"do":"pass"}`, "passed"},
		{"filter", `{"do":"drop"}`, "dropped 1"},
		{"filter", `{"do":"nothing"}`, "0:UNWRITABLE"},
		{"filter", `{"do":"retry","reason":"BUSY"}`, "0:BUSY"},
		{"flat_map", `{"do":"pass"}`, "passed"},
		{"flat_map", `{"do":"drop"}`, "dropped 1"},
		{"flat_map", `{"do":"nothing"}`, "0:NOT_ITERABLE"},
		{"flat_map", `{"do":"emit","outputs":[{"text":"a"},{"text":"b","route":"right"}]}`, "a; b right"},
		{"flat_map", `{"do":"emit","outputs":[]}`, "dropped 1"},
		{"flat_map", `{"do":"stream","count":3,"bytes":2}`, "xx; xx; xx"},
		{"flat_map", `{"do":"stream","count":3,"bytes":2,"fail_after":2}`, "0:HANDLER_ERROR"},
		{"sink", `{"do":"pass"}`, "dropped 1"},
		{"sink", `{"do":"reject","reason":"NO"}`, "0:NO"},
		{"batch", `{"do":"pass"}`, "passed"},
		{"batch", `{"do":"drop"}`, "dropped 1"},
		{"batch", `{"do":"emit","outputs":[{"text":"a"},{"text":"b"}]}`, "a; b"},
		{"batch", `{"do":"nothing"}`, "0:UNACCOUNTED"},
		{"batch", `{"do":"throw","message":"ouch"}`, "-1:HANDLER_ERROR"},
		{"batch", `{"do":"twice"}`, "-1:RESULT_INDEX_REPEATED"},
		{"batch", `{"do":"misname"}`, "-1:RESULT_INDEX_REPEATED"},
		{"batch", `{"do":"whole","outputs":[{"text":"all"}]}`, "all; dropped 1"},
		{"batch", `{"do":"retry","reason":"BUSY"}`, "0:BUSY"},
		{"narrow", `{"do":"pass"}`, "passed"},
	} {
		t.Run(c.handler+"/"+c.command, func(t *testing.T) {
			if got := summary(meshloomtest.Run(t, handler(t, c.handler), do(c.command))); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestTheConfigsCommandTakesThePlaceOfThePayload(t *testing.T) {
	options := meshloomtest.Options{Config: map[string]any{"command": map[string]any{"do": "drop"}}}
	if got := summary(meshloomtest.RunWith(t, options, handler(t, "map"), do("no JSON at all"))); got != "dropped 1" {
		t.Errorf("got %s", got)
	}
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
	options := meshloomtest.Options{Splits: 1}
	r := meshloomtest.RunWith(t, options, handler(t, "map"), noted, do(`{"do":"note","n":6}`), do(`{"do":"report"}`), do(`{"do":"report"}`))
	first := `{"calls":3,"cancelled":[],"most":1,"notes":[["k",5],[null,6]],"setups":1,"teardowns":0}`
	second := `{"calls":4,"cancelled":[],"most":1,"notes":[],"setups":1,"teardowns":0}`
	if r.Outputs[2].Text() != first || r.Outputs[3].Text() != second {
		t.Errorf("got %s and %s", r.Outputs[2].Text(), r.Outputs[3].Text())
	}
}

func TestSleepEndsWhenItsTimeIsUp(t *testing.T) {
	options := meshloomtest.Options{Splits: 1, Timeout: 10 * time.Millisecond}
	r := meshloomtest.RunWith(t, options, handler(t, "map"), do(`{"do":"sleep","ms":600000}`))
	if got := summary(r); got != "0:TIMEOUT" {
		t.Errorf("got %s", got)
	}
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
		want    string
	}{
		"plain":       {`{"count":2}`, nil, `{"n":1}@#1 {"n":2}@1#1`},
		"resumed":     {`{"count":3}`, 2, `{"n":3}@2#1`},
		"ids":         {`{"count":2,"ids":true}`, nil, `{"n":1}@e1 {"n":2}@e2`},
		"checkpoints": {`{"count":3,"checkpoint_every":2}`, nil, `{"n":1}@#1 {"n":2}@#2 {"n":3}@2#1`},
		"fill":        {`{"count":1,"bytes":3,"pause_ms":1}`, nil, `{"n":1,"fill":"xxx"}@#1`},
	} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			options := meshloomtest.SourceOptions{From: c.from, Config: map[string]any{"program": json.RawMessage(c.program), "log": log}}
			r := meshloomtest.RunSource(t, options, handler(t, "source"))
			var got []string
			for _, o := range r.Outputs {
				got = append(got, o.Text()+"@"+o.ID)
			}
			if strings.Join(got, " ") != c.want || !r.Exhausted {
				t.Errorf("got %s, exhausted %v", got, r.Exhausted)
			}
		})
	}
}

func TestAttributesOfSources(t *testing.T) {
	options := meshloomtest.SourceOptions{Config: map[string]any{"program": map[string]any{"count": 1, "attributes": true, "traceparent": "tp"}}}
	o := meshloomtest.RunSource(t, options, handler(t, "queue")).Outputs[0]
	if o.Key != "k1" || o.Type != "test" || o.Time.UnixNano() != 1 || o.Extensions["part"] != int32(1) || o.Extensions["traceparent"] != "tp" {
		t.Errorf("got %+v", o)
	}
}
