package main

import (
	"bytes"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

func TestNode(t *testing.T) {
	r := meshloomtest.Run(t, meshloom.New("filter", meshloom.Map(normalise)),
		[]byte("temperature:39.4 unit=F sensor_id=alpha time=2010/01/01T00:00"), []byte(" \t"), []byte("temperature:99 sensor_id=b time=2010/01/01T00:00"))
	if len(r.Outputs) != 1 || r.Dropped != 1 || len(r.Rejected) != 1 {
		t.Fatalf("got %+v", r)
	}
	out := r.Outputs[0]
	if out.Text() != `{"sensor":"alpha","celsius":4.11,"time":"2010-01-01T08:00:00Z"}` || out.Key != "alpha" {
		t.Errorf("output %s with key %q", out.Text(), out.Key)
	}
	if want := time.Date(2010, 1, 1, 8, 0, 0, 0, time.UTC); !out.Time.Equal(want) {
		t.Errorf("time %v, want %v", out.Time, want)
	}
	if r.Rejected[0].Reason != "OUT_OF_RANGE" {
		t.Errorf("rejected for %s", r.Rejected[0].Reason)
	}
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
	r := meshloomtest.RunWith(t, meshloomtest.Options{Splits: 512}, meshloom.New("filter", meshloom.Map(normalise)), lines...)
	reasons := map[string]int{}
	for _, f := range r.Rejected {
		reasons[f.Reason]++
	}
	want := map[string]int{"BAD_LINE": 26, "BAD_TEMPERATURE": 13, "NO_SENSOR": 13, "BAD_TIME": 13, "OUT_OF_RANGE": 12, "BAD_UNIT": 12}
	if len(r.Outputs) != 17_518 || r.Dropped != 181 || len(r.Retried) != 0 || !maps.Equal(reasons, want) {
		t.Errorf("%d readings, %d blank lines, rejected %v", len(r.Outputs), r.Dropped, reasons)
	}
}
