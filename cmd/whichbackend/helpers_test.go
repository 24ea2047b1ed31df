package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const fixtures = "../../fixtures"

// TestMain keeps the cache of the person who tests out of it, and is the
// program itself for tests that need it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("WHICHBACKEND_RUN") != "" {
		main()
	}
	dir, err := os.MkdirTemp("", "whichbackend-test")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_CACHE_HOME", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// result is what one run gave.
type result struct {
	code        int
	out, stderr string
}

// cli runs the program with nothing on standard input.
func cli(t testing.TB, args ...string) result {
	t.Helper()
	return cliIn(t, "", args...)
}

func cliIn(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(context.Background(), strings.NewReader(stdin), &out, &errs, args)
	return result{code, out.String(), errs.String()}
}

// must runs the program and holds its status.
func must(t testing.TB, code int, args ...string) result {
	t.Helper()
	r := cli(t, args...)
	if r.code != code {
		t.Fatalf("%q: exit status %d, want %d\n%s", args, r.code, code, r.stderr)
	}
	return r
}

// object decodes JSON into what any program would see.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var v map[string]any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return v
}

// write writes a file below a temporary folder and gives its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	noError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	noError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// file is one file of a bundle.
type file struct{ name, text string }

// unpack reads a fixture's files, without the folder that wraps them.
func unpack(t testing.TB, fixture string) []file {
	t.Helper()
	f, err := os.Open(filepath.Join(fixtures, fixture, "bundle.tar.gz"))
	noError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	noError(t, err)
	var out []file
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		noError(t, err)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(r)
		noError(t, err)
		_, name, ok := strings.Cut(h.Name, "/")
		if !ok {
			t.Fatal("not wrapped: ", h.Name)
		}
		out = append(out, file{name, string(text)})
	}
}

func packTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		noError(t, w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.text)), Mode: 0o644}))
		_, err := io.WriteString(w, f.text)
		noError(t, err)
	}
	noError(t, w.Close())
	return b.Bytes()
}

func packGzip(t testing.TB, in []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(in)
	noError(t, err)
	noError(t, w.Close())
	return b.Bytes()
}

func packZstd(t testing.TB, in []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	noError(t, err)
	return w.EncodeAll(in, nil)
}

func packZip(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		e, err := w.Create(f.name)
		noError(t, err)
		_, err = io.WriteString(e, f.text)
		noError(t, err)
	}
	noError(t, w.Close())
	return b.Bytes()
}

// The listings of a client and a node: one translated connection.
const (
	netstatText = `Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State
tcp        0      0 10.244.0.13:52372       10.96.72.53:80          ESTABLISHED
`
	conntrackText = `tcp      6 86374 ESTABLISHED src=10.244.0.13 dst=10.96.72.53 sport=52372 dport=80 src=10.244.0.6 dst=10.244.0.13 sport=80 dport=52372 [ASSURED] mark=0 use=1
`
	serverText = `Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State
tcp        0      0 0.0.0.0:80              0.0.0.0:*               LISTEN
tcp        0      0 10.244.0.6:80           10.244.0.13:52372       ESTABLISHED
`
)

// smallCase writes a case of three listings.
func smallCase(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "node1/pods/default/client/netstat.txt", netstatText)
	write(t, dir, "node1/conntrack.txt", conntrackText)
	write(t, dir, "node1/pods/default/nginx-1/netstat.txt", serverText)
	return dir
}
