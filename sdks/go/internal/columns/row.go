package columns

import (
	"unicode/utf8"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Attr is an attribute that may be left alone (Set false) or set, to "" also.
type Attr struct {
	Value string
	Set   bool
}

// SetTo returns an attribute that is set to value.
func SetTo(value string) Attr { return Attr{Value: value, Set: true} }

// Ext is an extension attribute of a row, checked and encoded by SetExtension.
type Ext struct {
	Name  string
	Type  meshloomv1.ExtensionType
	Value []byte
}

// Meta holds the attributes that a row sets.
type Meta struct {
	ContentType, Type, Subject, Key, ID, Route, DataSchema, Source Attr

	Time       int64 // UTC nanoseconds since the Unix epoch, meaningful when TimeSet; NoTime clears
	TimeSet    bool
	Extensions []Ext
}

// SetExtension adds or replaces an extension. A nil value removes it from the output.
func (m *Meta) SetExtension(name string, value any) error {
	if !ValidExtensionName(name) {
		return fault(AttrInvalid, "extension name %.80q must be 1 to %d characters of [a-z0-9]", name, MaxExtensionName)
	}
	kind, bytes, ok := encodeExtension(value)
	if !ok {
		return fault(AttrInvalid, "extension %q: a %T of this value has no CloudEvents type; use bool, int32, string (UTF-8), []byte, URI, URIReference or time.Time", name, value)
	}
	if len(bytes) > MaxAttributeBytes {
		return fault(AttrLarge, "extension %q has %d bytes, the limit is %d", name, len(bytes), MaxAttributeBytes)
	}
	ext := Ext{Name: name, Type: kind, Value: bytes}
	for i := range m.Extensions {
		if m.Extensions[i].Name == name {
			m.Extensions[i] = ext
			return nil
		}
	}
	if len(m.Extensions) == MaxExtensions {
		return fault(TooManyExten, "extension %q is one more than the limit of %d per event", name, MaxExtensions)
	}
	m.Extensions = append(m.Extensions, ext)
	return nil
}

// Check checks the attributes against the limits of the protocol.
func (m *Meta) Check() error {
	for _, a := range []struct {
		name  string
		attr  *Attr
		limit int
	}{
		{"content type", &m.ContentType, MaxAttributeBytes}, {"type", &m.Type, MaxAttributeBytes}, {"subject", &m.Subject, MaxAttributeBytes},
		{"key", &m.Key, MaxKeyBytes}, {"id", &m.ID, MaxAttributeBytes}, {"route", &m.Route, MaxAttributeBytes},
		{"data schema", &m.DataSchema, MaxAttributeBytes}, {"source", &m.Source, MaxAttributeBytes},
	} {
		if len(a.attr.Value) > a.limit {
			return fault(AttrLarge, "the %s has %d bytes, the limit is %d", a.name, len(a.attr.Value), a.limit)
		}
		if !utf8.ValidString(a.attr.Value) {
			return fault(AttrInvalid, "the %s is not UTF-8: %.80q", a.name, a.attr.Value)
		}
	}
	return nil
}

// Size estimates the encoded bytes of the attributes.
func (m *Meta) Size() int {
	if m == nil {
		return 0
	}
	n := len(m.ContentType.Value) + len(m.Type.Value) + len(m.Subject.Value) + len(m.Key.Value) + len(m.ID.Value) +
		len(m.Route.Value) + len(m.DataSchema.Value) + len(m.Source.Value)
	for i := range m.Extensions {
		n += len(m.Extensions[i].Name) + len(m.Extensions[i].Value) + 8
	}
	return n
}

// Row is one event to be encoded. Payload must stay unchanged until it is.
type Row struct {
	Parent  uint32 // index of the input, None: the whole batch; unused by sources
	Pass    bool   // the parent's payload, unchanged
	Payload []byte
	Default string // content type when Meta sets none
	Meta    *Meta  // nil: no attribute is set
}

const rowBytes = 16 // of a row in the columns that have a fixed width

// Size estimates the row's encoded bytes.
func (r *Row) Size() int { return len(r.Payload) + r.Meta.Size() + rowBytes }

// contentType returns the media type of the payload, not set where it is as the parent's.
func (r *Row) contentType() Attr {
	if r.Meta != nil && r.Meta.ContentType.Set {
		return r.Meta.ContentType
	}
	return Attr{Value: r.Default, Set: r.Default != ""}
}

// CheckPayload checks a payload's size.
func CheckPayload(b []byte) error {
	if len(b) > MaxEventBytes {
		return fault(EventLarge, "the payload has %d bytes, the limit is %d", len(b), MaxEventBytes)
	}
	return nil
}
