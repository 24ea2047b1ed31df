package render

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// visible tells whether a rune takes a place on the screen and leaves those of
// others alone: no control or format character (C0, DEL, C1, overrides of the
// direction of writing, zero width), no space but the common one, nothing that
// the tables of Unicode do not know.
func visible(r rune) bool {
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// Clean makes a text of a bundle fit for one line of a terminal: what is not
// visible becomes an escape, as \x1b, \n or \u202e, and so does a byte that is
// no UTF-8. A backslash of the text itself stays as it is; where the bytes
// matter, the JSON form has them.
func Clean(s string) string {
	for i, r := range s {
		if !visible(r) || r == utf8.RuneError {
			return s[:i] + escape(s[i:])
		}
	}
	return s
}

func escape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case visible(r):
			b.WriteString(s[:n])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// escapeStrings writes what is not visible inside the strings of a JSON or
// YAML text as \u escapes, which mean the same there. The text outside of
// strings is ASCII, and in them the encoder has escaped C0 already.
func escapeStrings(text []byte, json bool) []byte {
	out := make([]byte, 0, len(text))
	for _, r := range string(text) {
		switch {
		case r < 0x7f || visible(r):
			out = utf8.AppendRune(out, r)
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		case json:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\U%08x`, r)
		}
	}
	return out
}

// clip cuts a clean text to a number of columns and marks the cut.
func clip(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	list := []rune(s)
	return string(list[:max(columns-3, 0)]) + "..."
}
