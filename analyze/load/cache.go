package load

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"whichbackend/collect/bundle"
	"whichbackend/store"
)

// maxCache bounds the cache folder, in bytes; the longest unused cases go first.
const maxCache = 4 << 30

// key names the case of these inputs in the cache, "" when it cannot be kept.
func key(inputs []string, opt Options) string {
	if opt.Cache == "" {
		return ""
	}
	digests := make([]string, len(inputs))
	for i, in := range inputs {
		// A pipe can be read only once.
		if info, err := os.Stat(in); err != nil || in == "-" || !info.Mode().IsRegular() && !info.IsDir() {
			return ""
		}
		var err error
		if digests[i], err = bundle.Digest(in); err != nil {
			return ""
		}
	}
	return keyOf(inputs, digests, opt)
}

func keyOf(inputs, digests []string, opt Options) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n%s\n", store.SchemaVersion, opt.Key)
	for i, in := range inputs {
		fmt.Fprintf(sum, "%s\n%s\n", digests[i], in)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]) + ".db"
}

// cached opens the case from the cache, nil when it is not there.
func cached(k string, opt Options) *Case {
	if k == "" {
		return nil
	}
	file := filepath.Join(opt.Cache, k)
	s, err := store.Open(file)
	if err != nil {
		return nil
	}
	touch(file)
	c := &Case{Store: s, kept: file}
	if c.readRemarks() != nil {
		s.Close()
		return nil
	}
	return c
}

// Drop throws a case away that came from the cache and turned out damaged, so
// that the next Open loads it again. It is false for any other case.
func (c *Case) Drop() bool {
	return c.kept != "" && os.Remove(c.kept) == nil
}

// newCase makes the empty store for a load: beside the cache, else among the
// temporary files, else in memory. finish is told the key of what was read, and
// keeps the case where that is k; "" removes it.
func newCase(k string, opt Options) (s *store.Store, name string, finish func(read string) string, err error) {
	for _, dir := range []string{opt.Cache, os.TempDir()} {
		if dir == "" || dir == opt.Cache && (k == "" || os.MkdirAll(dir, 0o700) != nil) {
			continue
		}
		f, err := os.CreateTemp(dir, "whichbackend-*.tmp")
		if err != nil {
			continue
		}
		temp := f.Name()
		f.Close()
		os.Remove(temp)
		s, err := store.Create(temp)
		if err != nil {
			os.Remove(temp)
			continue
		}
		final := ""
		if dir == opt.Cache {
			final = filepath.Join(dir, k)
		}
		return s, temp, func(read string) string {
			// An input that changed before it was read is not what k names.
			if read == k && final != "" && os.Rename(temp, final) == nil {
				prune(opt.Cache, final)
				return final
			}
			if read == "" {
				os.Remove(temp)
			}
			return temp
		}, nil
	}
	s, err = store.Create(":memory:")
	return s, "", func(string) string { return "" }, err
}

// reopen turns a filled store into a case for reading.
func (f *filler) reopen(name string, opt Options, finish func(string) string) (*Case, error) {
	c := &Case{Store: f.s, Warnings: f.warnings, Damaged: f.damaged, notes: f.notes}
	if name == "" {
		return c, nil
	}
	if err := f.s.Close(); err != nil {
		finish("")
		return nil, err
	}
	kept := finish(keyOf(f.names, f.digests, opt))
	r, err := store.Open(kept)
	if err != nil {
		os.Remove(kept)
		return nil, err
	}
	if kept == name {
		// Temporary: the open file outlives its name, and nothing is left
		// behind however the program ends.
		os.Remove(kept)
	}
	c.Store = r
	return c, nil
}

// prune removes the longest unused cases while the cache is too large, and
// what a load that was cut off left behind.
func prune(dir, keep string) {
	temps, _ := filepath.Glob(filepath.Join(dir, "whichbackend-*.tmp"))
	for _, f := range temps {
		if st, err := os.Stat(f); err == nil && time.Since(st.ModTime()) > 24*time.Hour {
			os.Remove(f)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.db"))
	type entry struct {
		name string
		size int64
		used int64
	}
	var entries []entry
	var total int64
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			entries = append(entries, entry{f, st.Size(), st.ModTime().UnixNano()})
			total += st.Size()
		}
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].used < entries[j].used })
	for _, e := range entries {
		if total <= maxCache {
			break
		}
		if e.name != keep && os.Remove(e.name) == nil {
			total -= e.size
		}
	}
}

// touch marks a case as used now.
func touch(file string) {
	now := time.Now()
	os.Chtimes(file, now, now)
}
