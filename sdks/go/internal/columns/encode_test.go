package columns

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

func TestStringsTakeTheirShortestForm(t *testing.T) {
	for name, c := range map[string]struct {
		rows   []Attr
		values string
		index  []byte
	}{
		"one for all": {[]Attr{SetTo("a"), SetTo("a")}, "a", nil},
		"positional":  {[]Attr{SetTo("a"), SetTo("b")}, "a,b", nil},
		"repeated":    {[]Attr{SetTo("a"), SetTo("b"), SetTo("a")}, "a,b", index(0, 1, 0)},
		"absent":      {[]Attr{{}, SetTo("a")}, "a", index(None, 0)},
		"cleared":     {[]Attr{SetTo(""), {}}, "", index(0, None)},
	} {
		t.Run(name, func(t *testing.T) {
			var b stringsBuilder
			for _, a := range c.rows {
				b.add(a)
			}
			column := b.build()
			checked, err := checkStrings("x", column, len(c.rows), 10)
			if err != nil {
				t.Fatal(err)
			}
			var distinct []string
			for i := range checked.values.Len() {
				distinct = append(distinct, string(checked.values.At(i)))
			}
			if strings.Join(distinct, ",") != c.values || !bytes.Equal(column.Index, c.index) {
				t.Errorf("values %q, index %v", distinct, column.Index)
			}
			for i, want := range c.rows {
				if got, ok := checked.At(i); got != want.Value || ok != want.Set {
					t.Errorf("row %d is %q, %v", i, got, ok)
				}
			}
		})
	}
	var none stringsBuilder
	none.add(Attr{})
	if none.build() != nil {
		t.Error("a column of nothing was built")
	}
}

