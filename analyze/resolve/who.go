package resolve

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// who is one WHO of the command line: an address, a port, a network, or a name
// with * as a wildcard.
type who struct {
	text      string
	addr      netip.Addr
	port      uint16
	prefix    netip.Prefix
	kind      string // pod, service, container, node; "" is any
	namespace string
	name      string
}

var whoKinds = map[string]string{
	"pod": "pod", "pods": "pod", "po": "pod", "svc": "service", "service": "service", "services": "service",
	"container": "container", "containers": "container", "node": "node", "nodes": "node", "host": "node",
}

// parseWho reads a WHO. The empty text matches everything and gives nil.
func parseWho(text string) (*who, error) {
	w := &who{text: text}
	switch {
	case text == "":
		return nil, nil
	case strings.HasPrefix(text, ":"):
		p, err := strconv.ParseUint(text[1:], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q: a port is a number up to 65535", text)
		}
		w.port = uint16(p)
		return w, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		w.addr = a.Unmap()
		return w, nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		w.addr, w.port = ap.Addr().Unmap(), ap.Port()
		return w, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		w.prefix = p.Masked()
		return w, nil
	}
	if strings.Trim(text, "0123456789.:/") == "" {
		return nil, fmt.Errorf("%q is no address, address:port or network", text)
	}
	return w.parseName()
}

// parseName reads [KIND/][NAMESPACE/]NAME.
func (w *who) parseName() (*who, error) {
	parts := strings.Split(w.text, "/")
	if k, ok := whoKinds[parts[0]]; ok && len(parts) > 1 {
		w.kind, parts = k, parts[1:]
	}
	switch len(parts) {
	case 1:
		w.name = parts[0]
	case 2:
		w.namespace, w.name = parts[0], parts[1]
	default:
		return nil, fmt.Errorf("%q: write it as NAME, NAMESPACE/NAME or KIND/NAMESPACE/NAME", w.text)
	}
	if w.name == "" {
		return nil, fmt.Errorf("%q names nobody", w.text)
	}
	for _, pattern := range []string{w.namespace, w.name} {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("%q: only * is a wildcard here", w.text)
		}
	}
	return w, nil
}

// matches tells whether a party is meant. Nil matches everybody.
func (w *who) matches(p Party) bool {
	if w == nil {
		return true
	}
	if w.name == "" {
		return w.matchesAddress(p.Address)
	}
	if w.kind == "node" {
		return glob(w.name, p.Host) || p.Kind == "node" && glob(w.name, p.Name)
	}
	if w.kind != "" && w.kind != p.Kind {
		return false
	}
	if w.namespace != "" && p.Namespace != "" && !glob(w.namespace, p.Namespace) {
		return false
	}
	return glob(w.name, p.Name) || p.workload != "" && glob(w.name, p.workload)
}

func (w *who) matchesAddress(text string) bool {
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return false
	}
	switch {
	case w.port != 0 && a.Port() != w.port:
		return false
	case w.addr.IsValid():
		return a.Addr() == w.addr
	case w.prefix.IsValid():
		return w.prefix.Contains(a.Addr())
	}
	return true
}

func glob(pattern, s string) bool {
	ok, _ := path.Match(pattern, s)
	return ok && s != ""
}

// Check tells whether a question can be understood.
func (q Question) Check() error {
	_, err := q.parse()
	return err
}

// Matches tells whether a WHO means a party.
func Matches(text string, p Party) (bool, error) {
	w, err := parseWho(text)
	if err != nil {
		return false, err
	}
	return w.matches(p), nil
}
