package columns

import (
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// ChunkBytes is the size at which rows go into a further result or frame; a single larger row goes alone.
const ChunkBytes = 8 << 20

// EncodeOutputs encodes rows, which must be sorted by parent and fit into one message, as the outputs of inputs.
func EncodeOutputs(rows []Row, inputs *View) *meshloomv1.Outputs {
	if len(rows) == 0 {
		return nil
	}
	return sheetOf(rows, inputs).Outputs()
}

func sheetOf(rows []Row, inputs *View) *Sheet {
	s := &Sheet{inputs: inputs}
	for i := range rows {
		s.Add(&rows[i])
	}
	return s
}

// EncodeBatch encodes the rows of a source's frame, which fit into one message.
func EncodeBatch(rows []Row, spans []*meshloomv1.SpanContext) *meshloomv1.Batch {
	s := sheetOf(rows, nil)
	return &meshloomv1.Batch{
		Count:       uint32(len(rows)),
		Payload:     &meshloomv1.Values{Data: s.data, Ends: s.ends},
		ContentType: contentType(s.types),
		Time:        s.times(NoTime),
		Id:          s.column(func(m *Meta) Attr { return m.ID }),
		Source:      s.column(func(m *Meta) Attr { return m.Source }),
		Type:        s.column(func(m *Meta) Attr { return m.Type }),
		Subject:     s.column(func(m *Meta) Attr { return m.Subject }),
		Key:         s.column(func(m *Meta) Attr { return m.Key }),
		DataSchema:  s.column(func(m *Meta) Attr { return m.DataSchema }),
		Extensions:  s.extensions(),
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
