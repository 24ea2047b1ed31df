package parse

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// nft -j list ruleset, as in
//
//	{"nftables": [{"metainfo": {"version": "1.0.6", ...}}, {"table": {"family": "ip", "name": "kube-proxy", "handle": 1}}, ...]}
//
// (nft 1.0.6). Expressions are put into the words of the text form, so that
// both are read by the same code.

func nftClaim(d *Doc) bool { return d.Has("nftables") }

type nftObject struct {
	Metainfo *struct {
		Version string `json:"version"`
	} `json:"metainfo"`
	Table *nftNamed `json:"table"`
	Chain *nftNamed `json:"chain"`
	Map   *nftNamed `json:"map"`
	Rule  *nftNamed `json:"rule"`
}

type nftNamed struct {
	Family  string              `json:"family"`
	Table   string              `json:"table"`
	Chain   string              `json:"chain"`
	Name    string              `json:"name"`
	Hook    string              `json:"hook"`
	Comment string              `json:"comment"`
	Elem    [][]json.RawMessage `json:"elem"`
	Expr    []nftExpr           `json:"expr"`
}

// nftExpr is one statement: an object with one member.
type nftExpr map[string]json.RawMessage

func nftDoc(d *Doc, out *Out) {
	var list []json.RawMessage
	if !d.Get("nftables", &list) {
		out.ProblemAt(d.Line, string(d.Raw), "nftables is no list")
		return
	}
	var set rulesSet
	tables := map[string]*rulesTable{}
	table := func(family, name string) *rulesTable {
		key := family + " " + name
		if tables[key] == nil {
			tables[key] = set.open(name, family == "ip6")
			tables[key].inet = family == "inet"
		}
		return tables[key]
	}
	for i, raw := range list {
		pointer := "/nftables/" + strconv.Itoa(i)
		out.At(pointer)
		var o nftObject
		if err := json.Unmarshal(raw, &o); err != nil {
			out.ProblemAt(d.Line, string(raw), "not as nft writes it: "+err.Error())
		}
		pos := record.Pos{Line: d.Line, Pointer: pointer}
		switch {
		case o.Metainfo != nil:
			out.Tool("nft " + o.Metainfo.Version)
		case o.Table != nil:
			table(o.Table.Family, o.Table.Name)
		case o.Chain != nil:
			c := set.chain(table(o.Chain.Family, o.Chain.Table), o.Chain.Name)
			if o.Chain.Hook != "" {
				c.hook = o.Chain.Hook
			}
		case o.Map != nil:
			t := table(o.Map.Family, o.Map.Table)
			t.maps[o.Map.Name] = nftElements(o.Map, pos)
		case o.Rule != nil:
			r := &rulesRule{pos: pos, probability: 1}
			if why := nftRule(r, nftExprs(o.Rule.Expr)); why != "" {
				out.ProblemAt(d.Line, string(raw), why)
				continue
			}
			if r.comment == "" {
				r.comment = o.Rule.Comment
			}
			set.add(table(o.Rule.Family, o.Rule.Table), o.Rule.Chain, r)
		}
	}
	set.walk(out)
}

// nftElements reads the elements of a map: pairs of a key and a verdict.
func nftElements(m *nftNamed, pos record.Pos) []rulesElement {
	var list []rulesElement
	for i, pair := range m.Elem {
		if len(pair) != 2 {
			continue
		}
		e := rulesElement{pos: pos}
		e.pos.Pointer += "/map/elem/" + strconv.Itoa(i)
		key := pair[0]
		var wrapped struct {
			Elem *struct {
				Val     json.RawMessage `json:"val"`
				Comment string          `json:"comment"`
			} `json:"elem"`
		}
		if json.Unmarshal(key, &wrapped) == nil && wrapped.Elem != nil {
			key, e.comment = wrapped.Elem.Val, wrapped.Elem.Comment
		}
		for _, w := range nftValue(key) {
			if w != "." {
				e.key = append(e.key, w)
			}
		}
		verdict := nftValue(pair[1])
		if len(verdict) > 0 {
			e.target = verdict[len(verdict)-1]
		}
		list = append(list, e)
	}
	return list
}

// nftExprs puts the statements of a rule into words.
func nftExprs(list []nftExpr) (words []string) {
	for _, e := range list {
		for kind, raw := range e { // one member
			words = append(words, nftWordsOf(kind, raw)...)
		}
	}
	return words
}

