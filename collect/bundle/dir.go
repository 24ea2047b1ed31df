package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// dirFile is a file below a folder, or something there that is refused.
type dirFile struct {
	name    string // with slashes, below the folder
	refused string
}

// dirSource is a folder. os.Root keeps the reader inside of it, even when
// someone swaps a file for a link meanwhile.
type dirSource struct {
	g     *guard
	root  *os.Root
	files []dirFile
	i     int
	sum   hash.Hash
	cur   *os.File
	body  io.Reader
	curs  hash.Hash
}

func openDir(name string, g *guard) (source, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	files, err := walk(root, g)
	if err != nil {
		root.Close()
		return nil, err
	}
	return &dirSource{g: g, root: root, files: files, sum: sha256.New()}, nil
}

// walk lists what is below a folder, sorted by path.
func walk(root *os.Root, g *guard) ([]dirFile, error) {
	var files []dirFile
	count := 0
	for todo := []string{"."}; len(todo) > 0; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := list(root, dir, func(d fs.DirEntry) error {
			if count++; count > g.lim.Entries {
				return g.fail(fmt.Sprintf("has more than %d entries", g.lim.Entries), "open a folder below it")
			}
			name := path.Join(dir, d.Name())
			switch t := d.Type(); {
			case isNoise(strings.ToValidUTF8(name, "\uFFFD")):
			case t.IsDir():
				todo = append(todo, name)
			case t.IsRegular():
				files = append(files, dirFile{name: name})
			case t&fs.ModeSymlink != 0:
				files = append(files, dirFile{name, "a link, so not followed"})
			default:
				files = append(files, dirFile{name, "neither a file nor a folder, so not read"})
			}
			return nil
		})
		switch {
		case g.err != nil:
			return nil, g.err
		case err != nil && dir == ".":
			return nil, err
		case err != nil:
			files = append(files, dirFile{dir, "not read: " + cause(err)})
		}
	}
	slices.SortFunc(files, func(a, b dirFile) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// list calls f for what stands directly in a folder, in batches: a folder may
// hold more than the limit.
func list(root *os.Root, dir string, f func(fs.DirEntry) error) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		batch, err := d.ReadDir(1024)
		for _, e := range batch {
			if err := f(e); err != nil {
				return err
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

// cause leaves out the path, which the caller says already.
func cause(err error) string {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

// openIn opens one file of the list, or says why not.
func openIn(root *os.Root, f dirFile) (file *os.File, mod time.Time, refused string) {
	if f.refused != "" {
		return nil, mod, f.refused
	}
	file, err := root.Open(f.name)
	if err != nil {
		return nil, mod, "not read: " + cause(err)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, mod, "changed while the bundle was read"
	}
	return file, info.ModTime().UTC(), ""
}

// addFile adds a line to the hash of a folder: the hash of a file, or why there
// is none. No path holds a NUL.
func addFile(sum hash.Hash, name string, file hash.Hash, refused string) {
	if file != nil {
		refused = fmt.Sprintf("%x", file.Sum(nil))
	}
	fmt.Fprintf(sum, "%s\x00%s\n", name, refused)
}

func (d *dirSource) next() (item, error) {
	if d.cur != nil {
		io.Copy(io.Discard, d.body) // what the reader skipped
		addFile(d.sum, d.files[d.i-1].name, d.curs, "")
		d.cur.Close()
		d.cur = nil
	}
	if d.i == len(d.files) {
		return item{}, io.EOF
	}
	f := d.files[d.i]
	d.i++
	file, mod, refused := openIn(d.root, f)
	if refused != "" {
		addFile(d.sum, f.name, nil, refused)
		return item{name: f.name, skipped: refused}, nil
	}
	d.cur, d.curs = file, sha256.New()
	d.body = &meter{in: io.TeeReader(file, d.curs), add: func(n int) error {
		d.g.addRaw(n)
		return d.g.addStream(n)
	}}
	return item{name: f.name, mod: mod, body: d.body}, nil
}

func (d *dirSource) finish(*Reader) string { return fmt.Sprintf("%x", d.sum.Sum(nil)) }

func (d *dirSource) close() {
	if d.cur != nil {
		d.cur.Close()
	}
	d.root.Close()
}
