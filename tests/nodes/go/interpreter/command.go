package main

import (
	"encoding/json"

	meshloom "github.com/meshloom/meshloom/sdks/go"
)

// command is what a payload asks for.
type command struct {
	Do        string   `json:"do"`
	Outputs   []output `json:"outputs,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Message   string   `json:"message,omitempty"`
	AfterMS   int64    `json:"after_ms,omitempty"`
	Until     *int     `json:"until,omitempty"` // the attempt from which on the event passes, nil: never
	MS        int64    `json:"ms,omitempty"`
	N         int64    `json:"n,omitempty"`
	Names     []string `json:"names,omitempty"`
	Bytes     int      `json:"bytes,omitempty"`
	Count     int      `json:"count,omitempty"`
	FailAfter *int     `json:"fail_after,omitempty"`
	Status    int      `json:"status,omitempty"`
}

// commandOf is what to do with an event: what the config says, else its payload.
func (in *interpreter) commandOf(event meshloom.Event) (c command, err error) {
	if in.Command != nil {
		return *in.Command, nil
	}
	if err := event.JSON(&c); err != nil {
		return c, err
	}
	if c.Do == "" {
		return c, meshloom.Rejectf("PAYLOAD_MISMATCH", "a command is an object whose `do` names it, got %.60q", event.Data())
	}
	return c, nil
}

// output is one output of a command. Attributes that are nil stay as the event's.
type output struct {
	Value  json.RawMessage `json:"value,omitempty"`
	Text   *string         `json:"text,omitempty"`
	Base64 *[]byte         `json:"base64,omitempty"`

	ContentType *string               `json:"content_type,omitempty"`
	Type        *string               `json:"type,omitempty"`
	Subject     *string               `json:"subject,omitempty"`
	Key         *string               `json:"key,omitempty"`
	Route       *string               `json:"route,omitempty"`
	DataSchema  *string               `json:"data_schema,omitempty"`
	ID          *string               `json:"id,omitempty"`
	Time        json.RawMessage       `json:"time,omitempty"` // null clears
	Extensions  map[string]*extension `json:"extensions,omitempty"`
}

// of makes the output of an event.
func (o output) of(event meshloom.Event) (meshloom.Out[any], error) {
	out := meshloom.Emit(o.payload(event))
	for _, set := range []struct {
		value *string
		to    func(meshloom.Out[any], string) meshloom.Out[any]
	}{
		{o.ContentType, meshloom.Out[any].ContentType},
		{o.Type, meshloom.Out[any].Type},
		{o.Subject, meshloom.Out[any].Subject},
		{o.Key, meshloom.Out[any].Key},
		{o.Route, meshloom.Out[any].Route},
		{o.DataSchema, meshloom.Out[any].DataSchema},
		{o.ID, meshloom.Out[any].ID},
	} {
		if set.value != nil {
			out = set.to(out, *set.value)
		}
	}
	if o.Time != nil {
		at, err := parseTime(o.Time)
		if err != nil {
			return out, err
		}
		out = out.Time(at)
	}
	for name, ext := range o.Extensions {
		value, err := ext.decode()
		if err != nil {
			return out, err
		}
		out = out.Extension(name, value)
	}
	return out, nil
}

func (o output) payload(event meshloom.Event) any {
	switch {
	case o.Value != nil:
		return o.Value
	case o.Text != nil:
		return []byte(*o.Text)
	case o.Base64 != nil:
		return *o.Base64
	default:
		return event
	}
}
