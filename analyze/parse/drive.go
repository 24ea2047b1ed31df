package parse

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode/utf16"

	"whichbackend/analyze/record"
)

// maxLine bounds one line: a Maglev table prints lines of megabytes. What is
// longer is cut, and counted as a problem.
const maxLine = 16 << 20

// maxDocument bounds one JSON or YAML document, which has to be in memory.
const maxDocument = 1 << 30

// reader drives one artifact: it cuts lines, finds prompts and the begin of
// each listing, and hands every line to the format that owns it.
type reader struct {
	sink     Sink
	formats  []Format
	artifact *record.Artifact
	next     func() int // number of the next section
	sections []*record.Section

	out   Out
	cur   *Format // the format that owns the line, nil when none does
	line  func([]byte)
	end   func()
	shell prompt // the command that printed the current lines, in a transcript

	doc       []byte // the JSON or YAML document being gathered
	docLine   int
	docLines  int
	docYAML   bool
	brackets  depth
	afterLine int // lines read
}

// Artifact reads one artifact and returns its sections. next numbers them;
// text, if not nil, gets the text that lines are counted in. An error is an
// I/O error; everything else is a Problem in the sink.
func Artifact(a *record.Artifact, r io.Reader, text io.Writer, sink Sink, next func() int) ([]*record.Section, error) {
	d := &reader{sink: sink, formats: formats, artifact: a, next: next}
	d.out.sink = sink
	plain := bufio.NewReaderSize(decode(r), 256<<10)
	br := plain
	if magic, _ := plain.Peek(8); len(magic) > 0 {
		if name := binaryFormat(magic); name != "" {
			d.open(nil)
			d.out.sec.Format = name
			d.out.problem(record.Pos{}, "", "a "+name+" is not read as a listing")
			_, err := io.Copy(io.Discard, plain)
			return d.sections, err
		}
	}
	if text != nil {
		br = bufio.NewReaderSize(io.TeeReader(plain, text), 256<<10)
	}
	err := d.lines(br)
	d.finish()
	return d.sections, err
}

// binaryFormat names files that are no text, by their first bytes.
func binaryFormat(magic []byte) string {
	for _, m := range []struct{ magic, name string }{
		{"\x0a\x0d\x0d\x0a", "packet capture damaged at its begin"}, // a whole one is none of the listings
		{"\x1f\x8b", "nested gzip archive"}, {"PK\x03\x04", "nested zip archive"},
		{"SQLite f", "SQLite database"}, {"\x7fELF", "program"},
	} {
		if bytes.HasPrefix(magic, []byte(m.magic)) {
			return m.name
		}
	}
	return ""
}

// decode turns UTF-16 with a byte order mark into UTF-8 and takes a UTF-8 mark
// off. PowerShell's redirection writes UTF-16.
func decode(r io.Reader) io.Reader {
	br := bufio.NewReader(r)
	mark, _ := br.Peek(3)
	switch {
	case bytes.HasPrefix(mark, []byte{0xef, 0xbb, 0xbf}):
		br.Discard(3)
	case bytes.HasPrefix(mark, []byte{0xff, 0xfe}), bytes.HasPrefix(mark, []byte{0xfe, 0xff}):
		big := mark[0] == 0xfe
		br.Discard(2)
		return &utf16Reader{r: br, big: big}
	}
	return br
}

