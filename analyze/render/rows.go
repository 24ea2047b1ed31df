package render

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Table is what a query returns. A cell is nil, a number, a bool, a time or a text.
type Table struct {
	Columns []string
	Rows    [][]any
}

// Rows writes a table in one of TableFormats.
func Rows(w io.Writer, t Table, format string, opt Options) error {
	o := newOut(w, opt)
	var err error
	switch format {
	case "text":
		o.rowsText(t)
	case "json", "jsonl":
		err = o.rowsJSON(t, format == "jsonl")
	case "csv":
		o.rowsCSV(t)
	case "markdown":
		var rows [][]string
		for _, r := range t.Rows {
			rows = append(rows, rowTexts(t, r))
		}
		o.markdownTable(t.Columns, rows, t.numeric)
	default:
		return noFormat(format, TableFormats)
	}
	return cmp.Or(err, o.w.Flush())
}

func (o *out) rowsText(t Table) {
	g := grid{}
	head := texts(t.Columns...)
	for i := range head {
		head[i].right = t.numeric(i)
	}
	g.add(head...)
	for _, r := range t.Rows {
		row := texts(rowTexts(t, r)...)
		for i := range row {
			row[i].right = isNumber(value(r, i))
		}
		g.add(row...)
	}
	o.grid(g)
}

func (o *out) rowsCSV(t Table) {
	rows := [][]string{cells(append([]string{}, t.Columns...)...)}
	for _, r := range t.Rows {
		row := rowTexts(t, r)
		for i := range row {
			if !isNumber(value(r, i)) {
				row[i] = cell(row[i])
			}
		}
		rows = append(rows, row)
	}
	o.csv(rows)
}

// rowsJSON writes an object for each row, either as one list or a line each.
func (o *out) rowsJSON(t Table, lines bool) error {
	names := unique(t.Columns)
	open, between, end := "[\n  ", ",\n  ", "\n]\n"
	switch {
	case lines:
		open, between, end = "", "\n", "\n"
		if len(t.Rows) == 0 {
			end = ""
		}
	case len(t.Rows) == 0:
		open, end = "[", "]\n"
	}
	o.w.WriteString(open)
	for i, r := range t.Rows {
		if i > 0 {
			o.w.WriteString(between)
		}
		if err := o.rowJSON(names, r); err != nil {
			return err
		}
	}
	o.w.WriteString(end)
	return nil
}

// rowJSON writes one object, its fields in the order of the columns.
func (o *out) rowJSON(names []string, r []any) error {
	before := "{"
	for i, n := range names {
		v := value(r, i)
		if f, ok := v.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
			v = fmt.Sprint(f) // JSON has no number for it
		}
		for _, x := range []any{n, v} {
			raw, err := marshal(&x, "")
			if err != nil {
				return err
			}
			o.w.WriteString(before)
			o.w.Write(bytes.TrimRight(raw, "\n"))
			before = ": "
		}
		before = ", "
	}
	o.w.WriteString("}")
	return nil
}

// unique numbers the names of columns that repeat: an object has each once.
func unique(columns []string) []string {
	used := map[string]bool{}
	out := make([]string, len(columns))
	for i, c := range columns {
		c = strings.ToValidUTF8(c, "\ufffd")
		n := c
		for k := 2; used[n]; k++ {
			n = c + "_" + strconv.Itoa(k)
		}
		used[n] = true
		out[i] = n
	}
	return out
}

// value is a cell of a row, nil where the row is short.
func value(r []any, i int) any {
	if i < len(r) {
		return r[i]
	}
	return nil
}

func rowTexts(t Table, r []any) []string {
	out := make([]string, len(t.Columns))
	for i := range out {
		out[i] = text(value(r, i))
	}
	return out
}

// text shows a value; NULL is empty.
func text(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case float64:
		if raw, err := json.Marshal(x); err == nil {
			return string(raw)
		}
	case time.Time:
		return x.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

func isNumber(v any) bool {
	switch reflect.ValueOf(v).Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return true
	}
	return false
}

// numeric tells whether a column holds numbers only.
func (t Table) numeric(column int) bool {
	any := false
	for _, r := range t.Rows {
		switch v := value(r, column); {
		case isNumber(v):
			any = true
		case v != nil:
			return false
		}
	}
	return any
}
