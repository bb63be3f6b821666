package columns

import (
	"encoding/binary"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// ChunkBytes is the size at which rows go into a further result or frame; a single larger row goes alone.
const ChunkBytes = 8 << 20

// column collects one string attribute of all rows, nil when no row sets it.
func column(rows []Row, get func(*Meta) Attr) *meshloomv1.Strings {
	first := -1
	for i := range rows {
		if m := rows[i].Meta; m != nil && get(m).Set {
			first = i
			break
		}
	}
	if first < 0 {
		return nil
	}
	var b stringsBuilder
	for i := range rows {
		if m := rows[i].Meta; m != nil {
			b.add(get(m))
		} else {
			b.add(Attr{})
		}
	}
	return b.build()
}

func contentType(rows []Row) *meshloomv1.Strings {
	var b stringsBuilder
	for i := range rows {
		switch r := &rows[i]; {
		case r.Meta != nil && r.Meta.ContentType.Set:
			b.add(r.Meta.ContentType)
		case r.Default != "":
			b.add(SetTo(r.Default))
		default:
			b.add(Attr{})
		}
	}
	return b.build()
}

// EncodeOutputs encodes rows, which must be sorted by parent, as the outputs of inputs.
func EncodeOutputs(rows []Row, inputs *View) *meshloomv1.Outputs {
	if len(rows) == 0 {
		return nil
	}
	out := &meshloomv1.Outputs{Count: uint32(len(rows)), Parent: parents(rows, inputs.Count), ContentType: contentType(rows)}
	for i := range rows {
		if !rows[i].Pass {
			out.Payload = buildPayload(rows, func(p uint32) []byte { return inputs.Payload(int(p)) })
			break
		}
	}
	out.Type = column(rows, func(m *Meta) Attr { return m.Type })
	out.Subject = column(rows, func(m *Meta) Attr { return m.Subject })
	out.Key = column(rows, func(m *Meta) Attr { return m.Key })
	out.Id = column(rows, func(m *Meta) Attr { return m.ID })
	out.Route = column(rows, func(m *Meta) Attr { return m.Route })
	out.DataSchema = column(rows, func(m *Meta) Attr { return m.DataSchema })
	out.Time = buildTime(rows, KeepTime)
	out.Extensions = buildExtensions(rows)
	return out
}

// parents returns the parent column, nil when output i came from input i throughout.
func parents(rows []Row, count int) []byte {
	positional := len(rows) == count
	for i := 0; positional && i < len(rows); i++ {
		positional = rows[i].Parent == uint32(i)
	}
	if positional {
		return nil
	}
	column := make([]byte, 0, 4*len(rows))
	for i := range rows {
		column = binary.LittleEndian.AppendUint32(column, rows[i].Parent)
	}
	return column
}

// EncodeBatch encodes the rows of a source's frame.
func EncodeBatch(rows []Row, spans []*meshloomv1.SpanContext) *meshloomv1.Batch {
	return &meshloomv1.Batch{
		Count:       uint32(len(rows)),
		Payload:     buildPayload(rows, nil),
		ContentType: contentType(rows),
		Time:        buildTime(rows, NoTime),
		Id:          column(rows, func(m *Meta) Attr { return m.ID }),
		Source:      column(rows, func(m *Meta) Attr { return m.Source }),
		Type:        column(rows, func(m *Meta) Attr { return m.Type }),
		Subject:     column(rows, func(m *Meta) Attr { return m.Subject }),
		Key:         column(rows, func(m *Meta) Attr { return m.Key }),
		DataSchema:  column(rows, func(m *Meta) Attr { return m.DataSchema }),
		Extensions:  buildExtensions(rows),
		Spans:       spans,
	}
}

// Chunk tells how far rows can be sent in one message: at most 65,536 rows, about 8 MiB and 64 extension columns.
type Chunk struct {
	rows, bytes int
	extensions  map[extensionKey]struct{}
}

// Add takes row into the chunk and reports whether it fits; a row that does not fit was not added.
func (c *Chunk) Add(row *Row, size int) bool {
	if c.rows > 0 && (c.rows == MaxEvents || c.bytes+size > ChunkBytes || !c.extensionsFit(row)) {
		return false
	}
	c.rows++
	c.bytes += size
	if row.Meta != nil {
		for _, ext := range row.Meta.Extensions {
			if c.extensions == nil {
				c.extensions = map[extensionKey]struct{}{}
			}
			c.extensions[extensionKey{ext.Name, ext.Type}] = struct{}{}
		}
	}
	return true
}

func (c *Chunk) extensionsFit(row *Row) bool {
	if row.Meta == nil {
		return true
	}
	fresh := 0
	for _, ext := range row.Meta.Extensions {
		if _, ok := c.extensions[extensionKey{ext.Name, ext.Type}]; !ok {
			fresh++
		}
	}
	return len(c.extensions)+fresh <= MaxExtensions
}

// Take returns how many of rows go into one message, at least one.
func Take(rows []Row, inputs *View) int {
	var c Chunk
	for i := range rows {
		size := rows[i].Size()
		if rows[i].Pass {
			size += len(inputs.Payload(int(rows[i].Parent)))
		}
		if !c.Add(&rows[i], size) {
			return i
		}
	}
	return len(rows)
}
