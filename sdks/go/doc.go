// Package meshloom is the Go SDK of Meshloom: write a node of a pipeline as a function over events.
//
//	func main() {
//		meshloom.Main(meshloom.New("double", meshloom.Map(func(ctx context.Context, in int) (int, error) {
//			return 2 * in, nil
//		})))
//	}
//
// A handler answers with a value, with [Drop], with an error from [Reject] or [Retry], or with any other error, which
// retries that event. Handlers run concurrently; see [Concurrency]. Payloads are typed by encoding/json; a handler whose
// input is [Event] or []byte receives the event itself or its raw bytes.
//
// The coordinator starts the program and tells it by MESHLOOM_LISTEN where to listen. Started by hand it listens on
// 127.0.0.1:7480.
package meshloom

// Version of the SDK, semantic.
const Version = "0.1.0"

// protocolVersion is the only version of protocol meshloom.v1 that this SDK speaks.
const protocolVersion = 1
