package columns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

func vals(values ...string) *meshloomv1.Values {
	v := &meshloomv1.Values{}
	for _, s := range values {
		v.Data = append(v.Data, s...)
		v.Ends = binary.LittleEndian.AppendUint32(v.Ends, uint32(len(v.Data)))
	}
	return v
}

func index(at ...uint32) []byte {
	var b []byte
	for _, i := range at {
		b = binary.LittleEndian.AppendUint32(b, i)
	}
	return b
}

// three returns a valid batch of three events that uses every column.
func three() *meshloomv1.Batch {
	return &meshloomv1.Batch{
		Count:       3,
		Payload:     vals("a", "", "ccc"),
		ContentType: &meshloomv1.Strings{Values: vals("text/plain")},
		Uid:         bytes.Repeat([]byte{7}, 48),
		Time:        append(binary.LittleEndian.AppendUint64(nil, 5), append(index(0, 1<<31), index(9, 0)...)...),
		Id:          &meshloomv1.Strings{Values: vals("0", "1", "2")},
		Key:         &meshloomv1.Strings{Values: vals("ä", "b"), Index: index(1, None, 0)},
		Extensions: []*meshloomv1.Extension{
			{Name: "flag", Type: meshloomv1.ExtensionType_EXTENSION_TYPE_BOOLEAN, Values: vals("\x01"), Index: index(1)},
			{Name: "note", Type: meshloomv1.ExtensionType_EXTENSION_TYPE_STRING, Values: vals("x", "y", "z")},
			{Name: "flag", Type: meshloomv1.ExtensionType_EXTENSION_TYPE_INTEGER, Values: vals("\x05\x00\x00\x00"), Index: index(2)},
		},
		Spans: []*meshloomv1.SpanContext{{Index: 1, TraceId: bytes.Repeat([]byte{1}, 16), SpanId: bytes.Repeat([]byte{2}, 8), Flags: 1}},
	}
}

func TestDecode(t *testing.T) {
	v, err := Decode(three())
	if err != nil {
		t.Fatal(err)
	}
	if string(v.Payload(0)) != "a" || len(v.Payload(1)) != 0 || string(v.Payload(2)) != "ccc" {
		t.Error("payloads differ")
	}
	for i, want := range []string{"b", "", "ä"} {
		if key, ok := v.Key.At(i); key != want || ok != (i != 1) {
			t.Errorf("key %d is %q, %v", i, key, ok)
		}
	}
	for i, want := range []string{"0", "1", "2"} {
		if id, _ := v.ID.At(i); id != want {
			t.Errorf("id %d is %q", i, id)
		}
		if ct, _ := v.ContentType.At(i); ct != "text/plain" {
			t.Errorf("content type %d is %q", i, ct)
		}
		if _, ok := v.Subject.At(i); ok {
			t.Error("a subject from nowhere")
		}
	}
	if at, ok := v.Time(0); at != 5 || !ok {
		t.Errorf("time 0 is %d, %v", at, ok)
	}
	if _, ok := v.Time(1); ok {
		t.Error("time 1 is absent")
	}
	if uid := v.UID(2); uid[15] != 7 {
		t.Errorf("uid %x", uid)
	}
	if value, ok := v.Extensions[0].At(1); value != true || !ok {
		t.Errorf("flag is %v, %v", value, ok)
	}
	if _, ok := v.Extensions[0].At(0); ok {
		t.Error("flag covers event 1 alone")
	}
	if value, _ := v.Extensions[1].At(2); value != "z" {
		t.Errorf("note is %v", value)
	}
	if value, _ := v.Extensions[2].At(2); value != int32(5) {
		t.Errorf("flag is %v", value)
	}
}

func TestDecodeOfASparseBatch(t *testing.T) {
	v, err := Decode(&meshloomv1.Batch{Count: MaxEvents})
	if err != nil {
		t.Fatal(err)
	}
	if v.Identified() || len(v.Payload(MaxEvents-1)) != 0 {
		t.Error("nothing is there, yet something was found")
	}
}

