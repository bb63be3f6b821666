// Package meshloomtest runs a node on events in a test: no coordinator, no network. Set-up and tear-down run, events and
// answers go through the real protocol, and the answers are checked as a coordinator checks them.
//
//	r := meshloomtest.Run(t, node, Reading{"roof", 31.5}, map[string]any{"sensor": "cellar"})
//	r.Expect(t,
//		`0: {"sensor":"roof","celsius":31.5}`,
//		`1: rejected NO_TEMPERATURE`)
//
// [RunWith] takes [Options]: a config, redelivery of every event, batches cut at random, a cancellation, spans. [RunSource] runs a
// source, [Open] a set-up alone.
package meshloomtest
