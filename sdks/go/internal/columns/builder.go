package columns

import (
	"encoding/binary"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// stringsBuilder builds a Strings column row by row; equal values are stored once.
type stringsBuilder struct {
	data, ends, index []byte
	seen              map[string]uint32
	last              string
	lastAt            uint32
	rows, count       uint32
	mixed             bool // some row has none, or not the value of the same position
}

// add sets the next row.
func (b *stringsBuilder) add(a Attr) {
	at := uint32(None)
	if a.Set {
		at = b.intern(a.Value)
	}
	if at != b.rows {
		b.mixed = true
	}
	b.index = binary.LittleEndian.AppendUint32(b.index, at)
	b.rows++
}

func (b *stringsBuilder) intern(value string) uint32 {
	if b.count > 0 && b.last == value {
		return b.lastAt
	}
	at, ok := b.seen[value]
	if !ok {
		if b.seen == nil {
			b.seen = make(map[string]uint32)
		}
		at = b.count
		b.seen[value] = at
		b.data = append(b.data, value...)
		b.ends = binary.LittleEndian.AppendUint32(b.ends, uint32(len(b.data)))
		b.count++
	}
	b.last, b.lastAt = value, at
	return at
}

// build returns the column in its shortest form, nil when no row has a value.
func (b *stringsBuilder) build() *meshloomv1.Strings {
	if b.count == 0 {
		return nil
	}
	column := &meshloomv1.Strings{Values: &meshloomv1.Values{Data: b.data, Ends: b.ends}}
	if b.mixed && !b.same() {
		column.Index = b.index
	}
	return column
}

// same tells that every row has the only value.
func (b *stringsBuilder) same() bool {
	if b.count != 1 {
		return false
	}
	for i := range int(b.rows) {
		if u32(b.index, i) != 0 {
			return false
		}
	}
	return true
}

type extensionKey struct {
	name string
	kind meshloomv1.ExtensionType
}

// buildExtensions returns one column per name and type, in order of appearance.
func buildExtensions(rows []Row) []*meshloomv1.Extension {
	var columns []*meshloomv1.Extension
	at := map[extensionKey]int{}
	for i := range rows {
		if rows[i].Meta == nil {
			continue
		}
		for _, ext := range rows[i].Meta.Extensions {
			key := extensionKey{ext.Name, ext.Type}
			n, ok := at[key]
			if !ok {
				n = len(columns)
				at[key] = n
				columns = append(columns, &meshloomv1.Extension{Name: ext.Name, Type: ext.Type, Values: &meshloomv1.Values{}})
			}
			column := columns[n]
			column.Index = binary.LittleEndian.AppendUint32(column.Index, uint32(i))
			if ext.Type != meshloomv1.ExtensionType_EXTENSION_TYPE_UNSPECIFIED {
				column.Values.Data = append(column.Values.Data, ext.Value...)
				column.Values.Ends = binary.LittleEndian.AppendUint32(column.Values.Ends, uint32(len(column.Values.Data)))
			}
		}
	}
	for _, column := range columns {
		if len(column.Index) == 4*len(rows) {
			column.Index = nil
		}
		if column.Type == meshloomv1.ExtensionType_EXTENSION_TYPE_UNSPECIFIED {
			column.Values = nil
		}
	}
	return columns
}

// buildTime returns the time column, nil when no row sets a time; absent stands for rows that set none.
func buildTime(rows []Row, absent int64) []byte {
	set := false
	for i := range rows {
		if m := rows[i].Meta; m != nil && m.TimeSet {
			set = true
			break
		}
	}
	if !set {
		return nil
	}
	column := make([]byte, 0, 8*len(rows))
	for i := range rows {
		t := absent
		if m := rows[i].Meta; m != nil && m.TimeSet {
			t = m.Time
		}
		column = binary.LittleEndian.AppendUint64(column, uint64(t))
	}
	return column
}

// buildPayload joins the payloads once. parent gives the payload of a row that passes its parent's on.
func buildPayload(rows []Row, parent func(uint32) []byte) *meshloomv1.Values {
	total := 0
	for i := range rows {
		if rows[i].Pass {
			total += len(parent(rows[i].Parent))
		}
		total += len(rows[i].Payload)
	}
	column := &meshloomv1.Values{Data: make([]byte, 0, total), Ends: make([]byte, 0, 4*len(rows))}
	for i := range rows {
		if rows[i].Pass {
			column.Data = append(column.Data, parent(rows[i].Parent)...)
		} else {
			column.Data = append(column.Data, rows[i].Payload...)
		}
		column.Ends = binary.LittleEndian.AppendUint32(column.Ends, uint32(len(column.Data)))
	}
	return column
}
