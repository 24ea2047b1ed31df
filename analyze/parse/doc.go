package parse

import (
	"bytes"
	"encoding/json"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Doc is one JSON document. A YAML document has been turned into JSON, so that
// a format is written once for both.
type Doc struct {
	// Raw is the document.
	Raw []byte
	// Line is the line of the artifact on which it begins, from 1.
	Line int

	object map[string]json.RawMessage
	array  []json.RawMessage
}

// newDoc checks that raw is one whole JSON value and looks at its top level.
func newDoc(raw []byte, line int) (*Doc, error) {
	d := &Doc{Raw: raw, Line: line}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, fmt.Errorf("empty document")
	}
	switch raw[0] {
	case '{':
		return d, json.Unmarshal(raw, &d.object)
	case '[':
		return d, json.Unmarshal(raw, &d.array)
	}
	return nil, fmt.Errorf("neither an object nor an array")
}

// Has tells whether the document is an object that has all these keys.
func (d *Doc) Has(keys ...string) bool {
	for _, k := range keys {
		if _, ok := d.object[k]; !ok {
			return false
		}
	}
	return d.object != nil
}

// Get decodes one member of the top-level object into v, and tells whether
// that worked.
func (d *Doc) Get(key string, v any) bool {
	raw, ok := d.object[key]
	return ok && json.Unmarshal(raw, v) == nil
}

// empty tells whether the document says nothing: {} or [].
func (d *Doc) empty() bool { return len(d.object) == 0 && len(d.array) == 0 }

// IsArray tells whether the document is an array.
func (d *Doc) IsArray() bool { return d.array != nil }

// Elements are the raw elements of a top-level array.
func (d *Doc) Elements() []json.RawMessage { return d.array }

// First looks at the first element of a top-level array as a document of its
// own; nil when there is none or it is no object.
func (d *Doc) First() *Doc {
	if len(d.array) == 0 {
		return nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(d.array[0], &m) != nil {
		return nil
	}
	return &Doc{Raw: d.array[0], Line: d.Line, object: m}
}

// yamlToJSON turns one YAML document into JSON. yaml.v3 itself refuses
// documents whose aliases expand out of proportion.
func yamlToJSON(text []byte) ([]byte, error) {
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	return json.Marshal(jsonable(v))
}

// jsonable replaces maps with keys that are no strings, which JSON lacks.
func jsonable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = jsonable(e)
		}
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[fmt.Sprint(k)] = jsonable(e)
		}
		return m
	case []any:
		for i, e := range v {
			v[i] = jsonable(e)
		}
	}
	return v
}
