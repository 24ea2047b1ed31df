package parse

import (
	"encoding/json"
	"slices"
	"strconv"
)

// ciliumMapDoc reads an object from strings to arrays of strings, the JSON of
// all two-column listings of Cilium. keys are sorted. A document of another
// shape gives nothing; it is asked for every JSON document of a bundle, so the
// first member that does not fit ends it.
func ciliumMapDoc(d *Doc) (keys []string, rows map[string][]string) {
	for _, raw := range d.object {
		if len(raw) < 3 || raw[0] != '[' {
			return nil, nil
		}
	}
	if len(d.object) == 0 || json.Unmarshal(d.Raw, &rows) != nil {
		return nil, nil
	}
	for k, v := range rows {
		if len(v) > 0 {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys, rows
}

// ciliumMapRow puts an element together to the row that the text has.
func ciliumMapRow(key, value string) []byte { return []byte(key + "   " + value) }

func ciliumLBClaim(d *Doc) bool {
	keys, rows := ciliumMapDoc(d)
	if len(keys) == 0 {
		return false
	}
	_, ok := ciliumLBParse(ciliumMapRow(keys[0], rows[keys[0]][0]))
	return ok
}

func ciliumLBDoc(d *Doc, out *Out) {
	keys, rows := ciliumMapDoc(d)
	p := newCiliumLB(out)
	p.whole = true
	for _, k := range keys {
		for i, v := range rows[k] {
			p.pointer = "/" + pointerToken(k) + "/" + strconv.Itoa(i)
			out.At(p.pointer)
			p.row(ciliumMapRow(k, v))
		}
	}
	p.flush()
}
