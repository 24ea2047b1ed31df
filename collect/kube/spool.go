package kube

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
)

// spool holds what a command printed until it goes into the bundle, so that
// several commands can run at once: in a temporary file that has no name any
// more. It keeps at most limit bytes.
type spool struct {
	f     *os.File
	limit int64
	size  int64
	line  int64 // the end of the last whole line
	full  bool
	err   error  // of writing
	stop  func() // ends the command, when it is full
}

var errFull = errors.New("more than its limit")

func newSpool(limit int64) (*spool, error) {
	f, err := os.CreateTemp("", ".whichbackend-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	return &spool{f: f, limit: limit}, nil
}

func (s *spool) Write(p []byte) (int, error) {
	room := min(int64(len(p)), s.limit-s.size)
	n, err := s.f.Write(p[:room])
	if i := bytes.LastIndexByte(p[:n], '\n'); i >= 0 {
		s.line = s.size + int64(i) + 1
	}
	s.size += int64(n)
	if err != nil {
		s.err = err
		return n, err
	}
	if n < len(p) {
		s.full = true
		if s.stop != nil {
			s.stop()
		}
		return n, errFull
	}
	return n, nil
}

// cut drops what stands behind the last whole line: nobody knows whether the
// command had more to say there.
func (s *spool) cut() { s.size = min(s.size, s.line) }

func (s *spool) reader() io.Reader { return io.NewSectionReader(s.f, 0, s.size) }

func (s *spool) close() { s.f.Close() }

// head keeps the first bytes that are written to it.
type head struct{ strings.Builder }

func (h *head) Write(p []byte) (int, error) {
	h.Builder.Write(p[:min(len(p), max(0, 4096-h.Len()))])
	return len(p), nil
}
