// Command filter reads raw lines of sensors and normalises them: blank lines are dropped, malformed ones rejected, all
// others become degrees Celsius at a time in UTC, keyed by sensor.
package main

import (
	"bytes"
	"context"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

var node = meshloom.New("filter", meshloom.Map(normalise), meshloom.Description("raw sensor lines to readings in Celsius and UTC"))

func main() { meshloom.Main(node) }

func normalise(_ context.Context, line []byte) (out meshloom.Out[Reading], err error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return out, meshloom.Drop
	}
	reading, err := Parse(string(line))
	if err != nil {
		return out, err
	}
	return meshloom.Emit(reading).Key(reading.Sensor).Time(reading.Time), nil
}
