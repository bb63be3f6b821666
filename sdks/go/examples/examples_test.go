package examples

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

func TestConfig(t *testing.T) {
	at := func(age time.Duration, celsius float64) meshloomtest.Event {
		return meshloomtest.Event{Data: Reading{"roof", celsius}, Time: time.Now().Add(-age)}
	}
	meshloomtest.Run(t, hot, at(0, 31.5), at(0, 29), at(2*time.Hour, 31.5)).Expect(t, "0: passed", "1: dropped", "2: dropped")
	options := meshloomtest.Options{Config: map[string]any{"above": 20, "within": "3h"}}
	meshloomtest.RunWith(t, options, hot, at(2*time.Hour, 29)).Expect(t, "0: passed")
	var refused *meshloom.ConfigError
	if err := meshloomtest.Open(t, hot, map[string]any{"above": -300}); !errors.As(err, &refused) || refused.Violations[0].Field != "above" {
		t.Errorf("got %v", err)
	}
}

func TestSetUp(t *testing.T) {
	table := filepath.Join(t.TempDir(), "places.csv")
	if err := os.WriteFile(table, []byte("cellar,north\nroof,south\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := meshloomtest.RunWith(t, meshloomtest.Options{Config: Places{Table: table}}, locate, Reading{"roof", 31.5}, Reading{"attic", 20})
	r.Expect(t, `0: {"sensor":"roof","celsius":31.5,"place":"south"}`, "1: rejected UNKNOWN_SENSOR")
	var refused *meshloom.ConfigError
	if err := meshloomtest.Open(t, locate, Places{Table: table + ".gone"}); !errors.As(err, &refused) || refused.Violations[0].Field != "table" {
		t.Errorf("got %v", err)
	}
}

// south is a lookup service: it is busy for the sensor `busy`, and away for `away`.
func south(_ context.Context, sensor string) (string, error) {
	switch sensor {
	case "busy":
		return "", errBusy
	case "away":
		return "", errors.New("connection refused")
	}
	return "south", nil
}

func TestRetry(t *testing.T) {
	r := meshloomtest.Run(t, withPlace(south), Reading{"roof", 31.5}, Reading{"busy", 1}, Reading{"away", 2})
	r.Expect(t,
		`0: {"sensor":"roof","celsius":31.5,"place":"south"}`,
		"1: retried RETRY after 2s: the lookup service is busy",
		"2: retried HANDLER_ERROR: connection refused")
}

func TestRoute(t *testing.T) {
	meshloomtest.Run(t, sorted, Reading{"roof", 31.5}, Reading{"cellar", 12}).Expect(t,
		`0: {"sensor":"roof","celsius":31.5} key=roof route=hot`,
		`1: {"sensor":"cellar","celsius":12} key=cellar`)
}

func TestFlatMap(t *testing.T) {
	meshloomtest.Run(t, unpack, Document{[]Reading{{"roof", 31.5}, {"cellar", 12}}}, Document{}).Expect(t,
		`0: {"sensor":"roof","celsius":31.5}`,
		`0: {"sensor":"cellar","celsius":12}`,
		"1: dropped")
}

func TestBatch(t *testing.T) {
	meshloomtest.Run(t, average, Reading{"roof", 30}, Reading{"cellar", 12}, map[string]any{"sensor": "attic"}, []byte("none")).Expect(t,
		"0: dropped", "1: dropped",
		"2: rejected NO_TEMPERATURE: the reading has no celsius",
		"3: rejected PAYLOAD_MISMATCH",
		`batch: {"average":21,"of":2}`)
	meshloomtest.Run(t, average, map[string]any{}).Expect(t, "0: rejected NO_TEMPERATURE")
}

func TestSource(t *testing.T) {
	file := File{Path: filepath.Join(t.TempDir(), "rows")}
	if err := os.WriteFile(file.Path, []byte("a\nb\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := meshloomtest.RunSource(t, meshloomtest.SourceOptions{Config: file}, rows)
	all.Expect(t, `"a" id=#1`, `"b" id=1#1`, `"c" id=2#1`)
	meshloomtest.RunSource(t, meshloomtest.SourceOptions{Config: file, From: 2}, rows).Expect(t, `"c" id=2#1`)
	if !all.Exhausted || all.Checkpoint.String() != "3" {
		t.Errorf("got %+v", all)
	}
}

func TestSpan(t *testing.T) {
	r := meshloomtest.RunWith(t, meshloomtest.Options{Trace: true}, withPlace(traced(south)), Reading{"roof", 31.5})
	if s := r.Spans; len(s) != 2 || s[0].Name != "look up" || s[0].Parent != "process test" || s[0].Attributes["sensor"] != "roof" {
		t.Errorf("got %+v", s)
	}
}

func TestPublish(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close() // connections wait to be accepted
	err = publish(ctx, nobody.Addr().String(), []Reading{{"roof", 31.5}})
	var left *meshloom.UnacknowledgedError
	if !errors.As(err, &left) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with nobody there: %v", err)
	}
}
