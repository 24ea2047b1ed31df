package store

import (
	"bytes"
	"database/sql"
	"sort"
	"strings"
)

// keptBlocks is how many unpacked blocks are kept for the next quotes: answers
// quote the same artifacts again and again.
const keptBlocks = 256

// blockAt is where a block begins.
type blockAt struct {
	position, line int
	part           bool // inside that line
}

type blockKey struct{ artifact, position int }

// texts remembers where blocks begin, and the last ones unpacked.
type texts struct {
	index  map[int][]blockAt
	blocks map[blockKey][]byte
	order  []blockKey // oldest first
}

// Lines returns n lines of an artifact from line first, without line ends.
// Fewer are returned at the end of the artifact; a line longer than 64 KiB is
// cut.
func (s *Store) Lines(artifact, first, n int) ([]string, error) {
	index, err := s.blockIndex(artifact)
	if err != nil {
		return nil, err
	}
	at := sort.Search(len(index), func(i int) bool { return index[i].line > first }) - 1
	for at > 0 && index[at].part {
		at--
	}
	var out []string
	var open []byte // the line being read, which may go on in the next block
	isOpen := false
	for ; at >= 0 && at < len(index) && len(out) < n; at++ {
		text, err := s.block(artifact, index[at].position)
		if err != nil {
			return nil, err
		}
		for line := index[at].line; len(text) > 0 && len(out) < n; line++ {
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
		}
	}
	if isOpen && len(out) < n {
		out = append(out, strings.TrimSuffix(string(open), "\r"))
	}
	return out, nil
}

// blockIndex is where the blocks of an artifact begin.
func (s *Store) blockIndex(artifact int) ([]blockAt, error) {
	if s.texts.index == nil {
		s.texts = texts{index: map[int][]blockAt{}, blocks: map[blockKey][]byte{}}
	}
	if index, ok := s.texts.index[artifact]; ok {
		return index, nil
	}
	index, err := query(s, "SELECT position, line, part FROM block WHERE artifact = ? ORDER BY position", func(r *sql.Rows) (b blockAt, err error) {
		err = r.Scan(&b.position, &b.line, &b.part)
		return b, err
	}, artifact)
	if err == nil {
		s.texts.index[artifact] = index
	}
	return index, err
}

// block is the text of one block.
func (s *Store) block(artifact, position int) ([]byte, error) {
	key := blockKey{artifact, position}
	if text, ok := s.texts.blocks[key]; ok {
		return text, nil
	}
	st, err := s.stmt("SELECT text FROM block WHERE artifact = ? AND position = ?")
	if err != nil {
		return nil, err
	}
	var packed []byte
	if err := st.QueryRow(artifact, position).Scan(&packed); err != nil {
		return nil, err
	}
	text, err := unpack(packed, nil)
	if err != nil {
		return nil, err
	}
	if len(s.texts.order) >= keptBlocks {
		delete(s.texts.blocks, s.texts.order[0])
		s.texts.order = s.texts.order[1:]
	}
	s.texts.blocks[key], s.texts.order = text, append(s.texts.order, key)
	return text, nil
}
