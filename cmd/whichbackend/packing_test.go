package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// connections gives the connections of an answer as they are written.
func connections(t testing.TB, r result) string {
	t.Helper()
	var a struct{ Connections json.RawMessage }
	if err := json.Unmarshal([]byte(r.out), &a); err != nil {
		t.Fatalf("%v: %s%s", err, r.out, r.stderr)
	}
	return string(a.Connections)
}

// TestPacking: however a bundle is packed, the connections are the same bytes.
func TestPacking(t *testing.T) {
	for _, fixture := range []string{"swarm", "cilium-1.14"} {
		t.Run(fixture, func(t *testing.T) {
			t.Parallel()
			files := unpack(t, fixture)
			want := connections(t, cli(t, "ask", fixtures+"/"+fixture+"/bundle.tar.gz", "-o", "json"))
			if len(want) < 10000 {
				t.Fatal("too few connections: ", want)
			}
			reversed := slices.Clone(files)
			slices.Reverse(reversed)
			shuffled := slices.Clone(files)
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			for _, order := range []struct {
				name  string
				files []file
			}{{"as recorded", files}, {"reversed", reversed}, {"shuffled", shuffled}} {
				for _, wrap := range []string{"", "bundle/", "out/in/", "./"} {
					list := slices.Clone(order.files)
					for i := range list {
						list[i].name = wrap + list[i].name
					}
					for name, pack := range packers(t, list) {
						if order.name != "as recorded" && name == "folder" || wrap == "./" && name != "x.tar" || testing.Short() && name != "x.tar" && name != "folder" {
							continue
						}
						path := filepath.Join(t.TempDir(), name)
						pack(path)
						if got := connections(t, cli(t, "ask", path, "-o", "json", "--no-cache")); got != want {
							t.Errorf("%s in %q as %s: other connections: %s", order.name, wrap, name, firstDifference(want, got))
						}
					}
				}
			}
		})
	}
}

// packers write files to a path in each form that a bundle may have.
func packers(t testing.TB, files []file) map[string]func(path string) {
	save := func(pack func() []byte) func(string) {
		return func(path string) { noError(t, os.WriteFile(path, pack(), 0o644)) }
	}
	return map[string]func(string){
		"x.tar":     save(func() []byte { return packTar(t, files...) }),
		"x.tar.gz":  save(func() []byte { return packGzip(t, packTar(t, files...)) }),
		"x.tar.zst": save(func() []byte { return packZstd(t, packTar(t, files...)) }),
		"x.zip":     save(func() []byte { return packZip(t, files...) }),
		"folder": func(path string) {
			for _, f := range files {
				write(t, path, f.name, f.text)
			}
		},
	}
}

func firstDifference(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	cut := func(s string) string { return s[max(n-100, 0):min(n+100, len(s))] }
	return "\n" + cut(a) + "\nbut\n" + cut(b)
}

// TestSameBytes: the same input gives the same output, all of it, from the
// cache or not and on one core or two.
func TestSameBytes(t *testing.T) {
	bundle := fixtures + "/swarm/bundle.tar.gz"
	for _, args := range [][]string{{"ask", bundle}, {"ask", bundle, "-o", "json"}, {"ask", bundle, "-o", "wide"}, {"ask", bundle, "-o", "yaml"},
		{"ask", bundle, "-o", "mermaid"}, {"inspect", bundle, "-o", "json"}, {"sql", bundle, "SELECT * FROM translations", "-o", "csv"}} {
		want := cli(t, append(args, "--no-cache")...)
		for _, cores := range []int{1, 2} {
			old := runtime.GOMAXPROCS(cores)
			for _, more := range [][]string{nil, {"--no-cache"}} {
				if got := cli(t, append(slices.Clone(args), more...)...); got != want {
					t.Errorf("%q %q on %d cores: %s", args, more, cores, firstDifference(want.out, got.out))
				}
			}
			runtime.GOMAXPROCS(old)
		}
	}
}
