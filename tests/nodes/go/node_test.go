package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

func TestHandlers(t *testing.T) {
	nodes := map[string]*meshloom.Node{
		"map":      meshloom.NewWith("map", newMap, meshloom.Routes("side")),
		"filter":   meshloom.NewWith("filter", newFilter),
		"flat_map": meshloom.NewWith("flat_map", newFlatMap, meshloom.Routes("side")),
		"batch":    meshloom.NewWith("batch", newBatch, meshloom.Routes("side")),
	}
	const first = `0: {"n":7,"label":"L","lang":"go","attempt":1}`
	const third = `0: {"n":7,"label":"L","lang":"go","attempt":3}`
	const split = `0: {"n":7,"part":0,"label":"L","lang":"go"}
0: {"n":7,"part":1,"label":"L","lang":"go"}
0: {"n":7,"part":2,"label":"L","lang":"go"}`
	for _, c := range []struct {
		node, do string
		attempt  int
		want     string
	}{
		{"map", "pass", 1, first}, {"map", "drop", 1, "0: dropped"}, {"map", "reject", 1, "0: rejected TEST_REJECT"}, {"map", "none", 1, "0: rejected NO_RESULT"},
		{"map", "retry", 2, "0: retried RETRY"}, {"map", "retry", 3, third}, {"map", "fail", 1, "0: retried HANDLER_ERROR"}, {"map", "fail", 3, third},
		{"map", "route", 1, first + " route=side"}, {"map", "key", 1, first + " key=k7"},
		{"filter", "pass", 1, "0: passed"}, {"filter", "key", 1, "0: passed"}, {"filter", "drop", 1, "0: dropped"},
		{"map", "never", 9, "0: retried RETRY"}, {"filter", "reject", 1, "0: rejected TEST_REJECT"}, {"filter", "retry", 1, "0: retried RETRY"}, {"filter", "fail", 1, "0: retried HANDLER_ERROR"},
		{"flat_map", "pass", 1, first}, {"flat_map", "drop", 1, "0: dropped"}, {"flat_map", "split", 1, split}, {"flat_map", "route", 1, first + " route=side"},
		{"flat_map", "reject", 1, "0: rejected TEST_REJECT"}, {"flat_map", "retry", 1, "0: retried RETRY"}, {"flat_map", "fail", 1, "0: retried HANDLER_ERROR"},
		{"batch", "pass", 1, first}, {"batch", "drop", 1, "0: dropped"}, {"batch", "split", 1, split}, {"batch", "key", 1, first + " key=k7"},
		{"batch", "reject", 1, "0: rejected TEST_REJECT"}, {"batch", "retry", 1, "0: retried RETRY"}, {"batch", "forget", 1, "0: retried UNACCOUNTED"},
		{"batch", "fail", 1, "batch: retried HANDLER_ERROR"}, {"batch", "fail", 3, third}, {"batch", "poison", 9, "batch: retried HANDLER_ERROR"},
	} {
		t.Run(fmt.Sprintf("%s/%s/%d", c.node, c.do, c.attempt), func(t *testing.T) {
			r := meshloomtest.RunWith(t, meshloomtest.Options{Config: config{Label: "L"}, Attempt: c.attempt}, nodes[c.node], input{N: 7, Do: c.do})
			r.Expect(t, strings.Split(c.want, "\n")...)
		})
	}
}

func TestOnlyTheHandlerThatIsMeantObeys(t *testing.T) {
	for at, want := range map[string]string{"L": "0: rejected TEST_REJECT", "other": "0: passed"} {
		in := input{N: 7, Do: "reject", At: at}
		r := meshloomtest.RunWith(t, meshloomtest.Options{Config: config{Label: "L"}}, meshloom.NewWith("filter", newFilter), in)
		r.Expect(t, want)
	}
}

func TestSinkAppendsALinePerEvent(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.jsonl")
	r := meshloomtest.RunWith(t, meshloomtest.Options{Config: config{Label: "L", Out: out}}, meshloom.NewWith("sink", newSink),
		input{N: 1, Do: "pass"}, input{N: 2, Do: "drop"}, input{N: 3, Do: "reject"}, input{N: 4, Do: "retry"})
	r.Expect(t, "0: dropped", "1: dropped", "2: rejected TEST_REJECT", "3: retried RETRY")
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
	r.Expect(t, `{"n":3,"do":"pass"} id=2#1`, `{"n":4,"do":"pass"} id=3#1`)
	if r.Checkpoint.String() != "4" || !r.Exhausted {
		t.Errorf("got %+v", r)
	}
}
