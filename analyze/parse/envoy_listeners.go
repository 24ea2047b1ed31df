package parse

import "bytes"

// Envoy's /listeners (Envoy 1.24, Istio 1.16), as text and with ?format=json:
//
//	0.0.0.0_8080::0.0.0.0:8080
//	{"listener_statuses":[{"name":"0.0.0.0_8080","local_address":{"socket_address":{...}}}]}
//
// It names addresses, and not what is behind them: lines are understood and
// make no record.

func envoyListenersHead(b []byte) bool {
	if len(b) < 10 || len(b) > 1000 || bytes.IndexByte(b, ':') <= 0 || bytes.ContainsAny(b, " \t{\"=") {
		return false
	}
	i := bytes.Index(b, []byte("::["))
	if i < 0 {
		i = bytes.LastIndex(b, envoyColons)
	}
	if i <= 0 || !envoyListenerName(b[:i]) {
		return false
	}
	_, ok := addressPort(b[i+2:])
	return ok && bytes.IndexByte(b[i+2:], '.') > 0 || ok && b[i+2] == '['
}

// envoyListenerName keeps IPv6 addresses of other listings apart: a name has
// a letter, dash or underscore that no address has.
func envoyListenerName(name []byte) bool {
	for _, c := range name {
		if c == '-' || c == '_' || c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z' {
			return true
		}
	}
	return false
}

func envoyListenersOpen(out *Out) (func([]byte), func()) {
	line := func(b []byte) {
		b = bytes.TrimSpace(b)
		i := bytes.Index(b, []byte("::"))
		switch {
		case len(b) == 0:
		case envoyListenersHead(b):
			out.Understood()
		case i > 0 && i+2 < len(b) && (bytes.IndexByte(b[i+2:], '/') >= 0 || b[i+2] == '@'):
			out.Understood() // a socket file, or internal to the proxy
		default:
			out.Problem("expected NAME::ADDRESS:PORT")
		}
	}
	return line, nil
}

func envoyListenersClaim(d *Doc) bool {
	return d.Has("listener_statuses") || d.Has("listenerStatuses")
}

func envoyListenersDoc(d *Doc, out *Out) {
	root, _ := envoyDecode(d.Raw, "")
	list := root.get("listener_statuses")
	if _, ok := list.v.([]any); !ok {
		envoyProblem(out, list, "expected a list of listeners")
		return
	}
	for _, l := range list.list() {
		if !l.get("local_address").isAddress() {
			envoyProblem(out, l, "listener without an address")
		}
	}
}
