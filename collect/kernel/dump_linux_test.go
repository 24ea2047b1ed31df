package kernel

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inPlace gives a dump whose questions a test answers in the kernel's place, a
// piece at a time.
func inPlace(t *testing.T, answer func(question []byte) (pieces [][]byte)) *dump {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &dump{fd: fds[0], buf: make([]byte, piece)}
	over := make(chan bool)
	go func() {
		defer close(over)
		defer unix.Close(fds[1])
		b := make([]byte, piece)
		for {
			n, err := unix.Read(fds[1], b)
			if err != nil || n == 0 {
				return
			}
			for _, p := range answer(b[:n]) {
				unix.Write(fds[1], p)
			}
		}
	}()
	t.Cleanup(func() {
		d.Close()
		<-over
	})
	return d
}

// spoken is a message of the kernel's.
func spoken(kind, flags uint16, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	m := slices.Concat(u32(uint32(unix.NLMSG_HDRLEN+len(body))), u16(kind), u16(flags), make([]byte, 8), body)
	return append(m, make([]byte, -len(body)&3)...)
}

// What a dump gives before its end is read, and its end tells whether it is all.
func TestDumpEnds(t *testing.T) {
	row := spoken(ctnetlink, unix.NLM_F_MULTI, []byte{2, 0, 0, 0})
	changed := spoken(ctnetlink, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, []byte{2, 0, 0, 0})
	done := spoken(unix.NLMSG_DONE, unix.NLM_F_MULTI, u32(0))
	no, full := unix.EPERM, unix.ENOBUFS
	long := slices.Clone(row)
	long[0] = 21
	for name, c := range map[string]struct {
		pieces [][]byte
		rows   int
		is     error  // or
		says   string // what stands in the error
	}{
		"all":            {[][]byte{slices.Concat(row, row), row, done}, 3, io.EOF, ""},
		"none":           {[][]byte{done}, 0, io.EOF, ""},
		"nothing to say": {[][]byte{spoken(unix.NLMSG_NOOP, 0), slices.Concat(row, done)}, 1, io.EOF, ""},
		"a single one":   {[][]byte{spoken(ctnetlink, 0, []byte{2, 0, 0, 0})}, 1, io.EOF, ""},
		"changed":        {[][]byte{row, changed, row, done}, 3, ErrChanged, ""},
		"refused":        {[][]byte{spoken(unix.NLMSG_ERROR, 0, u32(uint32(-int32(no))), make([]byte, 16))}, 0, unix.EPERM, "netlink"},
		"failed late":    {[][]byte{row, spoken(unix.NLMSG_DONE, unix.NLM_F_MULTI, u32(uint32(-int32(full))))}, 1, unix.ENOBUFS, "netlink"},
		"cut":            {[][]byte{row, row[:10]}, 1, nil, "cut"},
		"too long":       {[][]byte{long}, 0, nil, "21 bytes"},
		"too short":      {[][]byte{append(u32(15), row[4:]...)}, 0, nil, "15 bytes"},
		"a large piece":  {[][]byte{append(slices.Clone(row), make([]byte, piece)...)}, 0, nil, "larger"},
		"a short row":    {[][]byte{spoken(ctnetlink, unix.NLM_F_MULTI, []byte{2}), done}, 0, errShort, ""},
	} {
		d := inPlace(t, func([]byte) [][]byte { return c.pieces })
		if err := d.again(ctGet, unix.NLM_F_DUMP, make([]byte, nfgenLen)); err != nil {
			t.Fatal(err)
		}
		l := &listing{dump: d, row: conntrackRow}
		text, err := io.ReadAll(l)
		if err == nil {
			err = io.EOF
		}
		if n := strings.Count(string(text), "\n"); n != c.rows || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
	}
}
