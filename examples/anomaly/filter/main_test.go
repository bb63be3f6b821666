package main

import (
	"bytes"
	"maps"
	"os"
	"testing"

	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

func TestNode(t *testing.T) {
	r := meshloomtest.Run(t, node, []byte("temperature:39.4 unit=F sensor_id=alpha time=2010/01/01T00:00"), []byte(" \t"), []byte("temperature:99 sensor_id=b time=2010/01/01T00:00"))
	r.Expect(t,
		`0: {"sensor":"alpha","celsius":4.11,"time":"2010-01-01T08:00:00Z"} key=alpha time=2010-01-01T08:00:00Z`,
		`1: dropped`,
		`2: rejected OUT_OF_RANGE`)
}

// TestNodeOnTheWholeFile holds the node against the counts that ../data/README.md gives.
func TestNodeOnTheWholeFile(t *testing.T) {
	file, err := os.ReadFile("../data/readings.txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines []any
	for line := range bytes.Lines(file) {
		lines = append(lines, bytes.TrimRight(line, "\n"))
	}
	r := meshloomtest.RunWith(t, meshloomtest.Options{BatchSize: 512}, node, lines...)
	reasons := map[string]int{}
	for _, f := range r.Rejected {
		reasons[f.Reason]++
	}
	want := map[string]int{"BAD_LINE": 26, "BAD_TEMPERATURE": 13, "NO_SENSOR": 13, "BAD_TIME": 13, "OUT_OF_RANGE": 12, "BAD_UNIT": 12}
	if len(r.Outputs) != 17_518 || len(r.Dropped) != 181 || len(r.Retried) != 0 || !maps.Equal(reasons, want) {
		t.Errorf("%d readings, %d blank lines, rejected %v", len(r.Outputs), len(r.Dropped), reasons)
	}
}
