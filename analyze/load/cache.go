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
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n%s\n", store.SchemaVersion, opt.Key)
	for _, in := range inputs {
		if in == "-" {
			return ""
		}
		d, err := bundle.Digest(in)
		if err != nil {
			return ""
		}
		fmt.Fprintf(sum, "%s\n%s\n", d, in)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]) + ".db"
}

// cached opens the case from the cache, nil when it is not there.
func cached(inputs []string, opt Options) *Case {
	k := key(inputs, opt)
	if k == "" {
		return nil
	}
	file := filepath.Join(opt.Cache, k)
	s, err := store.Open(file)
	if err != nil {
		return nil
	}
	touch(file)
	c := &Case{Store: s}
	if c.readWarnings() != nil {
		s.Close()
		return nil
	}
	return c
}

// newCase makes the empty store for a load: beside the cache, else among the
// temporary files, else in memory. finish keeps or removes it.
func newCase(inputs []string, opt Options) (s *store.Store, name string, finish func(keep bool) string, err error) {
	k := key(inputs, opt)
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
		return s, temp, func(keep bool) string {
			if keep && final != "" && os.Rename(temp, final) == nil {
				prune(opt.Cache, final)
				return final
			}
			if !keep {
				os.Remove(temp)
			}
			return temp
		}, nil
	}
	s, err = store.Create(":memory:")
	return s, "", func(bool) string { return "" }, err
}

// reopen turns a filled store into a case for reading.
func reopen(s *store.Store, name string, finish func(bool) string, warnings []string) (*Case, error) {
	if name == "" {
		return &Case{Store: s, Warnings: warnings}, nil
	}
	if err := s.Close(); err != nil {
		finish(false)
		return nil, err
	}
	kept := finish(true)
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
	return &Case{Store: r, Warnings: warnings}, nil
}

// prune removes the longest unused cases while the cache is too large, and
// what a load that was cut off left behind.
func prune(dir, keep string) {
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
