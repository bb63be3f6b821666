package meshloom

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// configField is one field of a config struct. Its name is that of the `json` tag, else the field's own; the tag
// `meshloom:"required"` demands it and `default:"5s"` stands in for it.
type configField struct {
	name     string
	index    []int
	required bool
	fallback json.RawMessage // JSON of the default, nil: the zero value
	kind     reflect.Type
	doc      string
}

func configFields(t reflect.Type) []configField {
	var fields []configField
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		field := configField{name: name, index: f.Index, kind: f.Type, doc: f.Tag.Get("doc")}
		field.required = f.Tag.Get("meshloom") == "required"
		if fallback, ok := f.Tag.Lookup("default"); ok {
			field.fallback = json.RawMessage(fallback)
			if !json.Valid(field.fallback) || f.Type.Kind() == reflect.String {
				field.fallback, _ = json.Marshal(fallback) // a string always encodes
			}
		}
		fields = append(fields, field)
	}
	return fields
}

// plainStruct tells that a type is a struct to be read field by field.
func plainStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !decodesItself(t)
}

// decodesItself tells that a type has its own way to be read from JSON.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(unmarshalType) || p.Implements(textType)
}

// listOf tells that a type is a slice to be read item by item; bytes are base64 in one string.
func listOf(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 && !decodesItself(t)
}

// checkConfigType panics at the declaration of a node whose defaults do not fit their fields: that is a bug of the node.
func checkConfigType(t reflect.Type) {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("meshloom: the config of a node must be a struct, not %s", t))
	}
	var d configDecoder
	for _, f := range configFields(t) {
		if f.fallback != nil {
			d.value(f.name, f.fallback, reflect.New(f.kind).Elem())
		}
		if plainStruct(f.kind) {
			checkConfigType(f.kind)
		}
	}
	if len(d.violations) > 0 {
		panic(fmt.Sprintf("meshloom: default of %s in %s: %s", d.violations[0].Field, t, d.violations[0].Description))
	}
}

// configSchema returns the JSON Schema of a config struct.
func configSchema(t reflect.Type) []byte {
	schema := schemaOf(t)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	encoded, err := json.Marshal(schema)
	if err != nil {
		panic(fmt.Sprintf("meshloom: schema of %s: %v", t, err))
	}
	return encoded
}

func schemaOf(t reflect.Type) map[string]any {
	switch {
	case t == durationType:
		return map[string]any{"type": "string", "description": "a duration such as 10s"}
	case t == sizeType:
		return map[string]any{"type": []string{"string", "integer"}, "description": "a size such as 64MiB"}
	case plainStruct(t):
		properties, required := map[string]any{}, []string{}
		for _, f := range configFields(t) {
			property := schemaOf(f.kind)
			if f.fallback != nil {
				property["default"] = f.fallback
			}
			if f.doc != "" {
				property["description"] = f.doc
			}
			if f.required {
				required = append(required, f.name)
			}
			properties[f.name] = property
		}
		return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	case reflect.PointerTo(t).Implements(unmarshalType):
		return map[string]any{}
	case reflect.PointerTo(t).Implements(textType):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	}
	if t.Kind() == reflect.Interface || t.Kind() == reflect.Struct {
		return map[string]any{}
	}
	return map[string]any{"type": jsonTypeName(t)}
}

// jsonTypeName names the JSON type that a Go type is read from, else the Go type.
func jsonTypeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "integer"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Map:
		return "object"
	default:
		return t.String()
	}
}
