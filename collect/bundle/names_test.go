package bundle

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"node1/ü.txt":           "node1/ü.txt",
		"a\nb\x1b[31m\x00":      `a\nb\x1b[31m\x00`,
		"a\u009b\u202e\u2028\\": `a\u009b\u202e\u2028\`,
		"bad\xff":               "bad\uFFFD",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
