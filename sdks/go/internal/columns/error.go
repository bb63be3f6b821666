package columns

import "fmt"

// Error says why columns break the protocol. Reason is a stable code, Message tells a person what is wrong and where.
type Error struct {
	Reason  string
	Message string
}

func (e *Error) Error() string { return e.Reason + ": " + e.Message }

// Reasons of columns that break the protocol.
const (
	Malformed    = "BATCH_MALFORMED"     // columns contradict each other or the format
	TooLarge     = "BATCH_TOO_LARGE"     // a limit of a whole batch is passed
	EventLarge   = "EVENT_TOO_LARGE"     // a payload is larger than 16 MiB
	AttrLarge    = "ATTRIBUTE_TOO_LARGE" // an attribute is larger than its limit
	AttrInvalid  = "OUTPUT_INVALID"      // an attribute of an output is not what its type says
	TooManyExten = "TOO_MANY_EXTENSIONS" // an event or batch has more than 64
)

func fault(reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
