package proxy

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// process is a process that runs a proxy.
type process struct {
	pid     int
	ztunnel bool
	// named are the admin addresses that its command line leads to.
	named []target
	// sockets are the inodes that it holds open.
	sockets map[uint64]bool
}

// target is what to dial.
type target struct {
	port netip.AddrPort
	// socket is the path of a Unix socket as the process pid sees it, or @ and
	// an abstract name.
	socket string
	pid    int
}

func (t target) String() string {
	if t.socket != "" {
		return t.socket
	}
	return t.port.String()
}

const (
	maxCommandLine = 2 << 20
	maxConfig      = 4 << 20
	maxYAML        = 64 << 10 // of what is read as YAML: its reader takes much memory
	maxOpenFiles   = 1 << 16
)

// processes picks those that run a proxy: by their name, or that of their
// program, which a container may have given another name to run under.
func processes(proc string, pids []int) []process {
	var found []process
	for _, pid := range pids {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue // it has ended
		}
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		names := string(comm) + " " + path.Base(exe)
		p := process{pid: pid, ztunnel: strings.Contains(names, "ztunnel")}
		if !p.ztunnel && !strings.Contains(names, "envoy") {
			continue
		}
		p.sockets = sockets(dir)
		if !p.ztunnel {
			p.named = named(dir, pid)
		}
		found = append(found, p)
	}
	return found
}

// sockets are the inodes of the sockets that a process holds open.
func sockets(dir string) map[uint64]bool {
	d, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxOpenFiles)
	out := map[uint64]bool{}
	for _, n := range names {
		link, _ := os.Readlink(filepath.Join(dir, "fd", n))
		if s, ok := strings.CutPrefix(link, "socket:["); ok {
			if inode, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64); err == nil {
				out[inode] = true
			}
		}
	}
	return out
}

// named follows the command line of an Envoy to its admin addresses: to the
// file in which it wrote its address, and to its configuration. The command line
// itself may hold secrets, and goes no further.
func named(dir string, pid int) (out []target) {
	f, err := os.Open(filepath.Join(dir, "cmdline"))
	if err != nil {
		return nil
	}
	defer f.Close()
	line := make([]byte, 0, 4096)
	for len(line) < maxCommandLine {
		line = append(line, make([]byte, 4096)...)
		n, err := f.Read(line[len(line)-4096:])
		line = line[:len(line)-4096+n]
		if err != nil {
			break
		}
	}
	root := filepath.Join(dir, "root")
	cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
	read := func(name string, most int64) []byte {
		if !path.IsAbs(name) {
			name = path.Join("/", cwd, name)
		}
		b, _ := readIn(root, name, most)
		return b
	}
	add := func(t target, ok bool) {
		if ok {
			t.pid = pid
			out = append(out, t)
		}
	}
	args := strings.Split(string(line), "\x00")
	for i, arg := range args {
		name, value, joined := strings.Cut(arg, "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		switch name {
		case "--admin-address-path":
			add(written(read(value, 4096)))
		case "--config-yaml":
			add(configured([]byte(value)))
		case "-c", "--config-path":
			add(configured(read(value, maxConfig)))
		}
	}
	return out
}

// written reads the file in which an Envoy wrote its admin address.
func written(b []byte) (target, bool) {
	text := strings.TrimSpace(string(b))
	if a, err := netip.ParseAddrPort(text); err == nil {
		return target{port: a}, a.Port() != 0
	}
	return target{socket: text}, strings.HasPrefix(text, "/") || len(text) > 1 && text[0] == '@'
}

// admin is all that is read of an Envoy's configuration, in either spelling of
// its keys.
type admin struct {
	Admin struct {
		Address struct {
			SocketAddress struct {
				Address string `json:"address" yaml:"address"`
				Port    uint16 `json:"port_value" yaml:"port_value"`
				Port2   uint16 `json:"portValue" yaml:"portValue"`
			} `json:"socket_address" yaml:"socket_address"`
			SocketAddress2 struct {
				Address string `json:"address" yaml:"address"`
				Port    uint16 `json:"portValue" yaml:"portValue"`
			} `json:"socketAddress" yaml:"socketAddress"`
			Pipe struct {
				Path string `json:"path" yaml:"path"`
			} `json:"pipe" yaml:"pipe"`
		} `json:"address" yaml:"address"`
	} `json:"admin" yaml:"admin"`
}

// configured reads the admin address of a configuration, JSON or YAML.
func configured(text []byte) (target, bool) {
	var a admin
	if json.Unmarshal(text, &a) != nil {
		if len(text) > maxYAML {
			text = adminBlock(text)
		}
		if len(text) > maxYAML || decodeYAML(text, &a) != nil {
			return target{}, false
		}
	}
	at := &a.Admin.Address
	if s := at.Pipe.Path; s != "" {
		return target{socket: s}, s[0] == '/' || s[0] == '@' && len(s) > 1
	}
	host, port := at.SocketAddress.Address, max(at.SocketAddress.Port, at.SocketAddress.Port2)
	if host == "" {
		host, port = at.SocketAddress2.Address, at.SocketAddress2.Port
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	return target{port: netip.AddrPortFrom(ip, port)}, err == nil && port != 0
}

// adminBlock cuts the lines of the key admin out of a large YAML document.
func adminBlock(text []byte) []byte {
	var out []byte
	in := false
	for line := range bytes.Lines(text) {
		if c := line[0]; c != ' ' && c != '\t' && c != '#' && c != '\n' && c != '\r' {
			in = bytes.HasPrefix(line, []byte("admin:"))
		}
		if in {
			out = append(out, line...)
		}
	}
	return out
}

// decodeYAML stands between a stranger's file and the YAML library, which has
// panicked on broken input before.
func decodeYAML(text []byte, into any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = os.ErrInvalid
		}
	}()
	return yaml.Unmarshal(text, into)
}
