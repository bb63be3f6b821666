package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		"temperature:39.4 unit=F sensor_id=alpha time=2010/01/01T00:00":    `{"sensor":"alpha","celsius":4.11,"time":"2010-01-01T08:00:00Z"}`,
		"temperature:-3.456 sensor_id=beta time=2010/06/30T17:30":          `{"sensor":"beta","celsius":-3.46,"time":"2010-07-01T01:30:00Z"}`,
		"time=2010/01/01T00:00 sensor_id=c site=roof unit=C temperature:0": `{"sensor":"c","celsius":0,"time":"2010-01-01T08:00:00Z"}`,
		"temperature=60 sensor_id=d time=2010/01/01T00:00":                 `{"sensor":"d","celsius":60,"time":"2010-01-01T08:00:00Z"}`,
	} {
		reading, err := Parse(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if got, _ := json.Marshal(reading); string(got) != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}

func TestParseQuotesWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ line, quoted string }{
		{"nonsense", `"nonsense"`},
		{"sensor_id=a time=2010/01/01T00:00", "no temperature"},
		{"temperature:1 temperature:2 sensor_id=a time=2010/01/01T00:00", `"temperature:2"`},
		{"temperature:warm sensor_id=a time=2010/01/01T00:00", `"warm"`},
		{"temperature:NaN sensor_id=a time=2010/01/01T00:00", `"NaN"`},
		{"temperature:1 unit=K sensor_id=a time=2010/01/01T00:00", `"K"`},
		{"temperature:1 time=2010/01/01T00:00", "no sensor_id"},
		{"temperature:1 sensor_id=a time=yesterday", `"yesterday"`},
		{"temperature:1 sensor_id=a", `time ""`},
		{"temperature:141 unit=F sensor_id=a time=2010/01/01T00:00", "141F"},
		{"temperature:-90.1 sensor_id=a time=2010/01/01T00:00", "-90.1"},
	} {
		if _, err := Parse(c.line); err == nil || !strings.Contains(err.Error(), c.quoted) {
			t.Errorf("%s: got %v, want an error with %s", c.line, err, c.quoted)
		} else if errors.Unwrap(err) == nil {
			t.Errorf("%s: %v is no rejection", c.line, err)
		}
	}
}
