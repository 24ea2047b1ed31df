package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// kept lists the cache folder.
func kept(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "whichbackend", "*"))
	noError(t, err)
	return files
}

func cacheFolder(t testing.TB) string {
	dir := t.TempDir()
	t.(*testing.T).Setenv("XDG_CACHE_HOME", dir)
	return dir
}

// TestCache: a case is kept once, found again, and loaded again whatever
// happens to the file.
func TestCache(t *testing.T) {
	dir := cacheFolder(t)
	bundle := fixtures + "/swarm/bundle.tar.gz"
	want := must(t, 0, "ask", bundle, "--from", "10.0.1.3", "--no-cache")
	if len(kept(t, dir)) != 0 {
		t.Fatal("--no-cache keeps ", kept(t, dir))
	}
	again := func(what string) {
		t.Helper()
		if got := cli(t, "ask", bundle, "--from", "10.0.1.3"); got != want {
			t.Errorf("%s: exit status %d\n%s%s", what, got.code, got.out, got.stderr)
		}
		if files := kept(t, dir); len(files) != 1 {
			t.Fatalf("%s: kept %v", what, files)
		}
	}
	again("first")
	file := kept(t, dir)[0]
	info, err := os.Stat(file)
	noError(t, err)
	folder, err := os.Stat(filepath.Dir(file))
	noError(t, err)
	if info.Mode().Perm() != 0o600 || folder.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), folder.Mode())
	}
	again("second")
	if now, err := os.Stat(file); err != nil || !os.SameFile(info, now) {
		t.Error("loaded a second time", err)
	}
	whole, err := os.ReadFile(file)
	noError(t, err)
	for name, text := range map[string][]byte{
		"empty": {}, "cut": whole[:len(whole)/2], "cut by a page": whole[:len(whole)-8192], "header": whole[:100], "noise": bytes.Repeat([]byte("noise"), 10000),
		"pages of noise": append(bytes.Clone(whole[:8192]), bytes.Repeat([]byte{0xff}, len(whole)-8192)...),
	} {
		noError(t, os.WriteFile(file, text, 0o600))
		again(name)
	}
	alter(t, file, "PRAGMA user_version=99")
	again("another schema")
	alter(t, file, "DELETE FROM meta WHERE key = 'finished'")
	again("cut off")
	must(t, 0, "inspect", bundle)
	again("inspected")
}

// TestCacheByContent: what has changed is loaded again, by its content and not
// by its name or time.
func TestCacheByContent(t *testing.T) {
	dir := cacheFolder(t)
	bundle := smallCase(t)
	if r := must(t, 0, "ask", bundle); !strings.Contains(r.out, "10.244.0.6:80") {
		t.Error(r.out)
	}
	file := filepath.Join(bundle, "node1/conntrack.txt")
	info, err := os.Stat(file)
	noError(t, err)
	write(t, bundle, "node1/conntrack.txt", strings.ReplaceAll(conntrackText, "10.244.0.6", "10.244.0.7"))
	noError(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
	if r := must(t, 0, "ask", bundle); !strings.Contains(r.out, "10.244.0.7:80") {
		t.Error(r.out)
	}
	if n := len(kept(t, dir)); n != 2 {
		t.Error(n, "cases are kept")
	}
	old := filepath.Join(dir, "whichbackend", "whichbackend-1.tmp")
	noError(t, os.WriteFile(old, nil, 0o600))
	noError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-48*time.Hour)))
	must(t, 0, "ask", bundle, file)
	if _, err := os.Stat(old); err == nil {
		t.Error("what a load left behind two days ago is still there")
	}
}

// TestNoCacheFolder: with no folder to keep cases in, nothing is kept.
func TestNoCacheFolder(t *testing.T) {
	bundle := smallCase(t)
	want := must(t, 0, "ask", bundle, "--no-cache")
	dir := t.TempDir()
	blocked := write(t, dir, "file", "")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(blocked, "below"))
	for _, env := range []string{filepath.Join(blocked, "below"), filepath.Join(dir, "readonly"), "relative", ""} {
		if strings.HasSuffix(env, "readonly") {
			noError(t, os.Mkdir(env, 0o500))
		}
		t.Setenv("XDG_CACHE_HOME", env)
		if env == "" {
			t.Setenv("HOME", "")
			t.Setenv("TMPDIR", filepath.Join(dir, "no", "such"))
		}
		if got := cli(t, "ask", bundle); got != want {
			t.Errorf("%q: exit status %d\n%s%s", env, got.code, got.out, got.stderr)
		}
	}
}

// TestTwoAtOnce: processes that load the same case at once both answer.
func TestTwoAtOnce(t *testing.T) {
	dir := cacheFolder(t)
	bundle := fixtures + "/swarm/bundle.tar.gz"
	want := must(t, 0, "ask", bundle, "--no-cache").out
	exe, err := os.Executable()
	noError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			cmd := exec.Command(exe, "ask", bundle)
			cmd.Env = append(os.Environ(), "WHICHBACKEND_RUN=1")
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil || string(out) != want {
				t.Errorf("%v: %s%s", err, out, errs.String())
			}
		})
	}
	wg.Wait()
	if files := kept(t, dir); len(files) != 1 {
		t.Error(files)
	}
}
