package meshloom

import (
	"strings"
	"unicode/utf8"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
)

// Reasons that the SDK itself answers with; those of malformed batches stand in internal/columns.
const (
	reasonError       = "HANDLER_ERROR"         // the handler returned an error that is no verdict
	reasonPanic       = "PANIC"                 // the handler panicked
	reasonTimeout     = "TIMEOUT"               // the call took longer than the node's timeout
	reasonCancelled   = "CANCELLED"             // the coordinator took the work back
	reasonKeyHeld     = "KEY_HELD"              // an earlier event of the same key is to be retried
	reasonNoResult    = "NO_RESULT"             // a map handler returned nothing
	reasonNotIterable = "NOT_ITERABLE"          // a flat_map handler returned no iterator
	reasonMisfit      = "PAYLOAD_MISMATCH"      // the payload does not fit the handler's input type
	reasonUnencodable = "OUTPUT_INVALID"        // the result cannot be encoded
	reasonUnaccounted = "UNACCOUNTED"           // a batch handler left an input unmentioned
	reasonMisuse      = "RESULT_INDEX_REPEATED" // a batch handler named an input twice or one that is not there
	reasonRoute       = "ROUTE_UNDECLARED"      // an output takes a route that the node did not declare
	reasonLimits      = "LIMITS_EXCEEDED"       // more works are in hand than the node's limits allow
	reasonRejected    = "REJECTED"              // stands in for a reason that was empty
	reasonRetry       = "RETRY"                 // the handler asked for a retry
)

// cleanReason makes a reason legal: upper case, other characters become `_`, at most 64.
func cleanReason(reason, fallback string) string {
	if reason == "" {
		return fallback
	}
	legal := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		default:
			return '_'
		}
	}, reason)
	return legal[:min(len(legal), columns.MaxReason)]
}

// cleanMessage makes a message legal: UTF-8, at most 4 KiB, cut at a character.
func cleanMessage(message string) string {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) <= columns.MaxMessage {
		return message
	}
	cut := columns.MaxMessage
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut]
}
