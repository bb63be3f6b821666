// Command filter reads raw lines of sensors and normalises them: blank lines are dropped, malformed ones rejected, all
// others become degrees Celsius at a time in UTC, keyed by sensor.
package main

import (
	"context"
	"strings"

	"github.com/meshloom/meshloom/sdks/go"
)

func main() {
	meshloom.Main(meshloom.New("filter", meshloom.Map(normalise), meshloom.Description("raw sensor lines to readings in Celsius and UTC")))
}

func normalise(_ context.Context, line []byte) (out meshloom.Out[Reading], err error) {
	text := strings.TrimSpace(string(line))
	if text == "" {
		return out, meshloom.Drop
	}
	reading, err := Parse(text)
	if err != nil {
		return out, err
	}
	return meshloom.Emit(reading).Key(reading.Sensor).Time(reading.Time), nil
}
