package parse

import "bytes"

// netstatMode says which of netstat's tables is being read.
type netstatMode uint8

const (
	netstatSockets    netstatMode = iota
	netstatUnix                   // UNIX domain sockets, also /proc/net/unix
	netstatRoutes                 // -r, and the route command, which prints the same
	netstatInterfaces             // -i
	netstatStatistics             // -s
	netstatOther                  // -g, Bluetooth, IPX, X.25, kernel sockets of macOS
)

// netstatTitle is the beginning of a line that begins or heads a table.
type netstatTitle struct {
	text  string
	mode  netstatMode
	exact bool // the whole line
}

// netstatTitles are those titles by their first byte, since every line of
// every artifact is compared. The translations are those of net-tools (de, fr,
// pt_BR, ca, cs, et, ja, ka, sv), of distributions (es, it, ru, zh_CN) and of
// Windows (de, fr, es).
var netstatTitles = map[byte][]netstatTitle{
	'A': {
		{text: "Active Internet connections"}, {text: "Active Connections", exact: true},
		{text: "Active UNIX domain sockets", mode: netstatUnix}, {text: "Active LOCAL (UNIX) domain sockets", mode: netstatUnix},
		{text: "Active Bluetooth connections", mode: netstatOther}, {text: "Active IPX sockets", mode: netstatOther},
		{text: "Active AX.25 sockets", mode: netstatOther}, {text: "Active X.25 sockets", mode: netstatOther},
		{text: "Active NET/ROM sockets", mode: netstatOther}, {text: "Active ROSE sockets", mode: netstatOther},
		{text: "Active Multipath Internet connections", mode: netstatOther}, {text: "Active SCTP associations", mode: netstatOther},
		{text: "Active kernel event sockets", mode: netstatOther}, {text: "Active kernel control sockets", mode: netstatOther},
		{text: "Registered kernel control modules", mode: netstatOther},
		{text: "Aktive Internetverbindungen"}, {text: "Aktive Verbindungen", exact: true}, {text: "Aktive Sockets in der UNIX", mode: netstatUnix},
		{text: "Aktiva internetanslutningar"}, {text: "Aktiva UNIX", mode: netstatUnix}, {text: "Aktiva Bluetooth", mode: netstatOther},
		{text: "Aktivní Internetová spojení"}, {text: "Aktivní sokety domény UNIX", mode: netstatUnix},
		{text: "Aktiivsed internetiühendused"}, {text: "Aktiivsed UNIX", mode: netstatUnix},
		{text: "Activar zócalos de dominio UNIX", mode: netstatUnix},
	},
	'C': {
		{text: "Connexions Internet actives"}, {text: "Connexions actives d'Internet"}, {text: "Conexões Internet Ativas"},
		{text: "Conexiones activas de Internet"}, {text: "Connessioni Internet attive"},
		{text: "Conexiones activas", exact: true}, {text: "Connexions actives", exact: true}, {text: "Conexões ativas", exact: true},
	},
	'D': {{text: "Domain sockets UNIX ativos", mode: netstatUnix}},
	'I': {
		{text: "Ip:", mode: netstatStatistics, exact: true}, {text: "Icmp:", mode: netstatStatistics, exact: true},
		{text: "IcmpMsg:", mode: netstatStatistics, exact: true}, {text: "IpExt:", mode: netstatStatistics, exact: true},
		{text: "Ip6:", mode: netstatStatistics, exact: true}, {text: "Icmp6:", mode: netstatStatistics, exact: true},
		{text: "IPv6/IPv4 Group Memberships", mode: netstatOther}, {text: "IPv4 Group Memberships", mode: netstatOther},
		{text: "Iface      MTU", mode: netstatInterfaces}, {text: "Iface             MTU", mode: netstatInterfaces}, {text: "Iface MTU", mode: netstatInterfaces},
	},
	'K': {
		{text: "Kernel IP routing", mode: netstatRoutes}, {text: "Kernel IPv6 routing", mode: netstatRoutes},
		{text: "Kernel IPv6 Neighbour Cache", mode: netstatRoutes}, {text: "Kernel IPX routing", mode: netstatRoutes},
		{text: "Kernel-IP-Routentabelle", mode: netstatRoutes}, {text: "Kernel-IPv6-Routentabelle", mode: netstatRoutes},
		{text: "Kernel Interface table", mode: netstatInterfaces}, {text: "Kernel-Schnittstellentabelle", mode: netstatInterfaces},
	},
	'M': {{text: "MPTcpExt:", mode: netstatStatistics, exact: true}},
	'N': {{text: "Num       RefCount Protocol Flags", mode: netstatUnix}, {text: "Num RefCount Protocol Flags", mode: netstatUnix}},
	'S': {
		{text: "Sockets du domaine UNIX", mode: netstatUnix}, {text: "Sòcols de domini UNIX", mode: netstatUnix},
		{text: "Sctp:", mode: netstatStatistics, exact: true},
	},
	'T': {
		{text: "Tcp:", mode: netstatStatistics, exact: true}, {text: "TcpExt:", mode: netstatStatistics, exact: true},
		{text: "Table de routage IP", mode: netstatRoutes}, {text: "Table d'interfaces noyau", mode: netstatInterfaces},
		{text: "Tabela de Roteamento IP", mode: netstatRoutes}, {text: "Tabela de Interfaces do Kernel", mode: netstatInterfaces},
		{text: "Tabla de rutas IP", mode: netstatRoutes},
	},
	'U': {
		{text: "Udp:", mode: netstatStatistics, exact: true}, {text: "UdpLite:", mode: netstatStatistics, exact: true},
		{text: "Udp6:", mode: netstatStatistics, exact: true}, {text: "Unix-ის დომენის აქტიური", mode: netstatUnix},
	},
	"稼"[0]: {{text: "稼働中のインターネット接続"}, {text: "稼働中のUNIX", mode: netstatUnix}, {text: "稼働中のBluetooth", mode: netstatOther}},
	"ი"[0]: {{text: "ინტერნეტის აქტიური შეერთებები"}},
	"激"[0]: {{text: "激活Internet连接"}, {text: "活跃的UNIX域套接字", mode: netstatUnix}},
	"А"[0]: {{text: "Активные соединения с интернетом"}, {text: "Активные сокеты домена UNIX", mode: netstatUnix}},
}

