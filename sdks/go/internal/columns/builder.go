package columns

import (
	"encoding/binary"
	"slices"

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

// contentType builds the column of media types from their runs.
func contentType(types []run) *meshloomv1.Strings {
	var b stringsBuilder
	if len(types) == 1 {
		b.add(types[0].Attr) // one value is for all
		return b.build()
	}
	for _, t := range types {
		for range t.rows {
			b.add(t.Attr)
		}
	}
	return b.build()
}

// column builds one attribute of all rows, nil when no row sets it.
func (s *Sheet) column(get func(*Meta) Attr) *meshloomv1.Strings {
	if !slices.ContainsFunc(s.metas, func(p placed) bool { return get(p.meta).Set }) {
		return nil
	}
	var b stringsBuilder
	metas := s.metas
	for i := range s.chunk.rows {
		if len(metas) > 0 && metas[0].row == i {
			b.add(get(metas[0].meta))
			metas = metas[1:]
		} else {
			b.add(Attr{})
		}
	}
	return b.build()
}

type extensionKey struct {
	name string
	kind meshloomv1.ExtensionType
}

// extensions returns one column per name and type, in order of appearance.
func (s *Sheet) extensions() []*meshloomv1.Extension {
	if s.chunk.extensions == nil {
		return nil
	}
	var columns []*meshloomv1.Extension
	at := map[extensionKey]int{}
	for _, p := range s.metas {
		for _, ext := range p.meta.Extensions {
			key := extensionKey{ext.Name, ext.Type}
			n, ok := at[key]
			if !ok {
				n = len(columns)
				at[key] = n
				columns = append(columns, &meshloomv1.Extension{Name: ext.Name, Type: ext.Type, Values: &meshloomv1.Values{}})
			}
			column := columns[n]
			column.Index = binary.LittleEndian.AppendUint32(column.Index, uint32(p.row))
			if ext.Type != meshloomv1.ExtensionType_EXTENSION_TYPE_UNSPECIFIED {
				column.Values.Data = append(column.Values.Data, ext.Value...)
				column.Values.Ends = binary.LittleEndian.AppendUint32(column.Values.Ends, uint32(len(column.Values.Data)))
			}
		}
	}
	for _, column := range columns {
		if len(column.Index) == 4*s.chunk.rows {
			column.Index = nil
		}
		if column.Type == meshloomv1.ExtensionType_EXTENSION_TYPE_UNSPECIFIED {
			column.Values = nil
		}
	}
	return columns
}

// times returns the column of times, nil when no row sets one; absent stands for rows that set none.
func (s *Sheet) times(absent int64) []byte {
	if !slices.ContainsFunc(s.metas, func(p placed) bool { return p.meta.TimeSet }) {
		return nil
	}
	column := make([]byte, 0, 8*s.chunk.rows)
	metas := s.metas
	for i := range s.chunk.rows {
		t := absent
		if len(metas) > 0 && metas[0].row == i {
			if metas[0].meta.TimeSet {
				t = metas[0].meta.Time
			}
			metas = metas[1:]
		}
		column = binary.LittleEndian.AppendUint64(column, uint64(t))
	}
	return column
}
