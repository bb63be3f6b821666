package columns

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Sheet holds rows as the columns that travel: a row is written once, where it is sent from, and what is the same for
// many rows is noted once. The rows of a sheet fit into one message.
type Sheet struct {
	inputs     *View // what the parents are of, nil at a source
	chunk      Chunk
	parents    []byte
	data, ends []byte // payloads, nothing while every row passes
	carries    bool   // some row does not pass
	types      []run  // content types
	metas      []placed

	first, last uint32 // parents of the first and the last row
	unsorted    bool   // a parent falls
	named       bool   // output i does not come from input i throughout
}

// run is a value of rows that follow one another.
type run struct {
	Attr
	rows int
}

// placed is what a row sets that most rows do not.
type placed struct {
	row  int
	meta *Meta
}

// sheets keeps buffers for the next work: fresh ones are cleared by the runtime, which costs as much as filling them.
var sheets = sync.Pool{New: func() any { return new(Sheet) }}

// NewSheet returns an empty sheet for outputs of inputs.
func NewSheet(inputs *View) *Sheet {
	s := sheets.Get().(*Sheet)
	s.inputs = inputs
	return s
}

// Free gives the sheet's memory back. Nothing that was encoded from it may be in use any more.
func (s *Sheet) Free() {
	s.reset()
	sheets.Put(s)
}

func (s *Sheet) reset() {
	clear(s.types)
	clear(s.metas)
	*s = Sheet{parents: s.parents[:0], data: s.data[:0], ends: s.ends[:0], types: s.types[:0], metas: s.metas[:0]}
}

// Add takes a copy of a row; it reports false, and takes nothing, when the row does not fit into the message.
func (s *Sheet) Add(row *Row) bool {
	payload := row.Payload
	if row.Pass && s.carries {
		payload = s.inputs.Payload(int(row.Parent))
	}
	if !row.Pass && !s.carries && !s.carry() || !s.chunk.Add(row, len(payload)+row.Meta.Size()+rowBytes) {
		return false
	}
	if s.carries {
		s.data = append(s.data, payload...)
		s.ends = binary.LittleEndian.AppendUint32(s.ends, uint32(len(s.data)))
	}
	if row.Meta != nil {
		s.metas = append(s.metas, placed{s.chunk.rows - 1, row.Meta})
	}
	s.note(row.Parent, row.contentType())
	return true
}

// Pass adds a row that passes, as Add does.
func (s *Sheet) Pass(parent uint32) bool {
	if s.carries {
		return s.Add(&Row{Parent: parent, Pass: true})
	}
	if !s.chunk.Add(&passing, rowBytes) {
		return false
	}
	s.note(parent, Attr{})
	return true
}

var passing = Row{Pass: true}

// note takes down what every row has.
func (s *Sheet) note(parent uint32, contentType Attr) {
	at := s.chunk.rows - 1
	if at == 0 {
		s.first = parent
	}
	s.unsorted = s.unsorted || parent < s.last
	s.named = s.named || parent != uint32(at)
	s.last = parent
	s.parents = binary.LittleEndian.AppendUint32(s.parents, parent)
	if n := len(s.types); n > 0 && s.types[n-1].Attr == contentType {
		s.types[n-1].rows++
	} else {
		s.types = append(s.types, run{contentType, 1})
	}
}

// carry writes the payloads of the rows so far, which all pass: one that follows has a payload of its own. It reports
// false when they do not fit.
func (s *Sheet) carry() bool {
	bytes := 0
	for i := range s.chunk.rows {
		bytes += len(s.inputs.Payload(int(u32(s.parents, i))))
	}
	if bytes > 0 && s.chunk.bytes+bytes > ChunkBytes {
		return false
	}
	s.chunk.bytes += bytes
	s.carries = true
	for i := range s.chunk.rows {
		s.data = append(s.data, s.inputs.Payload(int(u32(s.parents, i)))...)
		s.ends = binary.LittleEndian.AppendUint32(s.ends, uint32(len(s.data)))
	}
	return true
}

// Continues tells whether the last parent of s goes on in next.
func (s *Sheet) Continues(next *Sheet) bool { return s.last == next.first && s.last != None }

