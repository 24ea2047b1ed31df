package bundle

import (
	"path"
	"strconv"
	"strings"
	"unicode"
)

// cleanName gives the clean form of an entry's name, or says why it is unsafe.
// Backslashes and drive letters are tricks in a zip, where some programs take
// them for separators; elsewhere they are ordinary (systemd units have them).
// The name "." is the top folder itself.
func cleanName(name string, zip bool) (clean, unsafe string) {
	switch {
	case name == "":
		return "", "has no name"
	case strings.ContainsFunc(name, isControl):
		return "", "has a control character in its name"
	case name[0] == '/':
		return "", "has an absolute name"
	case zip && strings.Contains(name, `\`):
		return "", "has a backslash in its name"
	}
	for el := range strings.SplitSeq(name, "/") {
		if el == ".." {
			return "", "leads out of the bundle"
		}
	}
	clean = path.Clean(name)
	if zip && len(clean) > 1 && clean[1] == ':' {
		return "", "has a drive letter in its name"
	}
	// Old zips hold CP437, old tars Latin-1. Two names that become one this way
	// are reported as duplicates.
	return strings.ToValidUTF8(clean, "\uFFFD"), ""
}

// isControl also holds for what turns the direction of text or ends a line:
// with either, a name on a terminal shows something else than it is.
func isControl(c rune) bool {
	return unicode.IsControl(c) ||
		c >= 0x2028 && c <= 0x202e || c >= 0x2066 && c <= 0x2069
}

// isNoise tells what macOS adds to archives and folders.
func isNoise(clean string) bool {
	base := path.Base(clean)
	return base == ".DS_Store" || strings.HasPrefix(base, "._") ||
		clean == "__MACOSX" || strings.HasPrefix(clean, "__MACOSX/") ||
		strings.Contains(clean, "/__MACOSX/")
}

// printable makes text from a bundle safe to print: one line, valid UTF-8, and
// control characters spelled out.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if isControl(c) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(c), "'"))
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}
