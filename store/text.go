package store

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"

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
