package columns

import (
	"encoding/binary"
	"sort"
	"time"
	"unicode/utf8"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// URI is the CloudEvents type of an absolute URI.
type URI string

// URIReference is the CloudEvents type of a URI reference.
type URIReference string

// ExtensionColumn is a checked extension attribute of all or some events.
type ExtensionColumn struct {
	Name string
	Type meshloomv1.ExtensionType

	values values
	index  []byte
}

// At returns the value for event i as bool, int32, string, []byte, URI, URIReference or time.Time.
func (c *ExtensionColumn) At(i int) (any, bool) {
	if len(c.index) > 0 {
		n := len(c.index) / 4
		at := sort.Search(n, func(k int) bool { return int(u32(c.index, k)) >= i })
		if at == n || int(u32(c.index, at)) != i {
			return nil, false
		}
		i = at
	}
	b := c.values.At(i)
	switch c.Type {
	case meshloomv1.ExtensionType_EXTENSION_TYPE_BOOLEAN:
		return b[0] == 1, true
	case meshloomv1.ExtensionType_EXTENSION_TYPE_INTEGER:
		return int32(binary.LittleEndian.Uint32(b)), true
	case meshloomv1.ExtensionType_EXTENSION_TYPE_BINARY:
		return b, true
	case meshloomv1.ExtensionType_EXTENSION_TYPE_URI:
		return URI(b), true
	case meshloomv1.ExtensionType_EXTENSION_TYPE_URI_REFERENCE:
		return URIReference(b), true
	case meshloomv1.ExtensionType_EXTENSION_TYPE_TIMESTAMP:
		return time.Unix(0, int64(binary.LittleEndian.Uint64(b))).UTC(), true
	default:
		return string(b), true
	}
}

func checkExtensions(pbs []*meshloomv1.Extension, count int) ([]ExtensionColumn, error) {
	if len(pbs) == 0 {
		return nil, nil
	}
	if len(pbs) > MaxExtensions {
		return nil, fault(TooManyExten, "the batch has %d extension columns, the limit is %d", len(pbs), MaxExtensions)
	}
	columns := make([]ExtensionColumn, 0, len(pbs))
	for _, pb := range pbs {
		column, err := checkExtension(pb, count)
		if err != nil {
			return nil, err
		}
		for i := range columns {
			if columns[i].Name == column.Name && overlap(&columns[i], &column) {
				return nil, fault(Malformed, "extension %q covers an event twice", column.Name)
			}
		}
		columns = append(columns, column)
	}
	return columns, nil
}

// overlap tells whether two columns cover a common event; an empty index covers all.
func overlap(a, b *ExtensionColumn) bool {
	if len(a.index) == 0 || len(b.index) == 0 {
		return true
	}
	for i, j := 0, 0; i < len(a.index)/4 && j < len(b.index)/4; {
		switch x, y := u32(a.index, i), u32(b.index, j); {
		case x == y:
			return true
		case x < y:
			i++
		default:
			j++
		}
	}
	return false
}

func checkExtension(pb *meshloomv1.Extension, count int) (ExtensionColumn, error) {
	c := ExtensionColumn{Name: pb.GetName(), Type: pb.GetType(), index: pb.GetIndex()}
	if !ValidExtensionName(c.Name) {
		return c, fault(Malformed, "extension name %.80q must be 1 to %d characters of [a-z0-9]", c.Name, MaxExtensionName)
	}
	if len(c.index)%4 != 0 || len(c.index) > 4*count {
		return c, fault(Malformed, "extension %q: index has %d bytes for %d events", c.Name, len(c.index), count)
	}
	covered := count
	if len(c.index) > 0 {
		covered = len(c.index) / 4
		previous := int64(-1)
		for i := range covered {
			at := int64(u32(c.index, i))
			if at <= previous || at >= int64(count) {
				return c, fault(Malformed, "extension %q: index[%d] is %d, after %d and with %d events", c.Name, i, at, previous, count)
			}
			previous = at
		}
	}
	var err error
	if c.values, err = checkValues("extension "+c.Name, pb.GetValues(), covered, MaxAttributeBytes, AttrLarge); err != nil {
		return c, err
	}
	return c, checkExtensionType(&c)
}

func checkExtensionType(c *ExtensionColumn) error {
	width := 0
	switch c.Type {
	case meshloomv1.ExtensionType_EXTENSION_TYPE_BOOLEAN:
		width = 1
	case meshloomv1.ExtensionType_EXTENSION_TYPE_INTEGER:
		width = 4
	case meshloomv1.ExtensionType_EXTENSION_TYPE_TIMESTAMP:
		width = 8
	case meshloomv1.ExtensionType_EXTENSION_TYPE_STRING, meshloomv1.ExtensionType_EXTENSION_TYPE_URI, meshloomv1.ExtensionType_EXTENSION_TYPE_URI_REFERENCE:
		return checkUTF8("extension "+c.Name, c.values)
	case meshloomv1.ExtensionType_EXTENSION_TYPE_BINARY:
		return nil
	default:
		return fault(Malformed, "extension %q has type %d, which a batch cannot carry", c.Name, c.Type)
	}
	for i := range c.values.Len() {
		b := c.values.At(i)
		if len(b) != width || (width == 1 && b[0] > 1) {
			return fault(Malformed, "extension %q[%d] is no valid %s", c.Name, i, c.Type)
		}
	}
	return nil
}

// ValidExtensionName tells whether name is 1 to 64 characters of [a-z0-9].
func ValidExtensionName(name string) bool {
	if name == "" || len(name) > MaxExtensionName {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// encodeExtension returns type and wire bytes of a Go value; nil means "remove".
func encodeExtension(value any) (meshloomv1.ExtensionType, []byte, bool) {
	switch x := value.(type) {
	case nil:
		return meshloomv1.ExtensionType_EXTENSION_TYPE_UNSPECIFIED, nil, true
	case bool:
		if x {
			return meshloomv1.ExtensionType_EXTENSION_TYPE_BOOLEAN, []byte{1}, true
		}
		return meshloomv1.ExtensionType_EXTENSION_TYPE_BOOLEAN, []byte{0}, true
	case int32:
		return meshloomv1.ExtensionType_EXTENSION_TYPE_INTEGER, binary.LittleEndian.AppendUint32(nil, uint32(x)), true
	case int:
		return meshloomv1.ExtensionType_EXTENSION_TYPE_INTEGER, binary.LittleEndian.AppendUint32(nil, uint32(int32(x))), int(int32(x)) == x
	case string:
		return meshloomv1.ExtensionType_EXTENSION_TYPE_STRING, []byte(x), utf8.ValidString(x)
	case []byte:
		return meshloomv1.ExtensionType_EXTENSION_TYPE_BINARY, x, true
	case URI:
		return meshloomv1.ExtensionType_EXTENSION_TYPE_URI, []byte(x), utf8.ValidString(string(x))
	case URIReference:
		return meshloomv1.ExtensionType_EXTENSION_TYPE_URI_REFERENCE, []byte(x), utf8.ValidString(string(x))
	case time.Time:
		at := x.UnixNano()
		return meshloomv1.ExtensionType_EXTENSION_TYPE_TIMESTAMP, binary.LittleEndian.AppendUint64(nil, uint64(at)), time.Unix(0, at).Equal(x)
	default:
		return 0, nil, false
	}
}
