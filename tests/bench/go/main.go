// Command bench is the Go side of the bench: the node written with the SDK (`bench sdk`), and the same by hand over the
// raw gRPC stream (`bench bare map|filter`), with MESHLOOM_LISTEN=unix:/path.
package main

import (
	"context"
	"fmt"
	"os"

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
	switch {
	case len(os.Args) == 2 && os.Args[1] == "sdk":
		meshloom.Main(
			meshloom.New("map", meshloom.Map(func(_ context.Context, payload []byte) ([]byte, error) {
				return touch(payload), nil
			})),
			meshloom.New("filter", meshloom.Filter(func(_ context.Context, payload []byte) (bool, error) {
				return keep(payload), nil
			})),
		)
	case len(os.Args) == 3 && os.Args[1] == "bare":
		if err := serveBare(os.Getenv("MESHLOOM_LISTEN"), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: bench sdk | bench bare map|filter")
		os.Exit(2)
	}
}