func TestExtensionsSurviveTheWire(t *testing.T) {
	values := map[string]any{
		"bool": true, "int": int32(-7), "text": "ä", "bytes": []byte{0, 255}, "uri": URI("https://a/b"), "ref": URIReference("../c"),
		"time": time.Date(1969, 7, 20, 20, 17, 40, 1, time.UTC),
	}
	rows := []Row{{Meta: &Meta{}}, {}, {Meta: &Meta{}}}
	for name, value := range values {
		if err := rows[0].Meta.SetExtension(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows[2].Meta.SetExtension("bool", "another type"); err != nil {
		t.Fatal(err)
	}
	view, err := Decode(EncodeBatch(rows, nil))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for i := range view.Extensions {
		if value, ok := view.Extensions[i].At(0); ok {
			got[view.Extensions[i].Name] = value
		}
		if _, ok := view.Extensions[i].At(1); ok {
			t.Errorf("event 1 has %s", view.Extensions[i].Name)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(values) {
		t.Errorf("got %v, want %v", got, values)
	}
}

func TestRemovedExtensionHasNoValues(t *testing.T) {
	row := Row{Meta: &Meta{}, Pass: true}
	if err := row.Meta.SetExtension("gone", nil); err != nil {
		t.Fatal(err)
	}
	inputs := &View{Count: 1}
	e := EncodeOutputs([]Row{row}, inputs).Extensions[0]
	if e.Type != meshloomv1.ExtensionType_EXTENSION_TYPE_UNSPECIFIED || e.Values != nil || e.Index != nil {
		t.Errorf("got %v", e)
	}
}

func TestOutputsLeaveOutWhatIsAsTheParents(t *testing.T) {
	inputs, err := Decode(three())
	if err != nil {
		t.Fatal(err)
	}
	all := EncodeOutputs([]Row{{Parent: 0, Pass: true}, {Parent: 1, Pass: true}, {Parent: 2, Pass: true}}, inputs)
	if all.Parent != nil || all.Payload != nil || all.ContentType != nil || all.Time != nil || all.Count != 3 {
		t.Errorf("a batch that passes whole is %v", all)
	}
	some := EncodeOutputs([]Row{{Parent: 1, Pass: true}, {Parent: 2, Payload: []byte("new"), Default: "x/y", Meta: &Meta{TimeSet: true, Time: 4}}}, inputs)
	if !bytes.Equal(some.Parent, index(1, 2)) || string(some.Payload.Data) != "new" || !bytes.Equal(some.Payload.Ends, index(0, 3)) {
		t.Errorf("parents %v, payload %v", some.Parent, some.Payload)
	}
	if !bytes.Equal(some.ContentType.Index, index(None, 0)) || len(some.Time) != 16 {
		t.Errorf("content type %v, time %v", some.ContentType, some.Time)
	}
	if EncodeOutputs(nil, inputs) != nil {
		t.Error("no rows made outputs")
	}
}

func TestSheetsKeepWithinTheLimits(t *testing.T) {
	inputs := &View{Count: 1}
	wantRows := func(rows []Row, want ...int) {
		t.Helper()
		var got []int
		for _, s := range Pack(rows, inputs) {
			got = append(got, int(s.Outputs().GetCount()))
		}
		if !slices.Equal(got, want) {
			t.Errorf("rows went into sheets of %v, want %v", got, want)
		}
	}
	wantRows(make([]Row, MaxEvents+5), MaxEvents, 5)
	big := Row{Payload: make([]byte, 5<<20)}
	wantRows([]Row{big, big, big}, 1, 1, 1)
	wantRows([]Row{{Payload: make([]byte, MaxEventBytes)}, {}}, 1, 1)
	rows := make([]Row, MaxExtensions+6)
	for i := range rows {
		rows[i].Meta = &Meta{}
		if err := rows[i].Meta.SetExtension(fmt.Sprintf("e%d", i), true); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(rows, MaxExtensions, 6)
}

// Whichever way rows come, in one sheet or several, in order or not, what is sent is the same.
func TestArrangedSheetsAreThoseOfSortedRows(t *testing.T) {
	inputs, err := Decode(three())
	if err != nil {
		t.Fatal(err)
	}
	key := &Meta{Key: SetTo("k"), TimeSet: true, Time: 7}
	if err := key.SetExtension("x", "y"); err != nil {
		t.Fatal(err)
	}
	rows := []Row{
		{Parent: 0, Pass: true}, {Parent: 1, Payload: []byte("a"), Default: "x/y"}, {Parent: 1, Payload: []byte("b"), Default: "x/z", Meta: key},
		{Parent: 2, Payload: []byte("c"), Default: "x/z"},
	}
	want := EncodeOutputs(rows, inputs)
	for name, sheets := range map[string][]*Sheet{
		"one":         Pack(rows, inputs),
		"unsorted":    Pack([]Row{rows[3], rows[1], rows[2], rows[0]}, inputs),
		"in sequence": {sheetOf(rows[3:], inputs), sheetOf(rows[:3], inputs)},
		"overlapping": {sheetOf([]Row{rows[0], rows[3]}, inputs), sheetOf(rows[1:3], inputs)},
	} {
		arranged := Arrange(sheets, inputs)
		if len(arranged) != 1 {
			t.Errorf("%s: %d sheets", name, len(arranged))
		} else if got := arranged[0].Outputs(); !proto.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestLargeSheetsAreNotJoinedAndSayThatAParentGoesOn(t *testing.T) {
	inputs := &View{Count: 2}
	large := Row{Parent: 1, Payload: make([]byte, joinBytes)}
	arranged := Arrange([]*Sheet{sheetOf([]Row{{Parent: 0}, large}, inputs), sheetOf([]Row{large}, inputs)}, inputs)
	if len(arranged) != 2 || !arranged[0].Continues(arranged[1]) {
		t.Errorf("%d sheets", len(arranged))
	}
}

func TestAFreedSheetIsEmpty(t *testing.T) {
	inputs := &View{Count: 2}
	s := sheetOf([]Row{{Parent: 1, Payload: []byte("a"), Default: "x/y", Meta: &Meta{Key: SetTo("k")}}, {Parent: 0}}, inputs)
	s.reset()
	s.inputs = inputs
	s.Add(&Row{Parent: 0, Pass: true})
	if got, want := s.Outputs(), EncodeOutputs([]Row{{Parent: 0, Pass: true}}, inputs); !proto.Equal(got, want) || s.unsorted {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMetaLimits(t *testing.T) {
	var m Meta
	if err := m.SetExtension("x", strings.Repeat("y", MaxAttributeBytes+1)); err == nil {
		t.Error("a long extension was accepted")
	}
	if err := m.SetExtension("x", 1<<40); err == nil {
		t.Error("an int beyond 32 bits was accepted")
	}
	if err := m.SetExtension("x", "\xff"); err == nil {
		t.Error("an extension that is not UTF-8 was accepted")
	}
	if err := CheckPayload(make([]byte, MaxEventBytes+1)); err == nil {
		t.Error("a large payload was accepted")
	}
}
