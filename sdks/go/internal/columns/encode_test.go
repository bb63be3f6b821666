package columns

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

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

func TestTakeKeepsWithinTheLimits(t *testing.T) {
	inputs := &View{Count: 1}
	if n := Take(make([]Row, MaxEvents+5), inputs); n != MaxEvents {
		t.Errorf("took %d rows", n)
	}
	big := Row{Payload: make([]byte, 5<<20)}
	if n := Take([]Row{big, big, big}, inputs); n != 1 {
		t.Errorf("took %d rows of 5 MiB", n)
	}
	if n := Take([]Row{{Payload: make([]byte, MaxEventBytes)}, {}}, inputs); n != 1 {
		t.Errorf("took %d rows, the first is larger than a chunk", n)
	}
	rows := make([]Row, MaxExtensions+6)
	for i := range rows {
		rows[i].Meta = &Meta{}
		if err := rows[i].Meta.SetExtension(fmt.Sprintf("e%d", i), true); err != nil {
			t.Fatal(err)
		}
	}
	if n := Take(rows, inputs); n != MaxExtensions {
		t.Errorf("took %d rows with an extension each", n)
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
