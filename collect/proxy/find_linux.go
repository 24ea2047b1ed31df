// Package proxy reads what the proxies in one network namespace say of
// themselves over their admin endpoints (Envoy in all its meshes, and ztunnel),
// and the rows of their access logs.
//
// All of it belongs to the network namespace of the calling thread: a caller
// that goes into another has locked its goroutine to the thread, and calls Find,
// Open and Read there. Every connection is made on that thread.
//
// It asks only for what can be read and changes nothing. It never gives on what
// may hold a secret: of a configuration it passes on what connections are
// decided by, and puts "[left out]" where a secret may be. Of an extension that
// it does not know it passes on the type alone. Command lines are looked at to
// find an endpoint, and go no further.
package proxy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// The kinds of proxies.
const (
	Envoy   = "envoy"
	Ztunnel = "ztunnel"
)

// ErrOther is about something that listens where proxies have their admin
// endpoint, and is none.
var ErrOther = errors.New("answers, but is neither Envoy nor ztunnel")

// usual are the ports of admin endpoints: Istio's and Kuma's, Consul's and Envoy
// Gateway's, and that of Envoy's own examples.
var usual = []uint16{15000, 19000, 9901}

const (
	patience  = 3 * time.Second // for what finds out who answers
	maxAdmins = 16
)

// Admin is the admin endpoint of a proxy.
type Admin struct {
	// Kind is Envoy or Ztunnel, "" when Err is not nil.
	Kind string
	// Address is where it is: ADDRESS:PORT, the path of a Unix socket as the
	// proxy sees it, or @NAME.
	Address string
	// PID is the process that has it, 0 when that is not known.
	PID int
	// Err tells why nothing can be read here: ErrOther, one that is
	// os.ErrDeadlineExceeded or os.ErrPermission, or one of the network.
	Err error

	suffix string // of its files
	link   *link
	logs   []string
}

// Find finds the admin endpoints in the network namespace of the calling thread:
// on the usual ports, and where the command lines of its proxies lead. proc is
// where the host's /proc is, pids are the processes of the namespace. What
// listens on one of these ports gets one small GET; an endpoint that is none, or
// does not answer, has an Err. The caller closes each.
func Find(ctx context.Context, proc string, pids []int) ([]*Admin, error) {
	rows, err := listening(proc)
	if err != nil {
		return nil, err
	}
	procs := processes(proc, pids)
	var found []*Admin
	count := map[string]int{}
	for _, c := range candidates(rows, procs) {
		a := c.identify(ctx, proc)
		if a.Err == nil {
			if count[a.Kind]++; count[a.Kind] > 1 {
				a.suffix = c.suffix(count[a.Kind])
			}
		}
		found = append(found, a)
	}
	return found, nil
}

// row is a listening socket.
type row struct {
	at    netip.AddrPort
	inode uint64
}

// listening reads the listening sockets of the calling thread's namespace.
func listening(proc string) ([]row, error) {
	var rows []row
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(proc, "thread-self/net", name))
		if err != nil && name == "tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("the listening sockets: %w", err)
		}
		rows, err = listenRows(f, rows)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return rows, nil
}

// listenRows reads as far as the listening sockets go: they come first, and
// what follows may be a hundred thousand connections.
func listenRows(in io.Reader, rows []row) ([]row, error) {
	br := bufio.NewReader(in)
	for n := 0; ; n++ {
		line, err := br.ReadSlice('\n')
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		f := bytes.Fields(line)
		if n == 0 || len(f) < 10 {
			continue
		}
		switch string(f[3]) {
		case "03": // not accepted yet
			continue
		case "0A":
		default:
			return rows, nil
		}
		at, ok := hexAddress(f[1])
		inode, err := strconv.ParseUint(string(f[9]), 10, 64)
		if ok && err == nil {
			rows = append(rows, row{at, inode})
		}
	}
}

// hexAddress reads an address as the kernel prints it: words in its own order.
func hexAddress(b []byte) (netip.AddrPort, bool) {
	words, port, ok := bytes.Cut(b, []byte(":"))
	p, err := strconv.ParseUint(string(port), 16, 16)
	raw := make([]byte, len(words)/2)
	if _, e := hex.Decode(raw, words); !ok || err != nil || e != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for w := raw; len(w) > 0; w = w[4:] {
		binary.NativeEndian.PutUint32(w, binary.BigEndian.Uint32(w))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(p)), ok
}

