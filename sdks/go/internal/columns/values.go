package columns

import (
	"encoding/binary"
	"unicode/utf8"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// u32 reads the i-th little-endian u32 of a column.
func u32(column []byte, i int) uint32 { return binary.LittleEndian.Uint32(column[4*i:]) }

// values is a checked Values column: At never fails for an index below Len.
type values struct {
	data []byte
	ends []byte
}

// Len returns the number of values.
func (v values) Len() int { return len(v.ends) / 4 }

// At returns the i-th value, a sub-slice of the received buffer.
func (v values) At(i int) []byte {
	var start uint32
	if i > 0 {
		start = u32(v.ends, i-1)
	}
	end := u32(v.ends, i)
	return v.data[start:end:end]
}

// checkValues checks count (any count when negative), that ends are monotonic and cover data, and each value's size.
func checkValues(name string, pb *meshloomv1.Values, count, maxBytes int, tooLarge string) (values, error) {
	v := values{data: pb.GetData(), ends: pb.GetEnds()}
	if len(v.ends)%4 != 0 {
		return v, fault(Malformed, "%s.ends has %d bytes, which is no multiple of 4", name, len(v.ends))
	}
	if count >= 0 && v.Len() != count {
		return v, fault(Malformed, "%s has %d values for %d events", name, v.Len(), count)
	}
	var previous uint32
	for i := range v.Len() {
		end := u32(v.ends, i)
		if end < previous || uint64(end) > uint64(len(v.data)) {
			return v, fault(Malformed, "%s.ends[%d] is %d, after %d and with %d bytes of data", name, i, end, previous, len(v.data))
		}
		if int64(end-previous) > int64(maxBytes) {
			return v, fault(tooLarge, "%s[%d] has %d bytes, the limit is %d", name, i, end-previous, maxBytes)
		}
		previous = end
	}
	if int(previous) != len(v.data) {
		return v, fault(Malformed, "%s.data has %d bytes, its last end is %d", name, len(v.data), previous)
	}
	return v, nil
}

// checkUTF8 checks every value of v. Whole-buffer validation plus a look at each boundary avoids one call per value.
func checkUTF8(name string, v values) error {
	if !utf8.Valid(v.data) {
		return fault(Malformed, "%s holds bytes that are not UTF-8", name)
	}
	for i := range v.Len() {
		if end := int(u32(v.ends, i)); end < len(v.data) && !utf8.RuneStart(v.data[end]) {
			return fault(Malformed, "%s[%d] ends inside a UTF-8 character", name, i)
		}
	}
	return nil
}

// Strings is a checked column of strings. The zero value is absent for every event.
type Strings struct {
	values values
	index  []byte
	one    bool
}

// At returns the value of event i and whether it has one.
func (s *Strings) At(i int) (string, bool) {
	b, ok := s.Bytes(i)
	return string(b), ok
}

// Bytes is At without a copy: a sub-slice of the received buffer.
func (s *Strings) Bytes(i int) ([]byte, bool) {
	switch {
	case len(s.index) > 0:
		at := u32(s.index, i)
		if at == None {
			return nil, false
		}
		return s.values.At(int(at)), true
	case s.one:
		return s.values.At(0), true
	case s.values.Len() == 0:
		return nil, false
	default:
		return s.values.At(i), true
	}
}

// Absent tells that no event has the attribute.
func (s *Strings) Absent() bool { return s.values.Len() == 0 }

func checkStrings(name string, pb *meshloomv1.Strings, count, maxBytes int) (Strings, error) {
	if pb == nil {
		return Strings{}, nil
	}
	vals, err := checkValues(name+".values", pb.GetValues(), -1, maxBytes, AttrLarge)
	if err != nil {
		return Strings{}, err
	}
	if err := checkUTF8(name, vals); err != nil {
		return Strings{}, err
	}
	s := Strings{values: vals, index: pb.GetIndex()}
	if len(s.index) == 0 {
		s.one = vals.Len() == 1
		if n := vals.Len(); n > 1 && n != count {
			return s, fault(Malformed, "%s has no index and %d values: 0, 1 or %d are allowed", name, n, count)
		}
		return s, nil
	}
	if len(s.index) != 4*count {
		return s, fault(Malformed, "%s.index has %d bytes for %d events, want %d", name, len(s.index), count, 4*count)
	}
	for i := range count {
		if at := u32(s.index, i); at != None && int64(at) >= int64(vals.Len()) {
			return s, fault(Malformed, "%s.index[%d] is %d, there are %d values", name, i, at, vals.Len())
		}
	}
	return s, nil
}
