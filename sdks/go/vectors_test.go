package meshloom_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	meshloom "github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	"github.com/meshloom/meshloom/sdks/go/internal/harness"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// vector is one of the conformance kit's golden vectors, tests/conformance/vectors; each file fills other fields.
type vector struct {
	Name, Reason    string
	Batch, Attempts []byte
	Inputs, Outputs []byte
	Events          []map[string]any
	Rows            []vectorRow
}

type vectorRow struct {
	Parent *uint32
	Route  *string
	Event  map[string]any
}

func vectors(t *testing.T, file string) []vector {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "tests", "conformance", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	var found []vector
	if err := json.Unmarshal(text, &found); err != nil || len(found) == 0 {
		t.Fatalf("%d vectors in %s: %v", len(found), file, err)
	}
	return found
}

func parse[M proto.Message](t *testing.T, raw []byte, into M) M {
	t.Helper()
	if err := proto.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
	return into
}

// travelled returns the message as it is after the wire.
func travelled[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	proto.Reset(m)
	return parse(t, raw, m)
}

func decoded(t *testing.T, batch *meshloomv1.Batch) *columns.View {
	t.Helper()
	view, err := columns.Decode(batch)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// said is what an event says; texts that are absent are not in the map.
type said struct {
	payload    []byte
	texts      map[string]string
	time       *int64
	extensions map[string]any
}

// attributes are those that an output has, and a source.
var attributes = map[string]meshloom.Attribute{
	"content_type": meshloom.AttrContentType, "type": meshloom.AttrType, "subject": meshloom.AttrSubject, "key": meshloom.AttrKey,
	"id": meshloom.AttrID, "data_schema": meshloom.AttrDataSchema, "source": meshloom.AttrSource, "from": meshloom.AttrFrom,
}

func saidBy(e meshloom.Event) said {
	s := said{payload: e.Data(), texts: map[string]string{}, extensions: maps.Collect(e.Extensions())}
	for name, attribute := range attributes {
		if text, ok := e.Lookup(attribute); ok {
			s.texts[name] = text
		}
	}
	if at, ok := e.UnixNano(); ok {
		s.time = &at
	}
	return s
}

// told returns s as the vectors write it, but for what is named.
func (s said) told(without ...string) map[string]any {
	m := map[string]any{"payload": base64.StdEncoding.EncodeToString(s.payload), "time": nil}
	for name := range attributes {
		m[name] = nil
		if text, ok := s.texts[name]; ok {
			m[name] = text
		}
	}
	if s.time != nil {
		m["time"] = strconv.FormatInt(*s.time, 10)
	}
	extensions := map[string]any{}
	for name, value := range s.extensions {
		extensions[name] = typed(value)
	}
	m["extensions"] = extensions
	return reduced(m, without...)
}

// typed returns an extension as the vectors write it.
func typed(value any) map[string]any {
	switch x := value.(type) {
	case bool:
		return map[string]any{"type": "boolean", "value": x}
	case int32:
		return map[string]any{"type": "integer", "value": float64(x)}
	case string:
		return map[string]any{"type": "string", "value": x}
	case meshloom.URI:
		return map[string]any{"type": "uri", "value": string(x)}
	case meshloom.URIReference:
		return map[string]any{"type": "uri_reference", "value": string(x)}
	case []byte:
		return map[string]any{"type": "binary", "value": base64.StdEncoding.EncodeToString(x)}
	case time.Time:
		return map[string]any{"type": "timestamp", "value": strconv.FormatInt(x.UnixNano(), 10)}
	default:
		return map[string]any{"type": reflect.TypeOf(value).String()}
	}
}

// reduced returns an event of the vectors without what is named.
func reduced(event map[string]any, without ...string) map[string]any {
	event = maps.Clone(event)
	maps.DeleteFunc(event, func(name string, _ any) bool { return slices.Contains(without, name) })
	return event
}

func same(t *testing.T, what string, i int, got, want map[string]any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s %d:\n got %v\nwant %v", what, i, got, want)
	}
}

