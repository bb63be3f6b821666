package main

import (
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
