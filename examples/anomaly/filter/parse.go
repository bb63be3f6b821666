package main

import (
	"math"
	"strconv"
	"strings"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// Reading is a normalised line.
type Reading struct {
	Sensor  string    `json:"sensor"`
	Celsius float64   `json:"celsius"` // two decimals
	Time    time.Time `json:"time"`    // UTC
}

const (
	timeLayout = "2006/01/02T15:04"
	coldest    = -90.0 // °C, the limits of what the air on earth has been
	hottest    = 60.0
)

// sensorZone is the standard time of the sensors, all year round.
var sensorZone = time.FixedZone("UTC-8", -8*60*60)

// Parse reads a line such as `temperature:39.4 unit=F sensor_id=alpha time=2010/01/01T00:00`. Fields come in any order;
// unit is C when absent. The error rejects the line and quotes what is wrong with it.
func Parse(line string) (Reading, error) {
	fields, err := split(line)
	if err != nil {
		return Reading{}, err
	}
	reading := Reading{Sensor: fields["sensor_id"]}
	if reading.Sensor == "" {
		return Reading{}, meshloom.Rejectf("NO_SENSOR", "no sensor_id in %q", line)
	}
	if reading.Celsius, err = celsius(fields["temperature"], fields["unit"]); err != nil {
		return Reading{}, err
	}
	at, err := time.ParseInLocation(timeLayout, fields["time"], sensorZone)
	if err != nil {
		return Reading{}, meshloom.Rejectf("BAD_TIME", "time %q is not like 2010/01/31T23:59", fields["time"])
	}
	reading.Time = at.UTC()
	return reading, nil
}

// split takes a line apart: `temperature:VALUE` and fields `name=value`, each at most once, other names are ignored.
func split(line string) (map[string]string, error) {
	fields := map[string]string{}
	for _, part := range strings.Fields(line) {
		name, value, found := strings.Cut(part, "=")
		if rest, ok := strings.CutPrefix(part, "temperature:"); ok {
			name, value, found = "temperature", rest, true
		}
		if _, twice := fields[name]; !found || name == "" || twice {
			return nil, meshloom.Rejectf("BAD_LINE", "cannot read %q in %q", part, line)
		}
		fields[name] = value
	}
	if _, ok := fields["temperature"]; !ok {
		return nil, meshloom.Rejectf("BAD_LINE", "no temperature in %q", line)
	}
	return fields, nil
}

// celsius reads a temperature and rounds it to two decimals.
func celsius(value, unit string) (float64, error) {
	degrees, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(degrees) || math.IsInf(degrees, 0) {
		return 0, meshloom.Rejectf("BAD_TEMPERATURE", "temperature %q is no number", value)
	}
	switch unit {
	case "F":
		degrees = (degrees - 32) * 5 / 9
	case "C", "":
	default:
		return 0, meshloom.Rejectf("BAD_UNIT", "unit %q is neither F nor C", unit)
	}
	if degrees < coldest || degrees > hottest {
		return 0, meshloom.Rejectf("OUT_OF_RANGE", "temperature %s%s is outside %g to %g °C", value, unit, coldest, hottest)
	}
	return math.Round(degrees*100) / 100, nil
}
