package capture

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// spool is a file without a name, so that nothing stays behind however a run ends.
type spool struct {
	f     *os.File
	buf   []byte // whole records that are not in the file yet
	size  int64  // of the file, always at a record's end
	limit int64
}

// errFull says that the next record does not fit the limit.
var errFull = errors.New("the capture is as large as it may be")

func newSpool(dir string, limit int64) (*spool, error) {
	f, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	return &spool{f: f, limit: limit}, nil
}

// add takes a record as it is, or not at all. Room is what must be left after it.
func (s *spool) add(room int64, record func(out []byte) []byte) error {
	begin := len(s.buf)
	s.buf = record(s.buf)
	if s.size+int64(len(s.buf))+room > s.limit {
		s.buf = s.buf[:begin]
		return errFull
	}
	if len(s.buf) < 64<<10 {
		return nil
	}
	return s.flush()
}

// flush writes what is held. When the disk is full, the file ends before it.
func (s *spool) flush() error {
	n, err := s.f.WriteAt(s.buf, s.size)
	s.buf = s.buf[:0]
	if err != nil {
		s.f.Truncate(s.size)
		return err
	}
	s.size += int64(n)
	return nil
}

// reader gives the file from its beginning.
func (s *spool) reader() io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(s.f, 0, s.size), s.f}
}

// unnamed makes a file in a folder that never has a name, or, where the file
// system has no such files, not for long.
func unnamed(dir string) (*os.File, error) {
	if f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp(dir, ".whichbackend-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
