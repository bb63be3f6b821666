package meshloom

import (
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
)

// Out is a result with attributes of its own. Make one with [Emit]; the zero value is no result.
type Out[T any] struct {
	value T
	meta  columns.Meta
	plain bool // no attribute is set
	set   bool
	err   error
}

// Emit wraps a value so that attributes can be set on the output. What is not set stays as the input's, but for the
// content type: a new payload is application/json, or application/octet-stream when the value is a []byte.
func Emit[T any](value T) Out[T] { return Out[T]{value: value, plain: true, set: true} }

// Key sets the ordering key, at most 1 KiB; "" clears it.
func (o Out[T]) Key(key string) Out[T] {
	o.meta.Key, o.plain = columns.SetTo(key), false
	return o
}

// Route sets the route that the output takes, one that the node declared by [Routes]; "" is none.
func (o Out[T]) Route(route string) Out[T] {
	o.meta.Route, o.plain = columns.SetTo(route), false
	return o
}

// Type sets the CloudEvents type; "" clears it.
func (o Out[T]) Type(eventType string) Out[T] {
	o.meta.Type, o.plain = columns.SetTo(eventType), false
	return o
}

// Subject sets the CloudEvents subject; "" clears it.
func (o Out[T]) Subject(subject string) Out[T] {
	o.meta.Subject, o.plain = columns.SetTo(subject), false
	return o
}

// Time sets when the event occurred, between the years 1678 and 2261; the zero time clears it.
func (o Out[T]) Time(at time.Time) Out[T] {
	o.meta.TimeSet, o.plain = true, false
	var err error
	if o.meta.Time, err = nanos(at); err != nil && o.err == nil {
		o.err = err
	}
	return o
}

// ID sets the CloudEvents id. The event's identity is then made of it, which keeps it stable when the order or the
// number of outputs may differ between attempts.
func (o Out[T]) ID(id string) Out[T] {
	o.meta.ID, o.plain = columns.SetTo(id), false
	return o
}

// ContentType sets the media type of the payload.
func (o Out[T]) ContentType(mediaType string) Out[T] {
	o.meta.ContentType, o.plain = columns.SetTo(mediaType), false
	return o
}

// DataSchema sets the CloudEvents dataschema; "" clears it.
func (o Out[T]) DataSchema(uri string) Out[T] {
	o.meta.DataSchema, o.plain = columns.SetTo(uri), false
	return o
}

// Extension sets a CloudEvents extension attribute: bool, int32, string, []byte, [URI], [URIReference] or [time.Time];
// nil removes it. The name has 1 to 64 characters of [a-z0-9].
func (o Out[T]) Extension(name string, value any) Out[T] {
	o.plain = false
	o.meta.Extensions = append([]columns.Ext(nil), o.meta.Extensions...)
	if err := o.meta.SetExtension(name, value); err != nil && o.err == nil {
		o.err = err
	}
	return o
}

// emitted is what every Out is, whatever its payload's type.
type emitted interface {
	parts() (value any, meta *columns.Meta, set bool, err error)
}

func (o Out[T]) parts() (any, *columns.Meta, bool, error) {
	switch {
	case o.err != nil:
		return nil, nil, o.set, o.err
	case o.plain || !o.set:
		return o.value, nil, o.set, nil
	}
	meta := o.meta
	return o.value, &meta, true, meta.Check()
}

var (
	earliest = time.Unix(0, columns.KeepTime+1)
	latest   = time.Unix(0, 1<<63-1)
)

// nanos returns the wire form of a time.
func nanos(at time.Time) (int64, error) {
	if at.IsZero() {
		return columns.NoTime, nil
	}
	if at.Before(earliest) || at.After(latest) {
		return 0, &columns.Error{Reason: columns.AttrInvalid, Message: "the time " + at.String() + " is outside the years 1678 to 2261 that nanoseconds in 64 bits can hold"}
	}
	return at.UnixNano(), nil
}
