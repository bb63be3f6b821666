package meshloom

import (
	"os"
	"runtime"
)

// heapFloor is how much a node may allocate between two collections at least. Most of what a node allocates are batches in
// passing, while next to nothing stays: by the runtime's default it would collect every 4 MiB, more than a hundred times
// a second, for half of its processor time.
const heapFloor = 32 << 20

// withHeapFloor runs a node's process with the floor: memory that is reserved and never touched, hence never resident,
// but counts as in use when the runtime sets its next goal. Who has set GOGC or GOMEMLIMIT has said what is wanted.
func withHeapFloor(run func() error) error {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return run()
	}
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	return run()
}
