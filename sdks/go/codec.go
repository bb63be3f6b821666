package meshloom

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
)

const (
	contentJSON  = "application/json"
	contentBytes = "application/octet-stream"
)

// decoder returns how a handler's input type is read from an event: Event and []byte as they are, all else from JSON. It
// is chosen once per handler, so that raw inputs cost no allocation.
func decoder[In any]() func(Event) (In, error) {
	var raw any
	switch any(new(In)).(type) {
	case *Event:
		raw = func(event Event) (Event, error) { return event, nil }
	case *[]byte:
		raw = func(event Event) ([]byte, error) { return event.Data(), nil }
	default:
		return func(event Event) (in In, err error) {
			err = decodeJSON(event.Data(), &in)
			return in, err
		}
	}
	return raw.(func(Event) (In, error))
}

// encoder returns how a handler's results are taken into an emission; raw bytes cost no allocation.
func encoder[Result any]() func(*emission, Result) error {
	var raw any = (*emission).emitBytes
	if take, ok := raw.(func(*emission, Result) error); ok {
		return take
	}
	return func(e *emission, result Result) error { return e.emit(result) }
}

// decodeJSON rejects what does not fit and names the field.
func decodeJSON(data []byte, to any) error {
	err := json.Unmarshal(data, to)
	if err == nil {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	var misuse *json.InvalidUnmarshalError
	switch {
	case errors.As(err, &misuse):
		return err
	case len(data) == 0:
		return Rejectf(reasonMisfit, "the payload is empty, want JSON for %T", reflect.ValueOf(to).Elem().Interface())
	case errors.As(err, &wrong) && wrong.Field != "":
		return Rejectf(reasonMisfit, "field %q: want %s, got %s (byte %d)", wrong.Field, wrong.Type, wrong.Value, wrong.Offset)
	case errors.As(err, &wrong):
		return Rejectf(reasonMisfit, "the payload is a JSON %s, want %s", wrong.Value, wrong.Type)
	case errors.As(err, &syntax):
		return Rejectf(reasonMisfit, "the payload is no JSON at byte %d: %v; it starts with %.60q", syntax.Offset, syntax, data)
	default:
		return Rejectf(reasonMisfit, "the payload does not fit: %v", err)
	}
}

// arena encodes payloads into chunks that stay unchanged until it is reset.
type arena struct {
	routes  []string      // declared by the node
	inputs  *columns.View // of the work, nil at a source
	keeps   bool          // several payloads are held at a time; else each is used before the next is made
	chunk   []byte
	scratch bytes.Buffer
	encoder *json.Encoder
}

const arenaChunk = 64 << 10

// reset gives up what the arena holds.
func (a *arena) reset() { a.chunk = a.chunk[:0] }

// keep copies b into the arena if it must outlast the next payload.
func (a *arena) keep(b []byte) []byte {
	if !a.keeps {
		return b
	}
	if len(b) > cap(a.chunk)-len(a.chunk) {
		if len(b) > arenaChunk/4 {
			return bytes.Clone(b)
		}
		a.chunk = make([]byte, 0, arenaChunk)
	}
	start := len(a.chunk)
	a.chunk = append(a.chunk, b...)
	return a.chunk[start:len(a.chunk):len(a.chunk)]
}

// json encodes v into the arena.
func (a *arena) json(v any) ([]byte, error) {
	if a.encoder == nil {
		a.encoder = json.NewEncoder(&a.scratch)
		a.encoder.SetEscapeHTML(false)
	}
	a.scratch.Reset()
	if err := a.encoder.Encode(v); err != nil {
		return nil, &columns.Error{Reason: reasonUnencodable, Message: fmt.Sprintf("the result of type %T cannot be encoded as JSON: %v", v, err)}
	}
	b := a.scratch.Bytes()
	return a.keep(b[:len(b)-1]), nil // without the newline that Encode adds
}

// fill encodes a handler's result into an output. It fails with NO_RESULT for a result that is nothing.
func (a *arena) fill(row *columns.Row, result any) error {
	value, explicit := result, false
	if out, ok := result.(emitted); ok {
		var err error
		if value, row.Meta, explicit, err = out.parts(); err != nil {
			return err
		}
		if !explicit {
			return errNoResult
		}
		if err := a.checkRoute(row.Meta); err != nil {
			return err
		}
	}
	if !explicit && isNil(value) {
		return errNoResult
	}
	switch x := value.(type) {
	case Event:
		return a.fillEvent(row, x)
	case []byte:
		return a.fillBytes(row, x)
	default:
		var err error
		if row.Payload, err = a.json(x); err != nil {
			return err
		}
		row.Default = contentJSON
	}
	return columns.CheckPayload(row.Payload)
}

// fillEvent completes an output that takes the payload of an event: without a copy, it is a part of a received buffer. The
// input itself passes, without its payload being sent back.
func (a *arena) fillEvent(row *columns.Row, event Event) error {
	switch {
	case event.view == nil:
		return errNoResult
	case event.view == a.inputs && event.index == int(row.Parent):
		row.Pass = true
		return nil
	}
	row.Payload, row.Default = event.Data(), cmp.Or(event.ContentType(), contentBytes)
	return nil
}

// fillBytes completes an output whose payload is given as it is.
func (a *arena) fillBytes(row *columns.Row, payload []byte) error {
	if err := columns.CheckPayload(payload); err != nil {
		return err
	}
	row.Payload, row.Default = a.keep(payload), contentBytes
	return nil
}

func (a *arena) checkRoute(meta *columns.Meta) error {
	if meta == nil || meta.Route.Value == "" || slices.Contains(a.routes, meta.Route.Value) {
		return nil
	}
	return Rejectf(reasonRoute, "the route %q is not declared: add meshloom.Routes(%q) to the node; declared are: %s", meta.Route.Value, meta.Route.Value, strings.Join(a.routes, ", "))
}

var errNoResult = Rejectf(reasonNoResult, "the handler returned nothing: return a value, meshloom.Drop to end the event here, or meshloom.Emit(nil value) for JSON null")

var errNotIterable = Rejectf(reasonNotIterable, "the handler returned no iterator: return one that yields nothing, or yield meshloom.Drop, to end the event here")

func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return r.IsNil()
	default:
		return false
	}
}
