package telemetry

import (
	"testing"
	"time"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

func TestSampler(t *testing.T) {
	rate := func(r float64) *meshloomv1.TraceSampling {
		return &meshloomv1.TraceSampling{Rule: &meshloomv1.TraceSampling_Rate{Rate: r}}
	}
	for name, c := range map[string]struct {
		rule            *meshloomv1.TraceSampling
		first, afterOne int // of 100 events at one instant, and of 100 a second later
	}{
		"default":        {nil, 10, 10},
		"three a second": {rate(3), 3, 3},
		"one in two":     {rate(0.5), 1, 0},
		"none":           {rate(0), 0, 0},
		"below zero":     {rate(-1), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, at := NewSampler(c.rule), time.Unix(1000, 0)
			burst := func() (sampled int) {
				for range 100 {
					if s.Sample(at) {
						sampled++
					}
				}
				return sampled
			}
			if got := burst(); got != c.first {
				t.Errorf("at first %d, want %d", got, c.first)
			}
			at = at.Add(time.Second)
			if got := burst(); got != c.afterOne {
				t.Errorf("a second later %d, want %d", got, c.afterOne)
			}
		})
	}
}
