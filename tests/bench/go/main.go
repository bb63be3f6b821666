// Command bench is the Go side of the bench, with MESHLOOM_LISTEN=unix:/path: the node written with the SDK (`bench sdk`), and
// the same by hand over the raw gRPC stream (`bench bare map|filter`). `bench loop PAYLOAD EVENTS` is the typed JSON map
// without Meshloom.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/meshloom/meshloom/sdks/go"
)

// touch is what the node does to each event.
func touch(payload []byte) []byte {
	made := make([]byte, len(payload)+1)
	copy(made, payload)
	made[len(payload)] = '!'
	return made
}

// keep is what the filter says of each event.
func keep(payload []byte) bool { return len(payload) > 0 }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "sdk":
		serve()
		return nil
	case len(args) == 2 && args[0] == "bare":
		return serveBare(os.Getenv("MESHLOOM_LISTEN"), args[1])
	case len(args) == 3 && args[0] == "loop":
		events, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return loop([]byte(args[1]), events)
	}
	return fmt.Errorf("usage: bench sdk | bench bare map|filter | bench loop PAYLOAD EVENTS")
}

func serve() {
	meshloom.Main(
		meshloom.New("map", meshloom.Map(func(_ context.Context, payload []byte) ([]byte, error) {
			return touch(payload), nil
		})),
		meshloom.New("filter", meshloom.Filter(func(_ context.Context, payload []byte) (bool, error) {
			return keep(payload), nil
		})),
		meshloom.New("json-map", meshloom.Map(func(_ context.Context, reading Reading) (Scored, error) {
			return score(reading), nil
		})),
	)
}
