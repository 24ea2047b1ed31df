package parse

import "bytes"

// Facts about a host that the question does not need (uname -a, /proc/version):
//
//	Linux swarm1 6.1.0-50-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02) x86_64 GNU/Linux
//	Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) (gcc-12 ...) #1 SMP ...
var hostFormat = Format{Name: "host", Head: hostHead, Open: func(out *Out) (func([]byte), func()) {
	return func(b []byte) {
		if hostHead(bytes.TrimSpace(b)) {
			out.Ignore()
		}
	}, nil
}}

func hostHead(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("Linux ")) {
		return false
	}
	i := bytes.Index(line, []byte(" #"))
	return i > 0 && i+2 < len(line) && line[i+2] >= '0' && line[i+2] <= '9'
}