func nftWordsOf(kind string, raw json.RawMessage) []string {
	var o struct {
		Op     string          `json:"op"`
		Left   json.RawMessage `json:"left"`
		Right  json.RawMessage `json:"right"`
		Target string          `json:"target"`
		Type   string          `json:"type"`
		Name   string          `json:"name"`
		Addr   json.RawMessage `json:"addr"`
		Port   json.RawMessage `json:"port"`
		Key    json.RawMessage `json:"key"`
		Value  json.RawMessage `json:"value"`
		Data   json.RawMessage `json:"data"`
	}
	_ = json.Unmarshal(raw, &o) // a statement may also be null, or a plain value
	switch kind {
	case "match":
		words := nftValue(o.Left)
		if o.Op != "" && o.Op != "==" && o.Op != "in" {
			words = append(words, o.Op)
		}
		return append(words, nftValue(o.Right)...)
	case "jump", "goto":
		return []string{kind, o.Target}
	case "xt":
		return []string{"xt", o.Type, o.Name}
	case "vmap":
		return append(append(nftValue(o.Key), "vmap"), nftValue(o.Data)...)
	case "dnat", "redirect", "tproxy":
		a, p := nftValue(o.Addr), nftValue(o.Port)
		switch {
		case len(a) > 1:
			return append([]string{kind, "to"}, a...)
		case len(a) == 1 && len(p) == 1:
			return []string{kind, "to", nftJoin(a[0], p[0])}
		case len(a) == 1:
			return []string{kind, "to", a[0]}
		case len(p) == 1:
			return []string{kind, "to", ":" + p[0]}
		}
		return []string{kind}
	case "mangle":
		if key := nftValue(o.Key); len(key) == 2 && key[0] == "meta" && key[1] == "mark" {
			return append([]string{"meta", "mark", "set"}, nftValue(o.Value)...)
		}
		return []string{"nop"}
	case "set", "counter", "log", "limit", "quota":
		if kind == "limit" || kind == "quota" {
			return []string{kind}
		}
		return []string{"nop"}
	case "accept", "drop", "return", "continue", "reject", "masquerade", "snat", "queue", "notrack":
		return []string{kind}
	}
	return []string{"other"}
}

// nftValue puts a value or an expression into words.
func nftValue(raw json.RawMessage) []string {
	if len(raw) == 0 {
		return nil
	}
	switch raw[0] {
	case '"':
		var s string
		_ = json.Unmarshal(raw, &s)
		return []string{s}
	case '[':
		var list []json.RawMessage
		_ = json.Unmarshal(raw, &list)
		return nftJoined(list, ",")
	case '{':
		var o map[string]json.RawMessage
		if json.Unmarshal(raw, &o) != nil || len(o) != 1 {
			return []string{"other"}
		}
		for kind, inner := range o {
			return nftExpression(kind, inner)
		}
	}
	return []string{string(raw)}
}

func nftJoined(list []json.RawMessage, separator string) (words []string) {
	for i, v := range list {
		if i > 0 {
			words = append(words, separator)
		}
		words = append(words, nftValue(v)...)
	}
	return words
}

func nftExpression(kind string, raw json.RawMessage) []string {
	var o struct {
		Key      string          `json:"key"`
		Protocol string          `json:"protocol"`
		Field    string          `json:"field"`
		Addr     string          `json:"addr"`
		Len      int             `json:"len"`
		Mode     string          `json:"mode"`
		Mod      json.Number     `json:"mod"`
		Result   string          `json:"result"`
		Flags    json.RawMessage `json:"flags"`
		Target   string          `json:"target"`
		Val      json.RawMessage `json:"val"`
		Data     json.RawMessage `json:"data"`
	}
	_ = json.Unmarshal(raw, &o)
	var list []json.RawMessage
	_ = json.Unmarshal(raw, &list)
	switch kind {
	case "payload":
		return []string{o.Protocol, o.Field}
	case "meta":
		return []string{"meta", o.Key}
	case "ct":
		return []string{"ct", o.Key}
	case "fib":
		flags := nftValue(o.Flags)
		return append([]string{"fib"}, append(flags, o.Result)...)
	case "prefix":
		return []string{fmt.Sprintf("%s/%d", o.Addr, o.Len)}
	case "range":
		return []string{strings.Join(nftJoined(list, "-"), "")}
	case "concat":
		return nftJoined(list, ".")
	case "numgen":
		return []string{"numgen", o.Mode, "mod", o.Mod.String()}
	case "elem":
		return nftValue(o.Val)
	case "jump", "goto":
		return []string{kind, o.Target}
	case "drop", "accept", "return", "continue":
		return []string{kind}
	case "set":
		return nftSetWords(list)
	case "map":
		var m struct {
			Key  json.RawMessage `json:"key"`
			Data json.RawMessage `json:"data"`
		}
		_ = json.Unmarshal(raw, &m)
		return append(append(nftValue(m.Key), "map"), nftValue(m.Data)...)
	case "&":
		return nftJoined(list, "&")
	case "|", "^":
		return nftJoined(list, kind)
	}
	return []string{"other"}
}

// nftSetWords puts an anonymous set, or a map of pairs, into words.
func nftSetWords(list []json.RawMessage) []string {
	words := []string{"{"}
	for i, v := range list {
		if i > 0 {
			words = append(words, ",")
		}
		var pair []json.RawMessage
		if json.Unmarshal(v, &pair) == nil && len(pair) == 2 {
			words = append(append(append(words, nftValue(pair[0])...), ":"), nftValue(pair[1])...)
			continue
		}
		words = append(words, nftValue(v)...)
	}
	return append(words, "}")
}