// candidate is where an admin endpoint may be. A port may be bound for several
// addresses, by several processes.
type candidate struct {
	targets []target
	ztunnel bool // a ztunnel has it, or may have it
}

// candidates are the places to ask, the usual ports first.
func candidates(rows []row, procs []process) []candidate {
	var out []candidate
	done := map[string]bool{}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at.Addr().BitLen(), b.at.Addr().BitLen()) })
	add := func(port uint16) {
		c := onPort(port, rows, procs)
		if key := strconv.Itoa(int(port)); len(c.targets) > 0 && !done[key] {
			done[key] = true
			out = append(out, c)
		}
	}
	for _, port := range usual {
		add(port)
	}
	for _, p := range procs {
		for _, t := range p.named {
			if t.socket == "" {
				add(t.port.Port())
			} else if !done[t.socket] {
				done[t.socket] = true
				out = append(out, candidate{targets: []target{t}})
			}
		}
	}
	return out[:min(len(out), maxAdmins)]
}

// onPort gathers the sockets that listen on a port. A proxy whose command line
// names another port for its admin endpoint has this one for its traffic: what
// is sent there would reach a backend.
func onPort(port uint16, rows []row, procs []process) (c candidate) {
	for _, r := range rows {
		if r.at.Port() != port {
			continue
		}
		i := slices.IndexFunc(procs, func(p process) bool { return p.sockets[r.inode] })
		pid := 0
		if i >= 0 {
			p := procs[i]
			if len(p.named) > 0 && !slices.ContainsFunc(p.named, func(t target) bool { return t.port.Port() == port }) {
				continue
			}
			pid, c.ztunnel = p.pid, p.ztunnel
		} else if port == usual[0] {
			c.ztunnel = slices.ContainsFunc(procs, func(p process) bool { return p.ztunnel })
		}
		for _, ip := range reach(r.at.Addr()) {
			t := target{port: netip.AddrPortFrom(ip, port), pid: pid}
			if !slices.Contains(c.targets, t) {
				c.targets = append(c.targets, t)
			}
		}
	}
	return c
}

// reach gives the addresses under which a bound one can be dialled from its own
// namespace.
func reach(ip netip.Addr) []netip.Addr {
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	switch {
	case !ip.IsUnspecified():
		return []netip.Addr{ip}
	case ip.Is4():
		return []netip.Addr{v4}
	}
	return []netip.Addr{v6, v4}
}

// suffix tells the files of a further proxy of a namespace from those of the
// first.
func (c candidate) suffix(n int) string {
	if p := c.targets[0].port.Port(); p != 0 {
		return "-" + strconv.Itoa(int(p))
	}
	return "-socket" + strconv.Itoa(n)
}

// identify asks who is there. Of several addresses the first that a connection
// is made to is asked.
func (c candidate) identify(ctx context.Context, proc string) *Admin {
	var a *Admin
	for _, t := range c.targets {
		a = &Admin{Address: t.String(), PID: t.pid, link: &link{to: t, proc: proc}}
		kind, err := a.link.whois(ctx, c.ztunnel)
		if err == nil {
			a.Kind = kind
			return a
		}
		a.Err = fmt.Errorf("%s: %w", a.Address, err)
		a.Close()
		var dial *dialError
		if !errors.As(err, &dial) {
			break
		}
	}
	return a
}

// whois asks for what Envoy says of itself. A ztunnel does not know the
// question.
func (l *link) whois(ctx context.Context, ztunnel bool) (kind string, err error) {
	ans, err := l.get(ctx, "/server_info", mib, patience)
	if err != nil {
		var status *statusError
		switch {
		case errors.As(err, &status) && ztunnel:
			return Ztunnel, nil
		case errors.As(err, &status), errors.Is(err, errNoHTTP):
			return "", ErrOther
		}
		return "", err
	}
	defer ans.Close()
	b, err := io.ReadAll(ans)
	var is struct {
		Version string `json:"version"`
		State   string `json:"state"`
	}
	switch {
	case errors.Is(err, ErrTooLarge):
		return "", ErrOther
	case err != nil:
		return "", err
	case json.Unmarshal(b, &is) != nil, is.Version == "", is.State == "":
		return "", ErrOther
	}
	return Envoy, nil
}

// Close ends the connection to the endpoint.
func (a *Admin) Close() error { return a.link.Close() }
