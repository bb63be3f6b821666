package meshloom

import (
	"encoding/hex"
	"iter"
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
)

// UID is the 128-bit identity of an event inside Meshloom, stable over retries and replays: an idempotency key.
type UID [16]byte

// String returns the 32 hexadecimal digits of the identity.
func (u UID) String() string { return hex.EncodeToString(u[:]) }

// URI is an extension attribute that is an absolute URI.
type URI = columns.URI

// URIReference is an extension attribute that is a URI reference.
type URIReference = columns.URIReference

// Event is one event: the attributes of CloudEvents 1.0 and a payload. It is a handle on columns: every attribute is read
// when it is asked for. It is valid for the length of the handler's call and beyond, but keeps its whole batch in memory.
type Event struct {
	view    *columns.View
	index   int
	attempt int
}

// Data returns the payload. It is a part of the received buffer: do not change it.
func (e Event) Data() []byte {
	if e.view == nil {
		return nil
	}
	return e.view.Payload(e.index)
}

// Text returns a copy of the payload as a string.
func (e Event) Text() string { return string(e.Data()) }

// JSON decodes the payload into v. A payload that does not fit gives an error that rejects the event when it is returned.
func (e Event) JSON(v any) error { return decodeJSON(e.Data(), v) }

// UID returns the identity of the event.
func (e Event) UID() UID {
	if e.view == nil {
		return UID{}
	}
	return e.view.UID(e.index)
}

// Attempt returns which attempt at this node this is, from 1.
func (e Event) Attempt() int { return e.attempt }

// Attribute names a text attribute of an event, for [Event.Lookup].
type Attribute int

// The text attributes of an event.
const (
	AttrID          Attribute = iota // CloudEvents id
	AttrSource                       // CloudEvents source
	AttrType                         // CloudEvents type
	AttrSubject                      // CloudEvents subject
	AttrDataSchema                   // CloudEvents dataschema
	AttrContentType                  // CloudEvents datacontenttype
	AttrKey                          // ordering key
	AttrFrom                         // upstream as the pipeline file writes it
)

// Lookup returns an attribute and whether the event has it: absent is not the same as empty. It panics for an attribute that
// is none of the constants.
func (e Event) Lookup(attribute Attribute) (value string, ok bool) {
	if e.view == nil {
		return "", false
	}
	v := e.view
	return [...]*columns.Strings{
		AttrID: &v.ID, AttrSource: &v.Source, AttrType: &v.Type, AttrSubject: &v.Subject, AttrDataSchema: &v.DataSchema,
		AttrContentType: &v.ContentType, AttrKey: &v.Key, AttrFrom: &v.From,
	}[attribute].At(e.index)
}

func (e Event) text(attribute Attribute) string {
	value, _ := e.Lookup(attribute)
	return value
}

// ID returns the CloudEvents id, empty if it has none.
func (e Event) ID() string { return e.text(AttrID) }

// Source returns the CloudEvents source, empty if it has none.
func (e Event) Source() string { return e.text(AttrSource) }

// Type returns the CloudEvents type, empty if it has none.
func (e Event) Type() string { return e.text(AttrType) }

// Subject returns the CloudEvents subject, empty if it has none.
func (e Event) Subject() string { return e.text(AttrSubject) }

// Key returns the ordering key, empty if it has none.
func (e Event) Key() string { return e.text(AttrKey) }

// DataSchema returns the CloudEvents dataschema, empty if it has none.
func (e Event) DataSchema() string { return e.text(AttrDataSchema) }

// ContentType returns the media type of the payload, empty if it is unknown.
func (e Event) ContentType() string { return e.text(AttrContentType) }

// From returns the upstream as the pipeline file writes it; empty if the node has one upstream only.
func (e Event) From() string { return e.text(AttrFrom) }

// Time returns when the event occurred, in UTC; the zero time if it does not say.
func (e Event) Time() time.Time {
	nanos, ok := e.UnixNano()
	if !ok {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// UnixNano returns when the event occurred in UTC nanoseconds since the Unix epoch, and whether it says so.
func (e Event) UnixNano() (int64, bool) {
	if e.view == nil {
		return 0, false
	}
	return e.view.Time(e.index)
}

// Extension returns a CloudEvents extension attribute as bool, int32, string, []byte, [URI], [URIReference] or [time.Time].
func (e Event) Extension(name string) (any, bool) {
	for n, value := range e.Extensions() {
		if n == name {
			return value, true
		}
	}
	return nil, false
}

// Extensions yields the extension attributes of the event.
func (e Event) Extensions() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if e.view == nil {
			return
		}
		for i := range e.view.Extensions {
			column := &e.view.Extensions[i]
			if value, ok := column.At(e.index); ok && !yield(column.Name, value) {
				return
			}
		}
	}
}