// TestDecodeRefuses goes through every rule that a received batch can break.
func TestDecodeRefuses(t *testing.T) {
	long := strings.Repeat("x", MaxAttributeBytes+1)
	extension := func(e *meshloomv1.Extension) func(*meshloomv1.Batch) {
		return func(b *meshloomv1.Batch) { b.Extensions = []*meshloomv1.Extension{e} }
	}
	span := func(s *meshloomv1.SpanContext) func(*meshloomv1.Batch) {
		return func(b *meshloomv1.Batch) { b.Spans = append(b.Spans, s) }
	}
	id, sid := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{1}, 8)
	const (
		boolean = meshloomv1.ExtensionType_EXTENSION_TYPE_BOOLEAN
		integer = meshloomv1.ExtensionType_EXTENSION_TYPE_INTEGER
		text    = meshloomv1.ExtensionType_EXTENSION_TYPE_STRING
		stamp   = meshloomv1.ExtensionType_EXTENSION_TYPE_TIMESTAMP
	)
	for name, c := range map[string]struct {
		spoil          func(*meshloomv1.Batch)
		reason, detail string
	}{
		"no events":       {func(b *meshloomv1.Batch) { b.Count = 0 }, Malformed, "no events"},
		"too many events": {func(b *meshloomv1.Batch) { b.Count = MaxEvents + 1 }, TooLarge, "65537 events"},
		"too large a batch": {func(b *meshloomv1.Batch) {
			b.Payload = vals(strings.Repeat("x", 12<<20), strings.Repeat("x", 12<<20), strings.Repeat("x", 12<<20))
		}, TooLarge, "bytes"},
		"too large an event":     {func(b *meshloomv1.Batch) { b.Payload = vals(strings.Repeat("x", MaxEventBytes+1), "", "") }, EventLarge, "payload[0]"},
		"odd ends":               {func(b *meshloomv1.Batch) { b.Payload.Ends = b.Payload.Ends[:11] }, Malformed, "multiple of 4"},
		"too few ends":           {func(b *meshloomv1.Batch) { b.Payload = vals("accc") }, Malformed, "1 values for 3"},
		"falling ends":           {func(b *meshloomv1.Batch) { b.Payload.Ends = index(2, 1, 4) }, Malformed, "ends[1]"},
		"ends beyond data":       {func(b *meshloomv1.Batch) { b.Payload.Ends = index(1, 1, 5) }, Malformed, "ends[2]"},
		"ends far beyond data":   {func(b *meshloomv1.Batch) { b.Payload.Ends = index(1, 1, 1<<32-1) }, Malformed, "ends[2]"},
		"data beyond ends":       {func(b *meshloomv1.Batch) { b.Payload.Ends = index(1, 1, 3) }, Malformed, "last end"},
		"short uid":              {func(b *meshloomv1.Batch) { b.Uid = b.Uid[:47] }, Malformed, "uid"},
		"short time":             {func(b *meshloomv1.Batch) { b.Time = b.Time[:16] }, Malformed, "time"},
		"two values for three":   {func(b *meshloomv1.Batch) { b.Id = &meshloomv1.Strings{Values: vals("a", "b")} }, Malformed, "id has no index"},
		"short index":            {func(b *meshloomv1.Batch) { b.Key.Index = b.Key.Index[:8] }, Malformed, "key.index has 8"},
		"index out of range":     {func(b *meshloomv1.Batch) { b.Key.Index = index(2, 0, 0) }, Malformed, "key.index[0]"},
		"index into nothing":     {func(b *meshloomv1.Batch) { b.Key = &meshloomv1.Strings{Index: index(0, 0, 0)} }, Malformed, "key.index[0]"},
		"not UTF-8":              {func(b *meshloomv1.Batch) { b.Type = &meshloomv1.Strings{Values: vals("\xff")} }, Malformed, "type holds bytes"},
		"split UTF-8":            {func(b *meshloomv1.Batch) { b.Type = &meshloomv1.Strings{Values: vals("\xc3", "\xa4", "")} }, Malformed, "type[0] ends inside"},
		"long attribute":         {func(b *meshloomv1.Batch) { b.Subject = &meshloomv1.Strings{Values: vals(long)} }, AttrLarge, "subject"},
		"long key":               {func(b *meshloomv1.Batch) { b.Key = &meshloomv1.Strings{Values: vals(long[:MaxKeyBytes+1])} }, AttrLarge, "key"},
		"too many extensions":    {func(b *meshloomv1.Batch) { b.Extensions = make([]*meshloomv1.Extension, MaxExtensions+1) }, TooManyExten, "65"},
		"extension name":         {extension(&meshloomv1.Extension{Name: "Flag", Type: text, Values: vals("", "", "")}), Malformed, "Flag"},
		"extension no name":      {extension(&meshloomv1.Extension{Type: text, Values: vals("", "", "")}), Malformed, "name"},
		"extension no type":      {extension(&meshloomv1.Extension{Name: "x", Values: vals("", "", "")}), Malformed, "type 0"},
		"extension odd index":    {extension(&meshloomv1.Extension{Name: "x", Type: text, Values: vals(""), Index: []byte{0}}), Malformed, "index has 1"},
		"extension long index":   {extension(&meshloomv1.Extension{Name: "x", Type: text, Values: vals("", "", "", ""), Index: index(0, 1, 2, 3)}), Malformed, "index has 16"},
		"extension index falls":  {extension(&meshloomv1.Extension{Name: "x", Type: text, Values: vals("", ""), Index: index(1, 1)}), Malformed, "index[1]"},
		"extension index range":  {extension(&meshloomv1.Extension{Name: "x", Type: text, Values: vals(""), Index: index(3)}), Malformed, "index[0]"},
		"extension value count":  {extension(&meshloomv1.Extension{Name: "x", Type: text, Values: vals("", ""), Index: index(1)}), Malformed, "2 values for 1"},
		"extension long value":   {extension(&meshloomv1.Extension{Name: "x", Type: text, Values: vals(long), Index: index(1)}), AttrLarge, "extension x"},
		"extension not UTF-8":    {extension(&meshloomv1.Extension{Name: "x", Type: text, Values: vals("\xff"), Index: index(1)}), Malformed, "UTF-8"},
		"extension bad boolean":  {extension(&meshloomv1.Extension{Name: "x", Type: boolean, Values: vals("\x02"), Index: index(1)}), Malformed, "BOOLEAN"},
		"extension bad integer":  {extension(&meshloomv1.Extension{Name: "x", Type: integer, Values: vals("123"), Index: index(1)}), Malformed, "INTEGER"},
		"extension bad time":     {extension(&meshloomv1.Extension{Name: "x", Type: stamp, Values: vals("1234"), Index: index(1)}), Malformed, "TIMESTAMP"},
		"extension covers twice": {func(b *meshloomv1.Batch) { b.Extensions[2].Index = index(1) }, Malformed, "covers an event twice"},
		"span index range":       {span(&meshloomv1.SpanContext{Index: 3, TraceId: id, SpanId: sid}), Malformed, "spans[1].index"},
		"span index repeated":    {span(&meshloomv1.SpanContext{Index: 1, TraceId: id, SpanId: sid}), Malformed, "spans[1].index"},
		"span id short":          {span(&meshloomv1.SpanContext{Index: 2, TraceId: id, SpanId: sid[:7]}), Malformed, "span_id"},
		"span trace id short":    {span(&meshloomv1.SpanContext{Index: 2, TraceId: id[:15], SpanId: sid}), Malformed, "trace_id"},
	} {
		t.Run(name, func(t *testing.T) {
			batch := three()
			c.spoil(batch)
			_, err := Decode(batch)
			var broken *Error
			if !errors.As(err, &broken) || broken.Reason != c.reason || !strings.Contains(broken.Message, c.detail) {
				t.Errorf("got %v, want %s with %q", err, c.reason, c.detail)
			}
		})
	}
	if _, err := Decode(nil); err == nil {
		t.Error("a missing batch was accepted")
	}
}

