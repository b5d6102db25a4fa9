package harden

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

// words are the values of types that have few.
var words = map[reflect.Type][]string{
	reflect.TypeFor[guard.State]():    texts(guard.States),
	reflect.TypeFor[guard.Product]():  texts(guard.Products),
	reflect.TypeFor[guard.Severity](): {"critical", "high", "medium", "low"},
	reflect.TypeFor[Outcome]():        texts([]Outcome{Clean, Failed, Incomplete}),
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

// Schema is the JSON schema (draft 7) of a report's JSON form, FleetSchema that of several hosts'.
func Schema() ([]byte, error) {
	return titled(reflect.TypeFor[Report](), "A report of metalward harden check, format 1")
}

// FleetSchema is described at Schema.
func FleetSchema() ([]byte, error) {
	return titled(reflect.TypeFor[Fleet](), "Reports of metalward harden check --host, format 1")
}

func titled(t reflect.Type, title string) ([]byte, error) {
	s := schemaOf(t)
	s["$schema"], s["title"] = "http://json-schema.org/draft-07/schema#", title
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

func schemaOf(t reflect.Type) map[string]any {
	if list := words[t]; list != nil {
		return map[string]any{"type": "string", "enum": list}
	}
	if t == reflect.TypeFor[time.Time]() {
		return map[string]any{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		m := map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
		if list := words[t.Key()]; list != nil {
			m["propertyNames"] = map[string]any{"enum": list}
		}
		return m
	case reflect.Struct:
		properties, required := map[string]any{}, []string{}
		for f := range t.Fields() {
			name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || name == "-" {
				continue
			}
			properties[name] = schemaOf(f.Type)
			if rest != "omitempty" {
				required = append(required, name)
			}
		}
		slices.Sort(required)
		return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	}
	return map[string]any{"type": "string"}
}
