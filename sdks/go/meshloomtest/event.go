package meshloomtest

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Event is an event with attributes; those that are empty are absent. Any other value given to [Run] is the payload of an event
// without attributes.
type Event struct {
	Data        any            // a value for encoding/json, or a []byte as it is
	ID          string         // CloudEvents id
	Source      string         // CloudEvents source
	Type        string         // CloudEvents type
	Subject     string         // CloudEvents subject
	DataSchema  string         // CloudEvents dataschema
	ContentType string         // CloudEvents datacontenttype; default: application/json, for a []byte none
	Key         string         // ordering key
	From        string         // upstream
	Time        time.Time      // when the event occurred; zero: absent
	Extensions  map[string]any // bool, int32, string, []byte, URI, URIReference or time.Time by name
}

// uidOf is the identity of an event: its place, from 1, so that a test can name it.
func uidOf(place int) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 8, 16), uint64(place+1))
}

// batchOf encodes events; first is the number of events before them.
func batchOf(t testing.TB, first int, events []any) *meshloomv1.Batch {
	t.Helper()
	rows := make([]columns.Row, len(events))
	froms := make([]string, len(events))
	var uids []byte
	for i, value := range events {
		event, ok := value.(Event)
		if !ok {
			event = Event{Data: value}
		}
		row, err := rowOf(event)
		if err != nil {
			t.Fatalf("event %d: %v", first+i, err)
		}
		rows[i], froms[i] = row, event.From
		uids = append(uids, uidOf(first+i)...)
	}
	batch := columns.EncodeBatch(rows, nil)
	batch.Uid = uids
	if slices.ContainsFunc(froms, func(s string) bool { return s != "" }) {
		batch.From = harness.Texts(froms...)
	}
	return batch
}

func rowOf(e Event) (columns.Row, error) {
	row := columns.Row{Meta: &columns.Meta{}}
	if raw, ok := e.Data.([]byte); ok {
		row.Payload = raw
	} else {
		encoded, err := json.Marshal(e.Data)
		if err != nil {
			return row, err
		}
		row.Payload, row.Default = encoded, "application/json"
	}
	for _, a := range []struct {
		to    *columns.Attr
		value string
	}{
		{&row.Meta.ContentType, e.ContentType}, {&row.Meta.ID, e.ID}, {&row.Meta.Source, e.Source}, {&row.Meta.Type, e.Type},
		{&row.Meta.Subject, e.Subject}, {&row.Meta.Key, e.Key}, {&row.Meta.DataSchema, e.DataSchema},
	} {
		if a.value != "" {
			*a.to = columns.SetTo(a.value)
		}
	}
	if !e.Time.IsZero() {
		row.Meta.Time, row.Meta.TimeSet = e.Time.UnixNano(), true
	}
	for name, value := range e.Extensions {
		if err := row.Meta.SetExtension(name, value); err != nil {
			return row, err
		}
	}
	return row, row.Meta.Check()
}
