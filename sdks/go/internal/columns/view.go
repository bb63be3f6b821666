// Package columns reads and writes the columnar batches of protocol meshloom.v1. It is pure: no I/O, no clock.
package columns

import (
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// View is a checked Batch. Its accessors never fail for an index below Count; byte slices are parts of the received buffer.
type View struct {
	Count       int
	ContentType Strings
	ID          Strings
	Source      Strings
	Type        Strings
	Subject     Strings
	Key         Strings
	DataSchema  Strings
	From        Strings
	Extensions  []ExtensionColumn
	Spans       []*meshloomv1.SpanContext

	payload *values
	uid     []byte
	time    []byte
}

// Decode checks a received batch against every rule and limit of the protocol.
func Decode(b *meshloomv1.Batch) (*View, error) {
	if b == nil {
		return nil, fault(Malformed, "the batch is missing")
	}
	if b.Count == 0 {
		return nil, fault(Malformed, "the batch has no events")
	}
	if b.Count > MaxEvents {
		return nil, fault(TooLarge, "the batch has %d events, the limit is %d", b.Count, MaxEvents)
	}
	if size := proto.Size(b); size > MaxBatchBytes {
		return nil, fault(TooLarge, "the batch has %d bytes, the limit is %d", size, MaxBatchBytes)
	}
	v := &View{Count: int(b.Count), uid: b.Uid, time: b.Time, Spans: b.Spans}
	if b.Payload != nil {
		payload, err := checkValues("payload", b.Payload, v.Count, MaxEventBytes, EventLarge)
		if err != nil {
			return nil, err
		}
		v.payload = &payload
	}
	if err := checkWidth("uid", v.uid, v.Count, 16); err != nil {
		return nil, err
	}
	if err := checkWidth("time", v.time, v.Count, 8); err != nil {
		return nil, err
	}
	for _, column := range []struct {
		name  string
		pb    *meshloomv1.Strings
		limit int
		to    *Strings
	}{
		{"content_type", b.ContentType, MaxAttributeBytes, &v.ContentType},
		{"id", b.Id, MaxAttributeBytes, &v.ID},
		{"source", b.Source, MaxAttributeBytes, &v.Source},
		{"type", b.Type, MaxAttributeBytes, &v.Type},
		{"subject", b.Subject, MaxAttributeBytes, &v.Subject},
		{"key", b.Key, MaxKeyBytes, &v.Key},
		{"data_schema", b.DataSchema, MaxAttributeBytes, &v.DataSchema},
		{"from", b.From, MaxAttributeBytes, &v.From},
	} {
		strings, err := checkStrings(column.name, column.pb, v.Count, column.limit)
		if err != nil {
			return nil, err
		}
		*column.to = strings
	}
	var err error
	if v.Extensions, err = checkExtensions(b.Extensions, v.Count); err != nil {
		return nil, err
	}
	return v, checkSpans(b.Spans, v.Count)
}

func checkWidth(name string, column []byte, count, width int) error {
	if len(column) != 0 && len(column) != count*width {
		return fault(Malformed, "%s has %d bytes for %d events, want %d", name, len(column), count, count*width)
	}
	return nil
}

func checkSpans(spans []*meshloomv1.SpanContext, count int) error {
	previous := -1
	for i, s := range spans {
		switch {
		case int64(s.GetIndex()) >= int64(count) || int(s.GetIndex()) <= previous:
			return fault(Malformed, "spans[%d].index is %d, after %d and with %d events", i, s.GetIndex(), previous, count)
		case len(s.GetTraceId()) != 16:
			return fault(Malformed, "spans[%d].trace_id has %d bytes, want 16", i, len(s.GetTraceId()))
		case len(s.GetSpanId()) != 8:
			return fault(Malformed, "spans[%d].span_id has %d bytes, want 8", i, len(s.GetSpanId()))
		}
		previous = int(s.Index)
	}
	return nil
}

// Sampled returns the contexts of the events that are traced. One whose ids are all zero is none.
func (v *View) Sampled() []*meshloomv1.SpanContext {
	if len(v.Spans) == 0 {
		return nil
	}
	sampled := make([]*meshloomv1.SpanContext, 0, len(v.Spans))
	for _, s := range v.Spans {
		if s.Flags&1 == 1 && !zero(s.TraceId) && !zero(s.SpanId) {
			sampled = append(sampled, s)
		}
	}
	return sampled
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// Payload returns the bytes of event i, empty but never nil when it has none: nil is no payload to a handler.
func (v *View) Payload(i int) []byte {
	if v.payload == nil {
		return []byte{}
	}
	if b := v.payload.At(i); b != nil {
		return b
	}
	return []byte{} // all payloads are empty: the wire has no data at all
}

// Identified tells that every event has a uid, as all but a source's have.
func (v *View) Identified() bool { return len(v.uid) > 0 }

// UID returns the identity of event i, zero when the batch carries none.
func (v *View) UID(i int) (uid [16]byte) {
	if len(v.uid) > 0 {
		copy(uid[:], v.uid[16*i:])
	}
	return uid
}

// Time returns the time of event i in UTC nanoseconds since the Unix epoch, and whether it has one.
func (v *View) Time(i int) (int64, bool) {
	if len(v.time) == 0 {
		return 0, false
	}
	t := int64(binary.LittleEndian.Uint64(v.time[8*i:]))
	return t, t != NoTime
}

// Attempts is a checked column of attempts; empty: attempt 1 for all.
type Attempts []byte

// DecodeAttempts checks an attempts column.
func DecodeAttempts(column []byte, count int) (Attempts, error) {
	if err := checkWidth("attempts", column, count, 4); err != nil {
		return nil, err
	}
	for i := range len(column) / 4 {
		if u32(column, i) == 0 {
			return nil, fault(Malformed, "attempts[%d] is 0, attempts count from 1", i)
		}
	}
	return column, nil
}

// At returns which attempt this is for event i.
func (a Attempts) At(i int) int {
	if len(a) == 0 {
		return 1
	}
	return int(u32(a, i))
}