func TestAttempts(t *testing.T) {
	for _, c := range []struct {
		column []byte
		ok     bool
	}{{nil, true}, {index(1, 2), true}, {index(1), false}, {index(1, 0), false}, {[]byte{1}, false}} {
		attempts, err := DecodeAttempts(c.column, 2)
		if (err == nil) != c.ok {
			t.Errorf("%v: %v", c.column, err)
		}
		if err == nil && len(c.column) > 0 && attempts.At(1) != 2 {
			t.Errorf("%v: attempt %d", c.column, attempts.At(1))
		}
	}
}

// TestABadSpanContextIsNone shows that contexts which cannot be used keep nothing from being handled.
func TestABadSpanContextIsNone(t *testing.T) {
	id, sid := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{1}, 8)
	batch := &meshloomv1.Batch{Count: 6, Spans: []*meshloomv1.SpanContext{
		{Index: 0, TraceId: make([]byte, 16), SpanId: sid, Flags: 1},
		{Index: 1, TraceId: id, SpanId: make([]byte, 8), Flags: 1},
		{Index: 2, TraceId: id, SpanId: sid},
		{Index: 3, TraceId: id, SpanId: sid, Flags: 1, TraceState: strings.Repeat("x", MaxTraceStateBytes+1)},
		{Index: 4, TraceId: id, SpanId: sid, Flags: 1<<31 | 1},
	}}
	v, err := Decode(batch)
	if err != nil {
		t.Fatal(err)
	}
	var sampled []uint32
	for _, s := range v.Sampled() {
		sampled = append(sampled, s.Index)
	}
	if !slices.Equal(sampled, []uint32{3, 4}) {
		t.Errorf("sampled %v", sampled)
	}
}

func TestOneNameMayHaveSeveralColumns(t *testing.T) {
	column := func(value string, at uint32) *meshloomv1.Extension {
		return &meshloomv1.Extension{Name: "x", Type: meshloomv1.ExtensionType_EXTENSION_TYPE_STRING, Values: vals(value), Index: index(at)}
	}
	v, err := Decode(&meshloomv1.Batch{Count: 2, Extensions: []*meshloomv1.Extension{column("a", 0), column("b", 1)}})
	if err != nil {
		t.Fatal(err)
	}
	if value, ok := v.Extensions[1].At(1); !ok || value != "b" {
		t.Errorf("got %v", value)
	}
}
