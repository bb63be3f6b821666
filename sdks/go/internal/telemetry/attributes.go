package telemetry

import "go.opentelemetry.io/otel/attribute"

// Names of the attributes, after OpenTelemetry's messaging conventions.
const (
	System        = attribute.Key("messaging.system")
	OperationName = attribute.Key("messaging.operation.name")
	OperationType = attribute.Key("messaging.operation.type")
	Destination   = attribute.Key("messaging.destination.name")
	MessageID     = attribute.Key("messaging.message.id")
	BatchCount    = attribute.Key("messaging.batch.message_count")
	ClientID      = attribute.Key("messaging.client.id")
	ErrorType     = attribute.Key("error.type")
	EventID       = attribute.Key("cloudevents.event_id")
	EventSource   = attribute.Key("cloudevents.event_source")
	EventType     = attribute.Key("cloudevents.event_type")
	Pipeline      = attribute.Key("meshloom.pipeline")
	Attempt       = attribute.Key("meshloom.attempt")
	Verdict       = attribute.Key("meshloom.verdict")
)

// Values of the verdict attribute.
const (
	Delivered = "delivered"
	Consumed  = "consumed"
	Retry     = "retry"
	Reject    = "reject"
)

const (
	systemName   = "meshloom"
	operationRun = "process"
	operationOut = "send"
)
