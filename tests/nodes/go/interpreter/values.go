package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// extension is an extension attribute with its type.
type extension struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// decode returns the Go value of the attribute; nil, which removes it, of nothing.
func (e *extension) decode() (any, error) {
	if e == nil {
		return nil, nil
	}
	switch e.Type {
	case "boolean":
		return parse[bool](e)
	case "integer":
		return parse[int](e)
	case "string":
		return parse[string](e)
	case "uri":
		return parse[meshloom.URI](e)
	case "uri_reference":
		return parse[meshloom.URIReference](e)
	case "binary":
		return parse[[]byte](e)
	case "timestamp":
		return parseTime(e.Value)
	default:
		return nil, meshloom.Rejectf("PAYLOAD_MISMATCH", "there is no extension type %q", e.Type)
	}
}

func parse[T any](e *extension) (value T, err error) {
	if err := json.Unmarshal(e.Value, &value); err != nil {
		return value, meshloom.Rejectf("PAYLOAD_MISMATCH", "an extension of type %s: %w", e.Type, err)
	}
	return value, nil
}

// encode is the inverse of decode.
func encode(value any) map[string]any {
	switch v := value.(type) {
	case bool:
		return map[string]any{"type": "boolean", "value": v}
	case int32:
		return map[string]any{"type": "integer", "value": v}
	case meshloom.URI:
		return map[string]any{"type": "uri", "value": v}
	case meshloom.URIReference:
		return map[string]any{"type": "uri_reference", "value": v}
	case []byte:
		return map[string]any{"type": "binary", "value": base64.StdEncoding.EncodeToString(v)}
	case time.Time:
		return map[string]any{"type": "timestamp", "value": fmt.Sprint(v.UnixNano())}
	default:
		return map[string]any{"type": "string", "value": v}
	}
}

// parseTime reads nanoseconds since 1970 in a JSON string; null is the zero time, which clears.
func parseTime(raw json.RawMessage) (at time.Time, err error) {
	var digits *string
	if err := json.Unmarshal(raw, &digits); err != nil || digits == nil {
		return at, err
	}
	nanos, err := strconv.ParseInt(*digits, 10, 64)
	if err != nil {
		return at, meshloom.Rejectf("PAYLOAD_MISMATCH", "a time: %w", err)
	}
	return time.Unix(0, nanos), nil
}
