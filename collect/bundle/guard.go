package bundle

import (
	"fmt"
	"io"
)

// guard counts what a bundle asks for. Its first error is kept and ends the
// reading, whatever the layers between make of it.
type guard struct {
	path    string
	lim     Limits
	entries int
	names   int64
	raw     int64 // bytes of the bundle itself
	stream  int64 // bytes after the archive's own compression
	packed  int64 // bytes of bodies: the holes of a sparse file are not in the stream
	out     int64 // bytes of bodies handed out, after the entries' own compression
	err     error
}

const (
	doPart  = "unpack what you need into a folder and open that"
	doCheck = "do not trust it; record the bundle again, or unpack what you need into a folder and open that"
)

func (g *guard) fail(why, do string) error {
	if g.err == nil {
		g.err = &Error{Path: g.path, Why: why, Do: do}
	}
	return g.err
}

// addEntry takes the name as it stands in the bundle.
func (g *guard) addEntry(name string) error {
	g.entries++
	g.names += int64(len(name))
	switch {
	case g.entries > g.lim.Entries:
		return g.fail(fmt.Sprintf("has more than %d entries", g.lim.Entries), doPart)
	case len(name) > g.lim.NameLength:
		return g.fail(fmt.Sprintf("an entry has a name of %d bytes, more than %d", len(name), g.lim.NameLength), doCheck)
	case g.names > namesSize:
		return g.fail(fmt.Sprintf("the names of its entries take more than %d bytes", int64(namesSize)), doPart)
	}
	return nil
}

func (g *guard) addRaw(n int) error {
	g.raw += int64(n)
	return g.total(g.raw)
}

func (g *guard) addStream(n int) error {
	g.stream += int64(n)
	if err := g.total(g.stream); err != nil {
		return err
	}
	return g.ratio("", g.stream, g.raw)
}

// addPacked takes the size of the body so far besides the new bytes, before the
// entry's own compression is undone.
func (g *guard) addPacked(n int, name string, size int64) error {
	g.packed += int64(n)
	if size > g.lim.EntrySize {
		return g.tooLarge(name)
	}
	if err := g.total(g.packed); err != nil {
		return err
	}
	return g.ratio("", g.packed, g.raw)
}

// addOut takes the sizes of the body so far, before and after.
func (g *guard) addOut(n int, name string, packed, unpacked int64) error {
	g.out += int64(n)
	if unpacked > g.lim.EntrySize {
		return g.tooLarge(name)
	}
	if err := g.total(g.out); err != nil {
		return err
	}
	if err := g.ratio(name, unpacked, packed); err != nil {
		return err
	}
	return g.ratio("", g.out, g.raw)
}

func (g *guard) tooLarge(name string) error {
	return g.fail(fmt.Sprintf("entry %q has more than %d bytes", name, g.lim.EntrySize), doPart)
}

func (g *guard) total(n int64) error {
	if n > g.lim.TotalSize {
		return g.fail(fmt.Sprintf("has more than %d bytes in all", g.lim.TotalSize), doPart)
	}
	return g.err
}

// ratio is told the entry's name, or none for the whole bundle.
func (g *guard) ratio(name string, out, in int64) error {
	if out <= ratioFloor || out/g.lim.Ratio <= in {
		return g.err
	}
	why := fmt.Sprintf("unpacks to more than %d times its size", g.lim.Ratio)
	if name != "" {
		why = fmt.Sprintf("entry %q %s", name, why)
	}
	return g.fail(why, doCheck)
}

// meter counts what is read through it.
type meter struct {
	in  io.Reader
	add func(n int) error
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.in.Read(p)
	if e := m.add(n); e != nil {
		return 0, e
	}
	return n, err
}

// disk passes the bytes of a file or of standard input on. An error of the
// disk is no damage of the bundle and must not be taken for one.
type disk struct {
	in io.Reader
	g  *guard
}

func (d *disk) Read(p []byte) (int, error) {
	n, err := d.in.Read(p)
	if err != nil && err != io.EOF && d.g.err == nil {
		d.g.err = err
	}
	return n, err
}
