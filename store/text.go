package store

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// blockSize is how much text one block holds before compression: small enough
// that a quoted line costs little, large enough to compress well.
const blockSize = 128 << 10

var (
	encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
)

// maxQuote bounds one quoted line, in bytes.
const maxQuote = 64 << 10

// textWriter cuts the text of an artifact into blocks, at line ends where a
// line is not longer than a block.
type textWriter struct {
	l        *loader
	artifact int
	position int
	line     int // number of the line in which buf begins
	part     bool
	buf      []byte
}

// Write takes more text.
func (w *textWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	for len(w.buf) >= blockSize {
		cut := bytes.LastIndexByte(w.buf, '\n') + 1
		if cut == 0 {
			cut = len(w.buf)
		}
		w.block(w.buf[:cut])
		w.buf = append(w.buf[:0], w.buf[cut:]...)
	}
	return len(p), nil
}

// Close writes the last block.
func (w *textWriter) Close() error {
	if len(w.buf) > 0 {
		w.block(w.buf)
	}
	w.buf = nil
	return w.l.err
}

func (w *textWriter) block(text []byte) {
	w.l.keep(w.l.blocks.add(w.artifact, w.position, w.line, w.part, encoder.EncodeAll(text, nil)))
	w.position++
	w.line += bytes.Count(text, []byte("\n"))
	w.part = text[len(text)-1] != '\n'
}

// errText says that the text of an artifact cannot be unpacked.
var errText = errors.New("the text of an artifact is damaged")

// unpack appends the text of a block.
func unpack(packed, to []byte) ([]byte, error) {
	text, err := decoder.DecodeAll(packed, to)
	if err != nil {
		err = fmt.Errorf("%w: %w", errText, err)
	}
	return text, err
}

// Lines returns n lines of an artifact from line first, without line ends.
// Fewer are returned at the end of the artifact; a line longer than 64 KiB is
// cut.
func (s *Store) Lines(artifact, first, n int) ([]string, error) {
	st, err := s.stmt(`SELECT line, text FROM block WHERE artifact = ?1 AND position >=
		(SELECT max(position) FROM block WHERE artifact = ?1 AND line <= ?2 AND NOT part) ORDER BY position`)
	if err != nil {
		return nil, err
	}
	rows, err := st.Query(artifact, first)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	var open []byte // the line being read, which may go on in the next block
	isOpen := false
	for len(out) < n && rows.Next() {
		var line int
		var packed []byte
		if err := rows.Scan(&line, &packed); err != nil {
			return nil, err
		}
		text, err := unpack(packed, nil)
		if err != nil {
			return nil, err
		}
		for len(text) > 0 && len(out) < n {
			l, rest, whole := bytes.Cut(text, []byte("\n"))
			if line >= first {
				open = append(open, l[:min(len(l), maxQuote-min(len(open), maxQuote))]...)
				isOpen = !whole
				if whole {
					out = append(out, strings.TrimSuffix(string(open), "\r"))
					open = open[:0]
				}
			}
			text = rest
			line++
		}
	}
	if isOpen && len(out) < n {
		out = append(out, strings.TrimSuffix(string(open), "\r"))
	}
	return out, rows.Err()
}

// Whole returns the text of an artifact, at least its first limit bytes, for
// looking up a JSON pointer.
func (s *Store) Whole(artifact int, limit int) ([]byte, error) {
	st, err := s.stmt("SELECT text FROM block WHERE artifact = ? ORDER BY position")
	if err != nil {
		return nil, err
	}
	rows, err := st.Query(artifact)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []byte
	for len(out) < limit && rows.Next() {
		var packed []byte
		if err := rows.Scan(&packed); err != nil {
			return nil, err
		}
		if out, err = unpack(packed, out); err != nil {
			return nil, err
		}
	}
	return out, rows.Err()
}

// Copy writes the whole text of an artifact.
func (s *Store) Copy(artifact int, w io.Writer) error {
	return each(s, "SELECT text FROM block WHERE artifact = ? ORDER BY position", func(r *sql.Rows) error {
		var packed []byte
		if err := r.Scan(&packed); err != nil {
			return err
		}
		text, err := unpack(packed, nil)
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}, artifact)
}
