package parse

import (
	"bytes"

	"whichbackend/analyze/record"
)

// What the kernel says of connection tracking: dmesg, journalctl -k, syslog.
//
//	[ 8142.120001] nf_conntrack: nf_conntrack: table full, dropping packet
//	Jan 12 10:00:00 node-1 kernel: nf_conntrack: table full, dropping packet
//
// Lines of other drivers are passed over, once the file is seen to be a log of
// the kernel.
var kernelLogFormat = Format{Name: "kernel-log", Head: kernelLogHead, Open: kernelLogOpen}

var (
	kernelFull  = []byte("conntrack: table full")
	kernelDrop  = []byte("dropping packet")
	kernelFirst = []byte("[    0.000000] ") // the first second since boot
	kernelWord  = []byte(" kernel: ")
)

func kernelLogHead(b []byte) bool {
	if len(b) < 20 || len(b) > 400 {
		return false
	}
	if b[0] == '[' && bytes.HasPrefix(b, kernelFirst) {
		return true
	}
	return kernelTableFull(b)
}

// kernelTableFull looks at the end first, where few lines look alike.
func kernelTableFull(b []byte) bool {
	return bytes.HasSuffix(bytes.TrimSuffix(b, []byte(".")), kernelDrop) && bytes.Contains(b, kernelFull)
}

func kernelLogOpen(out *Out) (func([]byte), func()) {
	return func(raw []byte) {
		b := bytes.TrimSpace(raw)
		switch {
		case len(b) == 0:
		case kernelTableFull(b):
			out.Reading(record.Reading{Name: "table full", Value: kernelWhen(b)})
		case kernelClock(b) != nil || bytes.Contains(b, kernelWord):
			out.Ignore()
		}
	}, nil
}

// kernelClock is what stands in the brackets at the begin of a line of dmesg.
func kernelClock(b []byte) []byte {
	if len(b) < 3 || b[0] != '[' {
		return nil
	}
	end := bytes.IndexByte(b, ']')
	if end < 2 || end > 40 {
		return nil
	}
	return bytes.TrimSpace(b[1:end])
}

// kernelWhen is when a line was logged, as it says.
func kernelWhen(b []byte) string {
	if c := kernelClock(b); c != nil {
		return string(c)
	}
	i := bytes.Index(b, kernelWord)
	if i < 0 {
		return "" // the message alone
	}
	var buf [8][]byte
	f := fields(b[:min(i, 60)], buf[:0])
	if len(f) > 1 {
		f = f[:len(f)-1] // the host
	}
	return string(bytes.Join(f, []byte(" ")))
}
