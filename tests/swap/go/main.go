// Command go stands in for two nodes of examples/anomaly, to show that the language of a node can be swapped: `ingest`
// reads raw lines from a file, `alert` posts them to a Slack-compatible webhook.
package main

import "github.com/meshloom/meshloom/sdks/go"

func main() {
	meshloom.Main(
		meshloom.NewWith("ingest", newIngest, meshloom.Description("lines of a text file as raw events")),
		meshloom.NewWith("alert", newAlert, meshloom.Description("alerts to a Slack-compatible webhook")),
	)
}
