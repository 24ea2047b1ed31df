// Package bundle reads and writes bundles: the archives and folders of
// listings, logs and captures that whichbackend answers from.
//
// Whatever a person was able to record is a bundle: a tar, plain or compressed
// with gzip or zstd, a zip, a folder, or a single file. What it is is told by
// its content, never by its name.
//
// The package never extracts to disk, never follows a link, never trusts a
// size that a header claims, never holds an entry in memory (the manifest
// excepted), and never looks into what the entries say.
package bundle

import (
	"io"
	"time"
)

// Limits bound what a bundle may ask of the reader. A field that is zero or
// negative takes its value from DefaultLimits.
type Limits struct {
	// Entries counts files and folders, also those that are skipped.
	Entries int
	// EntrySize is in bytes, after decompression.
	EntrySize int64
	// TotalSize is in bytes, after decompression, of all entries together.
	TotalSize int64
	// Ratio of uncompressed to compressed bytes. It is judged only after 64 MiB
	// of output, as small files of zeros are common and harmless.
	Ratio int64
	// NameLength is in bytes, of the whole path of an entry.
	NameLength int
}

// ratioFloor is the output below which no ratio is judged.
const ratioFloor = 64 << 20

// namesSize bounds the sum of all names, which are kept until the end of the
// bundle to find duplicates; a tar of a few KiB could claim gigabytes of them.
const namesSize = 256 << 20

// DefaultLimits fit what is recorded in earnest: a thousand nodes with a
// thousand listings each, one capture of 4 GiB, 16 GiB in all. Listings shrink
// 10 to 20 times and logs up to 100; captures full of zeros reach 1000, which
// is where deflate ends.
func DefaultLimits() Limits {
	return Limits{
		Entries:    1_000_000,
		EntrySize:  4 << 30,
		TotalSize:  16 << 30,
		Ratio:      1000,
		NameLength: 4096,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	if l.EntrySize <= 0 {
		l.EntrySize = d.EntrySize
	}
	if l.TotalSize <= 0 {
		l.TotalSize = d.TotalSize
	}
	if l.Ratio <= 0 {
		l.Ratio = d.Ratio
	}
	if l.NameLength <= 0 {
		l.NameLength = d.NameLength
	}
	return l
}

// Entry is one file of a bundle.
type Entry struct {
	// Path is as in the archive, clean, with slashes and without a leading "./".
	// It includes the folders that Reader.Wrapper names.
	Path string
	// ModTime is in UTC, and zero when the bundle does not tell.
	ModTime time.Time
	// Reader gives the content, decompressed when the entry itself is gzip or
	// zstd. It is good until the next call of Next and need not be read to the
	// end. An entry that was cut ends with io.EOF and leaves a warning; an error
	// here is one that ends the whole bundle, and Next returns it too.
	io.Reader
	// SHA256 gives, after io.EOF and before the next call of Next, the hex hash
	// of what Reader gave. It is nil for an entry that is compressed itself:
	// the bundle hashes what stands in it.
	SHA256 func() string
}

// Error says that a bundle is unsafe or unusable as a whole.
type Error struct {
	Path string // of the bundle, as it was given
	Why  string
	Do   string // what to do next
}

// Error gives the three parts in one line.
func (e *Error) Error() string {
	return printable(e.Path + ": " + e.Why + "; " + e.Do)
}
