package examples

import (
	"bufio"
	"context"
	"io"
	"math"
	"os"
	"strings"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// snippet:start

// Places says where the table of sensors is.
type Places struct {
	Table string `json:"table" meshloom:"required" doc:"path of a file with lines SENSOR,PLACE"`
}

// Located is a reading with the place that the table knows.
type Located struct {
	Reading
	Place string `json:"place"`
}

var locate = meshloom.NewWith("locate", func(_ context.Context, cfg Places) (meshloom.MapHandler, error) {
	table, err := os.Open(cfg.Table) // once per process and config, before the node is ready
	if err != nil {
		return meshloom.MapHandler{}, meshloom.InvalidConfig("table", "%v", err)
	}
	handler := meshloom.Map(func(_ context.Context, r Reading) (Located, error) {
		place, err := find(table, r.Sensor)
		return Located{r, place}, err
	})
	return meshloom.OnStop(handler, table.Close), nil // once, after the drain
})

// snippet:end

// find reads the place of a sensor from the table; handlers run side by side, so it shares no position in the file.
func find(table io.ReaderAt, sensor string) (string, error) {
	lines := bufio.NewScanner(io.NewSectionReader(table, 0, math.MaxInt64))
	for lines.Scan() {
		if name, place, ok := strings.Cut(lines.Text(), ","); ok && name == sensor {
			return place, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", meshloom.Rejectf("UNKNOWN_SENSOR", "the table has no sensor %q", sensor)
}