type utf16Reader struct {
	r    io.Reader
	big  bool
	rest []byte
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	if len(u.rest) == 0 {
		var raw [4096]byte
		n, err := io.ReadFull(u.r, raw[:])
		if n < 2 {
			if err == io.ErrUnexpectedEOF {
				err = io.EOF
			}
			return 0, err
		}
		units := make([]uint16, n/2)
		for i := range units {
			units[i] = uint16(raw[2*i]) | uint16(raw[2*i+1])<<8
			if u.big {
				units[i] = units[i]<<8 | units[i]>>8
			}
		}
		u.rest = []byte(string(utf16.Decode(units)))
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

// lines cuts the artifact into lines and drives each.
func (d *reader) lines(br *bufio.Reader) error {
	var long []byte
	for {
		b, err := br.ReadSlice('\n')
		cut := false
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long[:0], b...)
			for errors.Is(err, bufio.ErrBufferFull) {
				b, err = br.ReadSlice('\n')
				if len(long) < maxLine {
					long = append(long, b...)
				} else {
					cut = true
				}
			}
			b = long
		}
		if len(b) > 0 {
			d.afterLine++
			b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
			if bytes.IndexByte(b, 0x1b) >= 0 {
				b = stripEscapes(b)
			}
			d.one(b)
			if cut {
				d.out.problem(record.Pos{Line: d.afterLine}, string(clip(b)), "line longer than 16 MiB, its rest was not read")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stripEscapes takes terminal colour sequences out of a pasted line.
func stripEscapes(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == 0x1b && i+1 < len(b) && b[i+1] == '[' {
			i += 2
			for i < len(b) && (b[i] < 0x40 || b[i] > 0x7e) {
				i++
			}
			continue
		}
		out = append(out, b[i])
	}
	return out
}

// one drives one line.
func (d *reader) one(b []byte) {
	d.out.line, d.out.text, d.out.settled = d.afterLine, b, false
	if d.doc != nil {
		if _, ok := parsePrompt(b); !ok {
			d.gather(b)
			return
		}
		d.closeDoc()
	}
	trimmed := bytes.TrimSpace(b)
	if p, ok := parsePrompt(b); ok {
		d.prompt(p)
		return
	}
	owned := d.cur != nil && d.owns(d.cur, trimmed)
	if !owned {
		if f := d.claim(trimmed); f != nil {
			d.open(f)
			owned = true
		} else if begin, isYAML := beginsDocument(trimmed, d.cur == nil, d.afterLine); begin && (d.cur == nil || b[0] == trimmed[0]) {
			d.docLine, d.docLines, d.docYAML, d.brackets = d.afterLine, 0, isYAML, depth{}
			d.doc = make([]byte, 0, 4096)
			d.gather(b)
			return
		}
	}
	switch {
	case !owned && noise(trimmed):
		d.sectionForNoise()
		d.out.Ignore()
	case d.cur != nil:
		d.line(b)
	default:
		d.unclaimed(trimmed)
		return
	}
	d.out.settle()
}

func (d *reader) owns(f *Format, trimmed []byte) bool {
	return len(trimmed) > 0 && f.Head != nil && f.Head(trimmed)
}

// claim finds another format than the current one to which a line can only belong.
func (d *reader) claim(trimmed []byte) *Format {
	if len(trimmed) == 0 {
		return nil
	}
	for i := range d.formats {
		if f := &d.formats[i]; f != d.cur && d.owns(f, trimmed) {
			return f
		}
	}
	if d.cur != nil || len(d.shell.words) == 0 {
		return nil
	}
	for i := range d.formats {
		if f := &d.formats[i]; f.Prints != nil && f.Prints(d.shell.words, trimmed) {
			return f
		}
	}
	return nil
}

// open begins a section of a format; nil begins one that nobody claims.
func (d *reader) open(f *Format) {
	d.finish()
	s := &record.Section{ID: d.next(), Artifact: d.artifact.ID, Line: max(d.out.line, 1), Scope: d.shell.scope, Command: d.shell.command}
	d.sections = append(d.sections, s)
	d.out = Out{sink: d.sink, artifact: d.artifact.Path, sec: s, line: d.out.line, text: d.out.text}
	d.cur = f
	if f == nil {
		return
	}
	s.Format = f.Name
	if f.Open != nil {
		d.line, d.end = f.Open(&d.out)
	}
}

// finish ends the current section.
func (d *reader) finish() {
	if d.doc != nil {
		d.closeDoc()
	}
	if d.end != nil {
		d.end()
		d.end = nil
	}
	d.cur, d.line = nil, nil
}

// prompt begins the output of another command.
func (d *reader) prompt(p prompt) {
	d.finish()
	d.shell = p
	if n := len(d.sections); n == 0 || d.sections[n-1].Format != "transcript" {
		d.open(nil)
		d.out.sec.Format = "transcript"
		d.out.sec.Scope, d.out.sec.Command = record.Scope{}, ""
	} else {
		d.out.sec = d.sections[n-1]
	}
	d.out.Understood()
	d.out.settle()
}

// sectionForNoise makes sure that there is a section to count a line in.
func (d *reader) sectionForNoise() {
	if d.out.sec == nil {
		d.open(nil)
	}
}

// unclaimed counts a line that no format claims. In a transcript, the output
// of a command that prints no listing is known to say nothing.
func (d *reader) unclaimed(trimmed []byte) {
	if d.out.sec == nil {
		d.open(nil)
	}
	d.out.sec.Lines++
	switch {
	case len(trimmed) == 0, d.out.sec.Format == "transcript" && !d.shell.listing:
		d.out.sec.Ignored++
	default:
		d.out.sec.Unknown++
		if d.out.sec.Format == "transcript" || d.out.problems == 0 {
			d.out.problem(record.Pos{Line: d.out.line}, string(clip(trimmed)), "no format claims this line")
		}
	}
}
