package columns

// The limits of protocol meshloom.v1. Both sides check them before anything is allocated.
const (
	MaxEvents          = 65_536   // events per batch, outputs per result
	MaxEventBytes      = 16 << 20 // bytes of one payload
	MaxBatchBytes      = 32 << 20 // bytes of one encoded batch
	MaxMessageBytes    = 64 << 20 // bytes of one gRPC message
	MaxAttributeBytes  = 64 << 10 // bytes of one attribute or extension value
	MaxKeyBytes        = 1 << 10  // bytes of one ordering key
	MaxExtensions      = 64       // extension columns per batch
	MaxExtensionName   = 64       // characters of an extension's name
	MaxCheckpointBytes = 64 << 10 // bytes of a checkpoint
	MaxTraceStateBytes = 512      // bytes of a tracestate
	MaxReason          = 64       // characters of a reason
	MaxMessage         = 4 << 10  // bytes of a failure's message
)

// Sentinels of the wire format.
const (
	None     = 0xFFFFFFFF // index: absent in a Batch, "as the parent's" in Outputs; parent: the whole batch
	NoTime   = -1 << 63   // time: absent
	KeepTime = NoTime + 1 // time in Outputs: as the parent's
)
