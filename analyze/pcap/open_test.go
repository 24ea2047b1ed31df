package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gzipOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdOf(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func TestIsAndSniff(t *testing.T) {
	o := binary.BigEndian
	var captures [][]byte
	for _, o := range orders {
		captures = append(captures, ngSection(o))
		for _, magic := range []uint32{magicMicro, magicNano, magicModified, magicIxiaHard, magicIxiaSoft} {
			captures = append(captures, classicHead(o, magic, 2, 4, 0, 1))
		}
	}
	for _, c := range captures {
		for _, n := range []int{4, 8, 12, len(c)} {
			if !Is(c[:n]) || !Sniff(c[:n]) {
				t.Errorf("% x is no capture", c[:n])
			}
		}
		if Is(c[:3]) || Sniff(c[:3]) {
			t.Errorf("% x is one already", c[:3])
		}
		if packed := gzipOf(t, c); !Sniff(packed) || Is(packed) {
			t.Errorf("% x is not found in gzip", c)
		}
		if packed := zstdOf(t, c); !Sniff(packed) || Is(packed) {
			t.Errorf("% x is not found in zstd", c)
		}
	}
	for _, text := range []string{"", "\n\r\r\n", "some text that is no capture", "\n\r\r\n\x00\x00\x00\x1ctext"} {
		if want := text == "\n\r\r\n"; Sniff([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
		if Sniff(gzipOf(t, []byte("x"+text))) || Sniff(zstdOf(t, []byte("x"+text))) {
			t.Errorf("%q is found in what is packed", text)
		}
	}
	big := slices.Concat(classicHead(o, magicMicro, 2, 4, 0, 1), noise(300<<10))
	if !Sniff(gzipOf(t, big)[:4096]) {
		t.Error("4 KiB of gzip are not enough")
	}
	if !Sniff(zstdOf(t, big)[:SniffSize]) {
		t.Error("SniffSize is not enough for zstd")
	}
}

// noise is what no packing makes smaller.
func noise(n int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	out := make([]byte, n)
	source.Read(out)
	return out
}

func TestPacked(t *testing.T) {
	file := everything(binary.LittleEndian, binary.BigEndian)
	half := len(file) / 2
	for name, packed := range map[string][]byte{
		"gzip":             gzipOf(t, file),
		"gzip in members":  append(gzipOf(t, file[:half]), gzipOf(t, file[half:])...),
		"gzip in tiny one": append(gzipOf(t, file[:3]), gzipOf(t, file[3:])...),
		"zstd":             zstdOf(t, file),
		"zstd in frames":   append(zstdOf(t, file[:half]), zstdOf(t, file[half:])...),
		"zstd after pzstd": append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), zstdOf(t, file)...),
	} {
		r, packets := readAll(t, packed)
		if len(packets) != 5 || r.Truncated() || len(r.Names()) != 3 {
			t.Errorf("%s: %d packets, truncated %v, %d names", name, len(packets), r.Truncated(), len(r.Names()))
		}
	}
}

// A packed file that is cut or damaged gives what is before that.
func TestPackedTruncated(t *testing.T) {
	o := binary.LittleEndian
	file := classicHead(o, magicMicro, 2, 4, 0, 1)
	const packets = 600
	for i := range packets {
		file = append(file, classicRecord(o, uint32(i), 0, 1000, 1000, noise(1000))...)
	}
	for name, packed := range map[string][]byte{"gzip": gzipOf(t, slices.Concat(file, noise(9))), "zstd": zstdOf(t, file)} {
		r, got := readAll(t, packed[:len(packed)*3/4])
		if !r.Truncated() || len(got) < packets/4 || len(got) == packets {
			t.Errorf("%s: truncated %v, %d packets", name, r.Truncated(), len(got))
		}
		wantRemark(t, r, "the capture was cut off")
	}
	whole := gzipOf(t, file)
	r, got := readAll(t, whole[:len(whole)-4])
	if len(got) != packets || !r.Truncated() {
		t.Errorf("without the end of gzip: %d packets, truncated %v", len(got), r.Truncated())
	}
	wantRemark(t, r, "packed file ends early")
	for name, packed := range map[string][]byte{"gzip": whole, "zstd": zstdOf(t, file)} {
		packed[len(packed)-2] ^= 0xff
		r, got := readAll(t, packed)
		if len(got) < packets/2 || r.Truncated() {
			t.Errorf("%s with a wrong checksum: %d packets, truncated %v", name, len(got), r.Truncated())
		}
		wantRemark(t, r, "cannot be unpacked after byte")
	}
	if r, got := readAll(t, append(gzipOf(t, file), "and text"...)); len(got) != packets || len(r.Remarks()) != 1 {
		t.Errorf("with text behind: %d packets, remarks %q", len(got), remarks(r))
	}
}

// A frame of zstd that asks for a window of gigabytes gets none.
func TestZstdWindow(t *testing.T) {
	frame := []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00") // 2 GiB
	var b, a runtime.MemStats
	runtime.ReadMemStats(&b)
	_, err := Open(bytes.NewReader(append(frame, make([]byte, 20)...)))
	runtime.ReadMemStats(&a)
	if !errors.Is(err, ErrNotCapture) {
		t.Error(err)
	}
	if took := a.TotalAlloc - b.TotalAlloc; took > 1<<20 {
		t.Errorf("took %d bytes", took)
	}
}

// A disk that breaks inside a packed file is no matter of the format.
func TestPackedReadError(t *testing.T) {
	broken := errors.New("the disk is broken")
	file := twoRecords(binary.LittleEndian)
	for range 300 {
		file = append(file, classicRecord(binary.LittleEndian, 3, 0, 1000, 1000, noise(1000))...)
	}
	for name, packed := range map[string][]byte{"gzip": gzipOf(t, file), "zstd": zstdOf(t, file)} {
		for n := range 200 {
			_, _, err := drain(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) || errors.Is(err, ErrNotCapture) {
				t.Fatalf("%s: after %d bytes: %v", name, n, err)
			}
			_, _, err = drain(bytes.NewReader(packed[:n]))
			if err != nil && !errors.Is(err, ErrNotCapture) {
				t.Fatalf("%s: ending after %d bytes: %v", name, n, err)
			}
		}
		_, packets, err := drain(io.MultiReader(bytes.NewReader(packed[:len(packed)-9]), iotest.ErrReader(broken)))
		if len(packets) < 100 || !errors.Is(err, broken) {
			t.Errorf("%s: %d packets, %v", name, len(packets), err)
		}
	}
}
