package meshloom

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Size is a number of bytes in a config, written as `64MiB`, `1.5GB` or a plain number.
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Size) UnmarshalText(text []byte) error {
	number, factor := strings.TrimSpace(string(text)), 1.0
	for _, unit := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, unit.suffix); ok {
			number, factor = strings.TrimSpace(rest), unit.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n < 0 || n*factor >= 1<<63 {
		return fmt.Errorf("want a size such as 64MiB, got %q", text)
	}
	*s = Size(n * factor)
	return nil
}

// Violation is one field of a config that was refused.
type Violation struct {
	Field       string // path such as `retry.max`; empty: the whole config
	Description string
}

// ConfigError refuses a config: the pipeline does not start and the user sees every violation.
type ConfigError struct{ Violations []Violation }

// Error lists every violation.
func (e *ConfigError) Error() string { return "config refused: " + listed(e.Violations) }

func listed(violations []Violation) string {
	lines := make([]string, len(violations))
	for i, v := range violations {
		lines[i] = v.Description
		if v.Field != "" {
			lines[i] = v.Field + ": " + v.Description
		}
	}
	return strings.Join(lines, "; ")
}

// InvalidConfig returns an error for a set-up function to refuse a field of the config, or of the environment: the
// pipeline does not start. Any other error of a set-up is taken for an outage and tried again.
func InvalidConfig(field, format string, args ...any) error {
	return &ConfigError{Violations: []Violation{{Field: field, Description: fmt.Sprintf(format, args...)}}}
}

// violationsOf gathers what err refuses: of errors that were joined, all.
func violationsOf(err error) []Violation {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []Violation
		for _, one := range joined.Unwrap() {
			all = append(all, violationsOf(one)...)
		}
		return all
	}
	var refused *ConfigError
	if errors.As(err, &refused) {
		return refused.Violations
	}
	return nil
}

// Validator is a config that checks itself once its fields are read: by errors of [InvalidConfig], several joined by
// [errors.Join], or by any other error about the config as a whole.
type Validator interface {
	// Validate returns what is wrong with the config, nil: nothing.
	Validate() error
}

var (
	durationType  = reflect.TypeFor[time.Duration]()
	sizeType      = reflect.TypeFor[Size]()
	unmarshalType = reflect.TypeFor[json.Unmarshaler]()
	textType      = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// decodeConfig reads a JSON object into config, a pointer to a struct, strictly: unknown keys, wrong types and missing
// required fields are all reported together.
func decodeConfig(data []byte, config any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	if !utf8.Valid(data) {
		return &ConfigError{Violations: []Violation{{Description: "the config is not UTF-8"}}}
	}
	var d configDecoder
	d.value("", data, reflect.ValueOf(config).Elem())
	if len(d.violations) > 0 {
		return &ConfigError{Violations: d.violations}
	}
	if v, ok := config.(Validator); ok {
		if err := v.Validate(); err != nil {
			if refused := violationsOf(err); refused != nil {
				return &ConfigError{Violations: refused}
			}
			return &ConfigError{Violations: []Violation{{Description: err.Error()}}}
		}
	}
	return nil
}

type configDecoder struct{ violations []Violation }

func (d *configDecoder) refuse(field, format string, args ...any) {
	d.violations = append(d.violations, Violation{Field: field, Description: fmt.Sprintf(format, args...)})
}

func (d *configDecoder) value(path string, data json.RawMessage, to reflect.Value) {
	switch {
	case to.Type() == durationType:
		var text string
		if json.Unmarshal(data, &text) != nil {
			d.refuse(path, "want a duration such as \"10s\", got %.60s", data)
		} else if parsed, err := time.ParseDuration(text); err != nil || parsed < 0 {
			d.refuse(path, "want a duration such as \"10s\", got %q", text)
		} else {
			to.SetInt(int64(parsed))
		}
	case to.Type() == sizeType:
		text := string(data)
		if unquoted, err := strconv.Unquote(text); err == nil {
			text = unquoted
		}
		if err := to.Addr().Interface().(*Size).UnmarshalText([]byte(text)); err != nil {
			d.refuse(path, "%v", err)
		}
	case plainStruct(to.Type()):
		d.object(path, data, to)
	case to.Kind() == reflect.Pointer && !decodesItself(to.Type()):
		to.Set(reflect.New(to.Type().Elem()))
		d.value(path, data, to.Elem())
	case listOf(to.Type()):
		d.list(path, data, to)
	case to.Kind() == reflect.Map && to.Type().Key().Kind() == reflect.String && !decodesItself(to.Type()):
		d.members(path, data, to)
	default:
		strict := json.NewDecoder(bytes.NewReader(data))
		strict.DisallowUnknownFields()
		if err := strict.Decode(to.Addr().Interface()); err != nil {
			var wrong *json.UnmarshalTypeError
			if errors.As(err, &wrong) {
				d.refuse(path, "want %s, got %.60s", jsonTypeName(to.Type()), data)
			} else {
				d.refuse(path, "%v", err)
			}
		}
	}
}

func (d *configDecoder) object(path string, data json.RawMessage, to reflect.Value) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		d.refuse(path, "want an object, got %.60s", data)
		return
	}
	fields := configFields(to.Type())
	for _, f := range fields {
		field := to.FieldByIndex(f.index)
		member, given := members[f.name]
		given = given && string(member) != "null"
		delete(members, f.name)
		switch {
		case given:
			d.value(join(path, f.name), member, field)
		case f.required:
			d.refuse(join(path, f.name), "is required")
		case f.fallback != nil:
			d.value(join(path, f.name), f.fallback, field)
		case plainStruct(field.Type()):
			d.object(join(path, f.name), []byte("{}"), field) // its defaults
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		d.refuse(join(path, name), "unknown key, %s", knownKeys(fields))
	}
}

// list reads a slice item by item, so that what is refused has its place.
func (d *configDecoder) list(path string, data json.RawMessage, to reflect.Value) {
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		d.refuse(path, "want array, got %.60s", data)
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(items), len(items)))
	for i, item := range items {
		d.value(fmt.Sprintf("%s[%d]", path, i), item, to.Index(i))
	}
}

// members reads a map value by value.
func (d *configDecoder) members(path string, data json.RawMessage, to reflect.Value) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		d.refuse(path, "want object, got %.60s", data)
		return
	}
	to.Set(reflect.MakeMap(to.Type()))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := reflect.New(to.Type().Elem()).Elem()
		d.value(join(path, name), members[name], value)
		to.SetMapIndex(reflect.ValueOf(name).Convert(to.Type().Key()), value)
	}
}

func knownKeys(fields []configField) string {
	if len(fields) == 0 {
		return "this handler takes no config"
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return "known are: " + strings.Join(names, ", ")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// canonicalConfig returns the same text for configs that say the same, whatever the order of their keys; none is as {}.
func canonicalConfig(data []byte) string {
	if len(bytes.TrimSpace(data)) == 0 {
		return "{}"
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return string(data)
	}
	canonical, err := json.Marshal(value)
	if err != nil {
		return string(data)
	}
	return string(canonical)
}