// netstatTitleOf tells whether a line begins a table of netstat, and which.
func netstatTitleOf(t []byte) (netstatMode, bool) {
	if len(t) == 0 {
		return 0, false
	}
	if t[0] == 'P' {
		return netstatColumns(t)
	}
	for _, h := range netstatTitles[t[0]] {
		if len(t) >= len(h.text) && string(t[:len(h.text)]) == h.text && (!h.exact || len(t) == len(h.text)) {
			return h.mode, true
		}
	}
	if bytes.HasPrefix(t, []byte("Socket ")) && bytes.Contains(t, []byte("Proto Recv-Q Send-Q")) {
		return netstatSockets, true // macOS and FreeBSD with -A
	}
	return 0, false
}

// netstatColumns reads the line with the names of the columns, of which only
// the first keeps its English name (nearly) everywhere.
func netstatColumns(t []byte) (netstatMode, bool) {
	if !bytes.HasPrefix(t, []byte("Proto ")) && !bytes.HasPrefix(t, []byte("Protocolo ")) {
		return 0, false
	}
	for _, c := range []struct {
		word string
		mode netstatMode
	}{
		{"RefCnt", netstatUnix}, {"Recv-Q", netstatSockets}, {"Recib", netstatSockets}, {"CodaRic", netstatSockets},
		{"Empf-Q", netstatSockets}, {"Local Address", netstatSockets}, {"Lokale Adresse", netstatSockets},
		{"Dirección local", netstatSockets}, {"Adresse locale", netstatSockets}, {"Endereço local", netstatSockets},
		{"Destination", netstatOther},
	} {
		if bytes.Contains(t, []byte(c.word)) {
			return c.mode, true
		}
	}
	return 0, false
}

// netstatNotes begin what net-tools says, in its translations, to a user who
// may not see all processes.
var netstatNotes = []string{
	"(Es konnten nicht alle Prozesse", "(Für \"-p\": geteuid", "(Tous les processus ne peuvent", "(Pas d'infos lues pour",
	"(Nem todos os processos puderam", "(Não foi possível ler informações", "(No todos los procesos pueden", "(No es poden identificar tots",
	"(Všechny procesy nemohly", "(Mõnesid protsesse ei saanud", "(Alla processer kan inte", "(Ingen information kunde läsas",
	"(一部のプロセスが識別されますが", "(ყველა პროცესის იდენტიფიკაცია", "（并非所有进程都能被检测到", "(并非所有进程都能被检测到",
}
