package render

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// json writes a value as JSON, on one line where indent is empty. It is the
// complete form.
func (o *out) json(v any, indent string) error {
	text, err := marshal(v, indent)
	if err != nil {
		return err
	}
	_, err = o.w.Write(text)
	return err
}

func marshal(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(complete(reflect.ValueOf(v)).Interface()); err != nil {
		return nil, err
	}
	return escapeStrings(b.Bytes(), true), nil
}

// yaml writes a value as YAML, in the shape of its JSON.
func (o *out) yaml(v any) error {
	var root yaml.Node
	if err := root.Encode(complete(reflect.ValueOf(v)).Interface()); err != nil {
		return err
	}
	quote(&root)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&root); err != nil {
		return err
	}
	_, err := o.w.Write(escapeStrings(b.Bytes(), false))
	return err
}

// quote makes every text that holds something invisible a quoted one, since
// only there YAML has escapes.
func quote(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && strings.IndexFunc(n.Value, func(r rune) bool { return !visible(r) }) >= 0 {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		quote(c)
	}
}

// complete is a deep copy in which no list is nil, so that an empty one is
// written as [], never as null, and every text is valid UTF-8.
func complete(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(complete(v.Elem()))
		}
	case reflect.Slice:
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(complete(v.Index(i)))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if out.Field(i).CanSet() { // what is not exported is not written
				out.Field(i).Set(complete(v.Field(i)))
			}
		}
	case reflect.String:
		out.SetString(strings.ToValidUTF8(v.String(), "\ufffd"))
	default:
		out.Set(v)
	}
	return out
}
