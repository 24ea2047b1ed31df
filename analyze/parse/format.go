// Package parse turns artifacts into records. It tells formats by content, one
// file per format, listed in one table; it reads line by line, gives every
// line a verdict (understood, known and ignored, or a problem with its
// position), and goes on after a bad line. It never resolves anything: what a
// record means for a connection is not its business.
package parse

// Format is one row of the table of formats. A format of lines fills Head and
// Open, a format of documents Claim and Doc; some tools print both.
type Format struct {
	// Name is how inspect calls it.
	Name string

	// Head tells whether a line can only belong to this format: a header, or
	// a row that no other format writes. It gets the line without surrounding
	// blanks, and is asked for every line, so it looks at the first bytes
	// first. The driver uses it to tell the format and to find where the next
	// listing begins; a line that no Head claims stays with the format before.
	Head func(line []byte) bool
	// Open begins a section. line is called once for each line, without the
	// line end; out knows its position. Within the call, line either emits a
	// record, or calls out.Understood, out.Ignore or out.Problem; a line on
	// which it does none of these is counted as not understood (a blank one as
	// ignored). end is called once after the last line and may be nil.
	Open func(out *Out) (line func(b []byte), end func())
	// Prints tells whether a line that no Head claims is of this format since
	// a command printed it: words are those of the command, without what it
	// was wrapped in. nil: only Head tells.
	Prints func(words []string, line []byte) bool

	// Claim tells whether a JSON (or YAML) document is this format's.
	Claim func(d *Doc) bool
	// Doc reads a document that Claim claimed.
	Doc func(d *Doc, out *Out)
}
