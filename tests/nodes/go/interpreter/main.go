// Command interpreter is the node that the conformance kit drives: it does what each event's payload says. The commands,
// the config and the programs of sources stand in tests/conformance/INTERPRETER.md.
package main

import "github.com/meshloom/meshloom/sdks/go"

func main() { meshloom.Main(nodes(&ledger{})...) }

// nodes are the handlers that one process serves; they write into one ledger.
func nodes(l *ledger) []*meshloom.Node {
	routes := meshloom.Routes("left", "right")
	return []*meshloom.Node{
		meshloom.NewWith("map", with(l, newMap), routes),
		meshloom.NewWith("narrow", with(l, newMap), routes, meshloom.MaxInFlight(2), meshloom.MaxBatch(8, 64<<10)),
		meshloom.NewWith("filter", with(l, newFilter)),
		meshloom.NewWith("flat_map", with(l, newFlatMap), routes),
		meshloom.NewWith("batch", with(l, newBatch), routes),
		meshloom.NewWith("sink", with(l, newSink)),
		meshloom.NewWith("source", with(l, newSource)),
		meshloom.NewWith("queue", with(l, newSource), meshloom.Volatile()),
	}
}
