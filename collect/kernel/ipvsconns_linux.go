package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ipvsConns turns the kernel's own table of connections into ipvsadm's.
type ipvsConns struct {
	file io.Closer
	rows *bufio.Reader
	text text
}

// IPVSConnections lists the connections of IPVS, as ipvsadm -Lnc does. Without
// IPVS it gives fs.ErrNotExist.
func IPVSConnections() (io.ReadCloser, error) {
	// The file shows the namespace of who opened it, to whoever reads it.
	f, err := os.Open("/proc/thread-self/net/ip_vs_conn")
	if err != nil {
		return nil, err
	}
	return newIPVSConns(f)
}

func newIPVSConns(f io.ReadCloser) (io.ReadCloser, error) {
	c := &ipvsConns{file: f, rows: bufio.NewReader(f)}
	if _, err := c.rows.ReadSlice('\n'); err != nil { // the names of the columns
		f.Close()
		return nil, fmt.Errorf("ip_vs_conn has no first line: %w", err)
	}
	c.text.buf = append(c.text.buf, "IPVS connection entries\npro expire state       source             virtual            destination\n"...)
	c.text.left = c.text.buf
	return c, nil
}

// Read gives text.
func (c *ipvsConns) Read(p []byte) (int, error) { return c.text.read(p, c.fill) }

// Close ends the listing, also before its end.
func (c *ipvsConns) Close() error { return c.file.Close() }

func (c *ipvsConns) fill(out []byte) ([]byte, error) {
	for len(out) < piece {
		line, err := c.rows.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			err = errors.New("ip_vs_conn: a line is longer than the kernel writes")
		}
		if err != nil && err != io.EOF {
			return out, err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			row, bad := appendConn(out, line)
			if bad != nil {
				return out, bad
			}
			out = row
		}
		if err == io.EOF {
			return out, err
		}
	}
	return out, nil
}

// appendConn turns a line of ip_vs_conn:
//
//	TCP 0A000103 DC3A 0A000104 0050 0A000105 0050 ESTABLISHED     534
//
// What may follow is a persistence engine's, which ipvsadm -Lnc leaves out.
func appendConn(out, line []byte) ([]byte, error) {
	var word [9][]byte
	rest := line
	for i := range word {
		rest = bytes.TrimLeft(rest, " ")
		end := bytes.IndexAny(rest, " \n")
		if end < 0 {
			end = len(rest)
		}
		word[i], rest = rest[:end], rest[end:]
	}
	// Of a timer that has run out older kernels print what is below zero, of
	// 64 bits and without a sign; ipvsadm takes the lower half.
	expires, err := strconv.ParseUint(string(word[8]), 10, 64)
	seconds := uint32(expires)
	var ends [3]string // source, virtual, destination
	for i := range ends {
		addr, bad := readAddr(word[1+2*i])
		port, worse := strconv.ParseUint(string(word[2+2*i]), 16, 16)
		if err = errors.Join(err, bad, worse); err == nil {
			family := uint16(unix.AF_INET)
			if addr.Is6() {
				family = unix.AF_INET6
			}
			var end [64]byte
			ends[i] = string(appendEnd(end[:0], family, addr.AsSlice(), uint16(port)))
		}
	}
	if err != nil {
		return out, fmt.Errorf("ip_vs_conn: cannot read the line %q", bytes.TrimSpace(line))
	}
	return fmt.Appendf(out, "%-3s %-6s %-11s %-18s %-18s %s\n", word[0], fmt.Sprintf("%02d:%02d", seconds/60, seconds%60), word[7],
		ends[0], ends[1], ends[2]), nil
}

// readAddr reads an address of ip_vs_conn: eight hexadecimal digits are IPv4.
func readAddr(b []byte) (netip.Addr, error) {
	if bytes.IndexByte(b, ':') >= 0 {
		return netip.ParseAddr(string(b))
	}
	n, err := strconv.ParseUint(string(b), 16, 32)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), err
}
