package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

// summary says what became of inputs in one line, so that a table can hold it.
func summary(r *meshloomtest.Result) string {
	var parts []string
	for _, o := range r.Outputs {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s%s", o.Text(), o.Route, o.Key)))
	}
	if r.Dropped > 0 {
		parts = append(parts, fmt.Sprintf("dropped %d", r.Dropped))
	}
	for _, f := range slices.Concat(r.Rejected, r.Retried) {
		parts = append(parts, fmt.Sprintf("%d:%s", f.Input, f.Reason))
	}
	return strings.Join(parts, "; ")
}

func TestHandlers(t *testing.T) {
	nodes := map[string]*meshloom.Node{
		"map":      meshloom.NewWith("map", newMap, meshloom.Routes("side")),
		"filter":   meshloom.NewWith("filter", newFilter),
		"flat_map": meshloom.NewWith("flat_map", newFlatMap, meshloom.Routes("side")),
		"batch":    meshloom.NewWith("batch", newBatch, meshloom.Routes("side")),
	}
	const first = `{"n":7,"label":"L","lang":"go","attempt":1}`
	const third = `{"n":7,"label":"L","lang":"go","attempt":3}`
	const split = `{"n":7,"part":0,"label":"L","lang":"go"}; {"n":7,"part":1,"label":"L","lang":"go"}; {"n":7,"part":2,"label":"L","lang":"go"}`
	for _, c := range []struct {
		node, do string
		attempt  int
		want     string
	}{
		{"map", "pass", 1, first}, {"map", "drop", 1, "dropped 1"}, {"map", "reject", 1, "0:TEST_REJECT"}, {"map", "none", 1, "0:NO_RESULT"},
		{"map", "retry", 2, "0:RETRY"}, {"map", "retry", 3, third}, {"map", "fail", 1, "0:HANDLER_ERROR"}, {"map", "fail", 3, third},
		{"map", "route", 1, first + " side"}, {"map", "key", 1, first + " k7"},
		{"filter", "pass", 1, `{"n":7,"do":"pass"}`}, {"filter", "key", 1, `{"n":7,"do":"key"}`}, {"filter", "drop", 1, "dropped 1"},
		{"map", "never", 9, "0:RETRY"}, {"filter", "reject", 1, "0:TEST_REJECT"}, {"filter", "retry", 1, "0:RETRY"}, {"filter", "fail", 1, "0:HANDLER_ERROR"},
		{"flat_map", "pass", 1, first}, {"flat_map", "drop", 1, "dropped 1"}, {"flat_map", "split", 1, split}, {"flat_map", "route", 1, first + " side"},
		{"flat_map", "reject", 1, "0:TEST_REJECT"}, {"flat_map", "retry", 1, "0:RETRY"}, {"flat_map", "fail", 1, "0:HANDLER_ERROR"},
		{"batch", "pass", 1, first}, {"batch", "drop", 1, "dropped 1"}, {"batch", "split", 1, split}, {"batch", "key", 1, first + " k7"},
		{"batch", "reject", 1, "0:TEST_REJECT"}, {"batch", "retry", 1, "0:RETRY"}, {"batch", "forget", 1, "0:UNACCOUNTED"},
		{"batch", "fail", 1, "-1:HANDLER_ERROR"}, {"batch", "fail", 3, third}, {"batch", "poison", 9, "-1:HANDLER_ERROR"},
	} {
		t.Run(fmt.Sprintf("%s/%s/%d", c.node, c.do, c.attempt), func(t *testing.T) {
			r := meshloomtest.RunWith(t, meshloomtest.Options{Config: config{Label: "L"}, Attempt: c.attempt}, nodes[c.node], input{N: 7, Do: c.do})
			if got := summary(r); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestOnlyTheHandlerThatIsMeantObeys(t *testing.T) {
	for at, want := range map[string]string{"L": "0:TEST_REJECT", "other": `{"n":7,"do":"reject","at":"other"}`} {
		in := input{N: 7, Do: "reject", At: at}
		r := meshloomtest.RunWith(t, meshloomtest.Options{Config: config{Label: "L"}}, meshloom.NewWith("filter", newFilter), in)
		if got := summary(r); got != want {
			t.Errorf("at %s: got %s, want %s", at, got, want)
		}
	}
}

func TestSinkAppendsALinePerEvent(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.jsonl")
	r := meshloomtest.RunWith(t, meshloomtest.Options{Config: config{Label: "L", Out: out}}, meshloom.NewWith("sink", newSink),
		input{N: 1, Do: "pass"}, input{N: 2, Do: "drop"}, input{N: 3, Do: "reject"}, input{N: 4, Do: "retry"})
	if got := summary(r); got != "dropped 2; 2:TEST_REJECT; 3:RETRY" {
		t.Errorf("got %s", got)
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(written)), "\n")
	slices.Sort(lines)
	var d delivery
	if err := json.Unmarshal([]byte(lines[1]), &d); err != nil || len(lines) != 2 {
		t.Fatalf("%v in %q", err, lines)
	}
	if want := (delivery{UID: "00000000000000000000000000000002", N: 2, Attempt: 1, Lang: "go", Label: "L"}); d != want {
		t.Errorf("got %+v", d)
	}
}

func TestSourceResumes(t *testing.T) {
	r := meshloomtest.RunSource(t, meshloomtest.SourceOptions{Config: config{Label: "L", Count: 4}, From: 2}, meshloom.NewWith("source", newSource))
	if len(r.Outputs) != 2 || r.Outputs[0].Text() != `{"n":3,"do":"pass"}` || r.Checkpoint != "4" || !r.Exhausted {
		t.Errorf("got %+v", r)
	}
}
