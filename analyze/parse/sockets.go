package parse

import (
	"bytes"
	"net/netip"
)

// What netstat, ss and /proc/net/tcp have in common: cutting a row into words
// without allocating, addresses, and one vocabulary of states.

// socketWord cuts the first word off a line.
func socketWord(b []byte) (word, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	j := i
	for j < len(b) && b[j] != ' ' && b[j] != '\t' {
		j++
	}
	return b[i:j], b[j:]
}

func socketDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// socketQueue reads a queue's length.
func socketQueue(b []byte) (int64, bool) {
	n, ok := number(b)
	return int64(n), ok && int64(n) >= 0
}

// socketHost reads an address. Rows are mostly IPv4, which costs no allocation.
func socketHost(b []byte) (netip.Addr, bool) {
	if a, ok := socketIPv4(b); ok {
		return a, true
	}
	if bytes.IndexByte(b, ':') < 0 {
		return netip.Addr{}, false
	}
	return address(b)
}

func socketIPv4(b []byte) (netip.Addr, bool) {
	var a [4]byte
	part, digits, n := 0, 0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9' && digits < 3:
			n = n*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && part < 3 && n < 256:
			a[part] = byte(n)
			part, digits, n = part+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if part != 3 || digits == 0 || n > 255 {
		return netip.Addr{}, false
	}
	a[3] = byte(n)
	return netip.AddrFrom4(a), true
}

// socketAddressLike tells whether a word can be an address column, numeric or
// by name, and no tuple field (src=...) or rule of another tool.
func socketAddressLike(b []byte) bool {
	sep := false
	for _, c := range b {
		switch c {
		case '=', '(', ')', '/', ',', ';', '"', '|':
			return false
		case ':', '.':
			sep = true
		}
	}
	return sep
}

// socketIsWatch knows the title line of watch.
func socketIsWatch(t []byte) bool {
	return bytes.HasPrefix(t, []byte("Every ")) && bytes.Contains(t, []byte("s: "))
}

// socketNames keeps one string for each program name and timer, of which a
// listing repeats few. It is bounded: a listing may hold anything.
type socketNames map[string]string

func (n socketNames) get(b []byte) string {
	if s, ok := n[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(n) < 1024 {
		n[s] = s
	}
	return s
}

// socketState turns a state as any of the tools prints it into netstat's word.
// ok is false when the word is no known state.
func socketState(b []byte) (state string, ok bool) {
	switch string(b) {
	case "ESTABLISHED", "ESTAB":
		return "ESTABLISHED", true
	case "LISTEN", "LISTENING":
		return "LISTEN", true
	case "TIME_WAIT", "TIME-WAIT":
		return "TIME_WAIT", true
	case "CLOSE_WAIT", "CLOSE-WAIT":
		return "CLOSE_WAIT", true
	case "SYN_SENT", "SYN-SENT":
		return "SYN_SENT", true
	case "SYN_RECV", "SYN-RECV", "SYN_RCVD", "SYN_RECEIVED":
		return "SYN_RECV", true
	case "FIN_WAIT1", "FIN-WAIT-1", "FIN_WAIT_1":
		return "FIN_WAIT1", true
	case "FIN_WAIT2", "FIN-WAIT-2", "FIN_WAIT_2":
		return "FIN_WAIT2", true
	case "LAST_ACK", "LAST-ACK":
		return "LAST_ACK", true
	case "CLOSE", "CLOSED", "DELETE_TCB":
		return "CLOSE", true
	case "CLOSING":
		return "CLOSING", true
	case "UNCONN":
		return "UNCONN", true
	case "UNKNOWN", "UNDEF":
		return "", true
	}
	state, ok = socketForeignStates[string(b)]
	return state, ok
}

// socketForeignStates are the words of net-tools' translations, of the Spanish
// one that Ubuntu adds, and of Windows in German. Some languages leave states
// in English.
var socketForeignStates = map[string]string{
	// de, sv
	"VERBUNDEN": "ESTABLISHED", "HÖRT": "LISTEN", "HERGESTELLT": "ESTABLISHED", "ABHÖREN": "LISTEN", "UNBEKANNT": "",
	"ETABLERAD": "ESTABLISHED", "LYSSNAR": "LISTEN", "STÄNG": "CLOSE", "STÄNGD": "CLOSE", "STÄNG_VÄNTA": "CLOSE_WAIT", "STÄNGER": "CLOSING", "OKÄND": "",
	// pt_BR
	"ESTABELECIDA": "ESTABLISHED", "SYN_ENVIADO": "SYN_SENT", "SYN_RECEBIDO": "SYN_RECV", "ESPERA_FIN1": "FIN_WAIT1", "ESPERA_FIN2": "FIN_WAIT2",
	"FECHAR": "CLOSE", "ESPERANDO_FECHAR": "CLOSE_WAIT", "ÚLTIMO_ACK": "LAST_ACK", "OUÇA": "LISTEN", "OUVINDO": "LISTEN", "FECHANDO": "CLOSING", "DESCONHECIDA": "",
	// es, fr
	"ESTABLECIDO": "ESTABLISHED", "ESCUCHAR": "LISTEN", "INCONNU": "",
	// ca
	"ESTABLERT": "ESTABLISHED", "SYNSENT": "SYN_SENT", "SYNRECV": "SYN_RECV", "FINWAIT1": "FIN_WAIT1", "FINWAIT2": "FIN_WAIT2", "TEMPS": "TIME_WAIT",
	"TANCA": "CLOSE", "TANCAT": "CLOSE", "CLOSEWAIT": "CLOSE_WAIT", "LASTACK": "LAST_ACK", "ESCOLTA": "LISTEN", "ESCOLTANT": "LISTEN", "TANCAMENT": "CLOSING", "DESCONEGUT": "",
	// cs; its LAST_ACK is two words
	"SPOJENO": "ESTABLISHED", "ZAVŘEN": "CLOSE", "NASLOUCHÁ": "LISTEN", "ZAVÍRÁ": "CLOSING", "NEZNÁM": "", "POSLEDNÍ": "LAST_ACK",
	// et, ja, ka
	"TUNDMATU": "", "不明": "", "უცნობი": "",
}
