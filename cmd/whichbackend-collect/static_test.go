package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestStatic holds what lets the program run anywhere: one file of less than
// 12 MB that needs no other.
func TestStatic(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		name := filepath.Join(t.TempDir(), arch)
		c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", name, ".")
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", arch, err, out)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() >= 12_000_000 {
			t.Errorf("%s: %d bytes", arch, info.Size())
		}
		f, err := elf.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if libs, err := f.ImportedLibraries(); len(libs) > 0 || err != nil {
			t.Errorf("%s: needs %v, %v", arch, libs, err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s: needs a dynamic linker", arch)
			}
		}
	}
}