// Outputs returns the sheet as outputs; they are valid until the sheet is freed.
func (s *Sheet) Outputs() *meshloomv1.Outputs {
	out := &meshloomv1.Outputs{
		Count:       uint32(s.chunk.rows),
		ContentType: contentType(s.types),
		Type:        s.column(func(m *Meta) Attr { return m.Type }),
		Subject:     s.column(func(m *Meta) Attr { return m.Subject }),
		Key:         s.column(func(m *Meta) Attr { return m.Key }),
		Id:          s.column(func(m *Meta) Attr { return m.ID }),
		Route:       s.column(func(m *Meta) Attr { return m.Route }),
		DataSchema:  s.column(func(m *Meta) Attr { return m.DataSchema }),
		Time:        s.times(KeepTime),
		Extensions:  s.extensions(),
	}
	if s.named || s.chunk.rows != s.inputs.Count {
		out.Parent = s.parents
	}
	if s.carries {
		out.Payload = &meshloomv1.Values{Data: s.data, Ends: s.ends}
	}
	return out
}

// rows appends the rows of the sheet, whose payloads are parts of it.
func (s *Sheet) rows(rows []Row) []Row {
	metas, begin := s.metas, uint32(0)
	types, left := s.types, s.types[0].rows
	for i := range s.chunk.rows {
		row := Row{Parent: u32(s.parents, i), Pass: !s.carries}
		if s.carries {
			end := u32(s.ends, i)
			row.Payload, begin = s.data[begin:end:end], end
		}
		if left == 0 {
			types = types[1:]
			left = types[0].rows
		}
		left--
		row.Default = types[0].Value
		if len(metas) > 0 && metas[0].row == i {
			row.Meta, metas = metas[0].meta, metas[1:]
		}
		rows = append(rows, row)
	}
	return rows
}

// Pack writes rows, sorted by parent, into as few sheets as hold them.
func Pack(rows []Row, inputs *View) []*Sheet {
	var packed []*Sheet
	for i := range rows {
		packed = Put(packed, &rows[i], inputs)
	}
	return packed
}

// Put adds a row to the last of sheets, or to a further one when it is full.
func Put(sheets []*Sheet, row *Row, inputs *View) []*Sheet {
	if n := len(sheets); n > 0 && sheets[n-1].Add(row) {
		return sheets
	}
	s := NewSheet(inputs)
	s.Add(row)
	return append(sheets, s)
}

// PutPass is Put for a row that passes.
func PutPass(sheets []*Sheet, parent uint32, inputs *View) []*Sheet {
	if n := len(sheets); n > 0 && sheets[n-1].Pass(parent) {
		return sheets
	}
	s := NewSheet(inputs)
	s.Pass(parent)
	return append(sheets, s)
}

// Arrange puts sheets in order of their parents. Most are of successive inputs and stay as they are, but for small ones,
// which are joined: a result of its own costs more than a copy.
func Arrange(sheets []*Sheet, inputs *View) []*Sheet {
	slices.SortStableFunc(sheets, func(a, b *Sheet) int { return cmp.Compare(a.first, b.first) })
	for i, s := range sheets {
		if s.unsorted || i > 0 && s.first < sheets[i-1].last {
			return rearrange(sheets, inputs)
		}
	}
	arranged := sheets[:0]
	for _, s := range sheets {
		if n := len(arranged); n > 0 && arranged[n-1].join(s) {
			s.Free()
		} else {
			arranged = append(arranged, s)
		}
	}
	return arranged
}

const joinBytes = 64 << 10 // size of a sheet up to which it is joined to the one before

// join adds the rows of next if it is small and fits.
func (s *Sheet) join(next *Sheet) bool {
	bytes := next.chunk.bytes
	if bytes > joinBytes || s.chunk.bytes+bytes > ChunkBytes || s.carries != next.carries || s.chunk.rows+next.chunk.rows > MaxEvents || next.chunk.extensions != nil {
		return false
	}
	for _, row := range next.rows(nil) {
		s.Add(&row)
	}
	return true
}

// rearrange writes all rows anew.
func rearrange(sheets []*Sheet, inputs *View) []*Sheet {
	var rows []Row
	for _, s := range sheets {
		rows = s.rows(rows)
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Parent, b.Parent) })
	packed := Pack(rows, inputs)
	for _, s := range sheets {
		s.Free()
	}
	return packed
}
