package harness

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Output is one decoded output.
type Output struct {
	Parent     uint32
	Payload    []byte // of the parent when it passed unchanged
	Passed     bool
	Attributes map[string]string // content_type, type, subject, key, id, route, data_schema, where set
	Time       int64
	TimeSet    bool
	Extensions map[string]any
}

// Answer is all that came back for a work.
type Answer struct {
	Outputs  []Output
	Failures map[uint32]*meshloomv1.EventFailure
	Consumed uint32
	Results  []*meshloomv1.WorkResult
}

// Collect reads results of one sequence until `last` and checks the accounting as a coordinator does.
func (p *Process) Collect(t testing.TB, work *meshloomv1.Work) *Answer {
	t.Helper()
	books := NewBooks(work)
	for {
		last, err := books.Add(p.Next(t))
		if err != nil {
			t.Fatal(err)
		}
		if last {
			return &books.Answer
		}
	}
}

// Books holds the answer to one work as it comes in.
type Books struct {
	Answer

	work      *meshloomv1.Work
	closed    map[uint32]bool
	continued int64 // the input that the next result must name, -1: any
	last      bool
}

// NewBooks opens the books of a work.
func NewBooks(work *meshloomv1.Work) *Books {
	return &Books{Answer: Answer{Failures: map[uint32]*meshloomv1.EventFailure{}}, work: work, closed: map[uint32]bool{}, continued: -1}
}

// Add takes the next result; it fails when the result breaks the protocol, and tells whether it is the last.
func (b *Books) Add(result *meshloomv1.WorkResult) (last bool, err error) {
	sequence := b.work.GetSequence()
	if result.GetSequence() != sequence {
		return false, fmt.Errorf("a result of sequence %d, want %d", result.GetSequence(), sequence)
	}
	if b.last {
		return false, fmt.Errorf("sequence %d: a result after the last", sequence)
	}
	b.Results = append(b.Results, result)
	if err := b.add(result, b.work.GetBatch(), b.closed, &b.continued); err != nil {
		return false, fmt.Errorf("sequence %d, result %d: %w", sequence, len(b.Results), err)
	}
	if b.last = result.GetLast(); !b.last {
		return false, nil
	}
	b.Consumed = result.GetConsumed()
	if _, whole := b.Failures[columns.None]; !whole && len(b.closed)+int(b.Consumed) != int(b.work.GetBatch().GetCount()) {
		return true, fmt.Errorf("sequence %d: %d inputs named + %d consumed, the work has %d", sequence, len(b.closed), b.Consumed, b.work.GetBatch().GetCount())
	}
	return true, nil
}

func (a *Answer) add(result *meshloomv1.WorkResult, batch *meshloomv1.Batch, closed map[uint32]bool, continued *int64) error {
	outputs, err := Decode(result.GetOutputs(), batch)
	if err != nil {
		return err
	}
	a.Outputs = append(a.Outputs, outputs...)
	named := map[uint32]bool{}
	for i, o := range outputs {
		if i > 0 && o.Parent < outputs[i-1].Parent {
			return fmt.Errorf("parents fall at output %d", i)
		}
		if o.Parent != columns.None {
			named[o.Parent] = true
		}
	}
	for _, f := range result.GetFailures() {
		named[f.GetIndex()] = true
		a.Failures[f.GetIndex()] = f
	}
	if *continued >= 0 && !named[uint32(*continued)] {
		return fmt.Errorf("input %d was to be continued, the next result does not name it", *continued)
	}
	*continued = -1
	if result.GetOutputs().GetContinued() {
		*continued = int64(outputs[len(outputs)-1].Parent)
	}
	for index := range named {
		if int64(index) == *continued || index == columns.None {
			continue
		}
		if closed[index] {
			return fmt.Errorf("input %d was closed twice", index)
		}
		closed[index] = true
	}
	return nil
}

// Decode reads outputs back by the same checks that a batch gets.
func Decode(pb *meshloomv1.Outputs, batch *meshloomv1.Batch) ([]Output, error) {
	if pb == nil {
		return nil, nil
	}
	inputs, err := columns.Decode(batch)
	if err != nil {
		return nil, err
	}
	view, err := columns.Decode(&meshloomv1.Batch{
		Count: pb.Count, Payload: pb.Payload, ContentType: pb.ContentType, Type: pb.Type, Subject: pb.Subject, Key: pb.Key,
		Id: pb.Id, Source: pb.Route, DataSchema: pb.DataSchema, Extensions: set(pb.Extensions), Time: pb.Time,
	})
	if err != nil {
		return nil, err
	}
	outputs := make([]Output, view.Count)
	for i := range outputs {
		o := &outputs[i]
		o.Parent = uint32(i)
		if len(pb.Parent) > 0 {
			o.Parent = binary.LittleEndian.Uint32(pb.Parent[4*i:])
		}
		o.Payload, o.Passed = view.Payload(i), pb.Payload == nil
		if o.Passed {
			o.Payload = inputs.Payload(int(o.Parent))
		}
		o.Attributes = map[string]string{}
		for name, column := range map[string]*columns.Strings{
			"content_type": &view.ContentType, "type": &view.Type, "subject": &view.Subject, "key": &view.Key,
			"id": &view.ID, "route": &view.Source, "data_schema": &view.DataSchema,
		} {
			if value, ok := column.At(i); ok {
				o.Attributes[name] = value
			}
		}
		if at, _ := view.Time(i); len(pb.Time) > 0 && at != columns.KeepTime {
			o.Time, o.TimeSet = at, true // NoTime where it is cleared
		}
		o.Extensions = map[string]any{}
		for k := range view.Extensions {
			if value, ok := view.Extensions[k].At(i); ok {
				o.Extensions[view.Extensions[k].Name] = value
			}
		}
	}
	return outputs, nil
}

// set leaves out columns that remove an extension, which a batch cannot carry.
func set(extensions []*meshloomv1.Extension) []*meshloomv1.Extension {
	var kept []*meshloomv1.Extension
	for _, e := range extensions {
		if e.Type != meshloomv1.ExtensionType_EXTENSION_TYPE_UNSPECIFIED {
			kept = append(kept, e)
		}
	}
	return kept
}

// Payloads makes a batch of raw payloads with uids 1, 2, 3, ...
func Payloads(payloads ...[]byte) *meshloomv1.Batch {
	batch := &meshloomv1.Batch{Count: uint32(len(payloads)), Payload: &meshloomv1.Values{}, Uid: make([]byte, 16*len(payloads))}
	for i, payload := range payloads {
		batch.Payload.Data = append(batch.Payload.Data, payload...)
		batch.Payload.Ends = binary.LittleEndian.AppendUint32(batch.Payload.Ends, uint32(len(batch.Payload.Data)))
		binary.BigEndian.PutUint64(batch.Uid[16*i+8:], uint64(i+1))
	}
	return batch
}

// Attempts encodes an attempts column.
func Attempts(attempts ...uint32) []byte {
	var column []byte
	for _, a := range attempts {
		column = binary.LittleEndian.AppendUint32(column, a)
	}
	return column
}

// Texts encodes a positional Strings column.
func Texts(values ...string) *meshloomv1.Strings {
	column := &meshloomv1.Strings{Values: &meshloomv1.Values{}}
	for _, v := range values {
		column.Values.Data = append(column.Values.Data, v...)
		column.Values.Ends = binary.LittleEndian.AppendUint32(column.Values.Ends, uint32(len(column.Values.Data)))
	}
	return column
}