// row returns the output that makes a child of parent (nil: there is none) say s, and sets nothing that the parent says.
func (s said) row(t *testing.T, at uint32, parent *said) columns.Row {
	t.Helper()
	if parent == nil {
		parent = &said{}
	}
	meta := &columns.Meta{}
	row := columns.Row{Parent: at, Pass: parent.payload != nil && string(s.payload) == string(parent.payload), Meta: meta}
	if !row.Pass {
		row.Payload, meta.ContentType = s.payload, columns.SetTo(s.texts["content_type"])
	}
	for name, attr := range map[string]*columns.Attr{
		"content_type": &meta.ContentType, "type": &meta.Type, "subject": &meta.Subject, "key": &meta.Key, "id": &meta.ID,
		"data_schema": &meta.DataSchema,
	} {
		mine, ok := s.texts[name]
		if theirs, had := parent.texts[name]; mine != theirs || ok != had {
			*attr = columns.SetTo(mine)
		}
	}
	if !reflect.DeepEqual(s.time, parent.time) {
		meta.Time, meta.TimeSet = columns.NoTime, true
		if s.time != nil {
			meta.Time = *s.time
		}
	}
	changed := map[string]any{}
	for name := range parent.extensions {
		changed[name] = nil // removed, unless it comes below
	}
	maps.Copy(changed, s.extensions)
	for name, value := range changed {
		if theirs, had := parent.extensions[name]; had && reflect.DeepEqual(theirs, value) {
			continue
		}
		if err := meta.SetExtension(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return row
}

// child is what an output says together with its parent.
type child struct {
	said

	parent uint32
	route  string
}

// children reads outputs, as a coordinator does.
func children(t *testing.T, outputs *meshloomv1.Outputs, batch *meshloomv1.Batch) []child {
	t.Helper()
	found, err := harness.Decode(outputs, batch)
	if err != nil {
		t.Fatal(err)
	}
	view := decoded(t, batch)
	all := make([]child, len(found))
	for i, o := range found {
		c := child{parent: o.Parent, said: said{texts: map[string]string{}, extensions: map[string]any{}}} // of the whole batch
		if o.Parent != columns.None {
			c.said = saidBy(meshloom.EventAt(view, int(o.Parent)))
		}
		c.payload = o.Payload
		maps.Copy(c.texts, o.Attributes)
		maps.DeleteFunc(c.texts, func(_, text string) bool { return text == "" }) // cleared
		c.route = c.texts["route"]
		if o.TimeSet {
			if c.time = &o.Time; o.Time == columns.NoTime {
				c.time = nil
			}
		}
		for _, e := range outputs.GetExtensions() {
			if e.GetType() == meshloomv1.ExtensionType_EXTENSION_TYPE_UNSPECIFIED && covers(e.GetIndex(), i) {
				delete(c.extensions, e.GetName())
			}
		}
		maps.Copy(c.extensions, o.Extensions)
		all[i] = c
	}
	return all
}

func covers(index []byte, row int) bool {
	wanted := binary.LittleEndian.AppendUint32(nil, uint32(row))
	return len(index) == 0 || slices.ContainsFunc(slices.Collect(slices.Chunk(index, 4)), func(at []byte) bool { return bytes.Equal(at, wanted) })
}

func TestVectorBatchesSayWhatStandsThere(t *testing.T) {
	for _, v := range vectors(t, "batches.json") {
		t.Run(v.Name, func(t *testing.T) {
			view := decoded(t, parse(t, v.Batch, &meshloomv1.Batch{}))
			if view.Count != len(v.Events) {
				t.Fatalf("%d events, want %d", view.Count, len(v.Events))
			}
			for i, want := range v.Events {
				event := meshloom.EventAt(view, i)
				got := saidBy(event).told()
				got["uid"] = event.UID().String()
				same(t, "event", i, got, want)
			}
		})
	}
}

func TestVectorBatchesOfASourceSayTheSameAgain(t *testing.T) {
	for _, v := range vectors(t, "batches.json") {
		t.Run(v.Name, func(t *testing.T) {
			view := decoded(t, parse(t, v.Batch, &meshloomv1.Batch{}))
			rows := make([]columns.Row, view.Count)
			for i := range rows {
				s := saidBy(meshloom.EventAt(view, i))
				rows[i] = s.row(t, 0, nil)
				source, ok := s.texts["source"]
				contentType, typed := s.texts["content_type"]
				rows[i].Meta.Source = columns.Attr{Value: source, Set: ok}
				rows[i].Meta.ContentType = columns.Attr{Value: contentType, Set: typed}
			}
			again := decoded(t, travelled(t, columns.EncodeBatch(rows, nil)))
			for i, want := range v.Events {
				got := saidBy(meshloom.EventAt(again, i)).told("from")
				same(t, "event", i, got, reduced(want, "uid", "from"))
			}
		})
	}
}

// All events of a batch as outputs of its first: whatever differs is set, cleared or removed.
func TestVectorEventsAsOutputsOfOneSayTheSame(t *testing.T) {
	for _, v := range vectors(t, "batches.json") {
		t.Run(v.Name, func(t *testing.T) {
			batch := parse(t, v.Batch, &meshloomv1.Batch{})
			view := decoded(t, batch)
			first, rows := saidBy(meshloom.EventAt(view, 0)), make([]columns.Row, view.Count)
			for i := range rows {
				rows[i] = saidBy(meshloom.EventAt(view, i)).row(t, 0, &first)
			}
			for i, c := range children(t, travelled(t, columns.EncodeOutputs(rows, view)), batch) {
				want := reduced(v.Events[i], "uid", "source", "from")
				for name, value := range want {
					if value == "" && name != "payload" {
						want[name] = nil // no output has an empty text
					}
				}
				same(t, "output", i, c.told("source", "from"), want)
			}
		})
	}
}

func TestVectorOutputsSayWhatStandsThereAndAgain(t *testing.T) {
	for _, v := range vectors(t, "outputs.json") {
		t.Run(v.Name, func(t *testing.T) {
			batch := parse(t, v.Inputs, &meshloomv1.Batch{})
			view := decoded(t, batch)
			found := children(t, parse(t, v.Outputs, &meshloomv1.Outputs{}), batch)
			compareRows(t, "output", found, v.Rows)
			rows := make([]columns.Row, len(found))
			for i, c := range found {
				var parent *said
				if c.parent != columns.None {
					theirs := saidBy(meshloom.EventAt(view, int(c.parent)))
					parent = &theirs
				}
				rows[i] = c.row(t, c.parent, parent)
				rows[i].Meta.Route = columns.Attr{Value: c.route, Set: c.route != ""}
			}
			compareRows(t, "output written again", children(t, travelled(t, columns.EncodeOutputs(rows, view)), batch), v.Rows)
		})
	}
}

func compareRows(t *testing.T, what string, found []child, want []vectorRow) {
	t.Helper()
	if len(found) != len(want) {
		t.Fatalf("%d %ss, want %d", len(found), what, len(want))
	}
	for i, w := range want {
		parent, route := uint32(columns.None), ""
		if w.Parent != nil {
			parent = *w.Parent
		}
		if w.Route != nil {
			route = *w.Route
		}
		if found[i].parent != parent || found[i].route != route {
			t.Errorf("%s %d: parent %d and route %q, want %d and %q", what, i, found[i].parent, found[i].route, parent, route)
		}
		same(t, what, i, found[i].told("source", "from"), w.Event)
	}
}

// specific has the reasons that say more than BATCH_MALFORMED.
var specific = map[string]string{
	"b1-largest-number": columns.TooLarge, "b1-overflow": columns.TooLarge, "b4-key-long": columns.AttrLarge,
	"b4-key-long-unnamed": columns.AttrLarge, "b6-many": columns.TooManyExten,
}

func TestVectorMalformedWorksAreRefusedUnseen(t *testing.T) {
	var calls atomic.Int32
	p := serve(t, meshloom.New("look", meshloom.Filter(func(context.Context, meshloom.Event) (bool, error) {
		calls.Add(1)
		return true, nil
	}))).Process(t, &meshloomv1.OpenProcess{Pipeline: "p", Node: "n"})
	for i, v := range vectors(t, "malformed.json") {
		work := &meshloomv1.Work{Sequence: uint64(i + 1), Attempts: v.Attempts}
		if v.Batch != nil {
			work.Batch = parse(t, v.Batch, &meshloomv1.Batch{})
		}
		p.Send(t, work)
		result := p.Next(t)
		want := v.Reason
		if more, ok := specific[v.Name]; ok {
			want = more
		}
		failures := result.GetFailures()
		if result.GetSequence() != work.Sequence || !result.GetLast() || result.GetConsumed() != 0 || result.GetOutputs() != nil || len(failures) != 1 {
			t.Fatalf("%s: got %v, want one failure", v.Name, result)
		}
		if f := failures[0]; f.GetIndex() != columns.None || f.GetAction() != retry || f.GetReason() != want {
			t.Errorf("%s: got %v, want RETRY of all, %s", v.Name, f, want)
		}
		if calls.Load() != 0 {
			t.Fatalf("%s: the handler was called", v.Name)
		}
	}
	good := workOf(1<<20, "x")
	p.Send(t, good)
	if a := p.Collect(t, good); len(a.Outputs) != 1 || calls.Load() != 1 {
		t.Errorf("after all: %d calls, and %+v of a good work", calls.Load(), a)
	}
}
