package decode

// What became of a packet. The Detail of each is told with it.
const (
	// Flow is a packet of a conversation: TCP, UDP, UDP-Lite, SCTP or DCCP.
	Flow Status = iota + 1
	// ICMPError is an error about a packet of a conversation. Detail: its type.
	ICMPError

	// The following are known, and no conversation.

	// ARP is ARP or RARP. Detail: the EtherType.
	ARP
	// Echo is a ping or its answer. Detail: the type of ICMP.
	Echo
	// ICMP is any other message of ICMP, and an error about what is no
	// conversation. Detail: its type.
	ICMP
	// Neighbour is neighbour discovery. Detail: the type of ICMPv6.
	Neighbour
	// Groups is who listens to which multicast group: IGMP, and of IPv6 MLD.
	// Detail: the type of ICMPv6, 0 of IGMP.
	Groups
	// NoIP is a protocol beside IP, such as LLDP. Detail: the EtherType.
	NoIP
	// LLC is a frame of IEEE 802.2 without IP, such as of spanning trees.
	// Detail: the destination's service access point.
	LLC
	// PPP is a protocol that controls a PPP link. Detail: its number.
	PPP
	// NoPorts is an IP protocol without ports, such as OSPF. Detail: its number.
	NoPorts

	// The following could not be read: conversations may be among them.

	// UnknownLink is a link type that is not decoded. Detail: its LINKTYPE.
	UnknownLink
	// UnknownHardware is a device whose packets are not decoded in a capture of
	// all interfaces. Detail: its ARPHRD of linux/if_arp.h.
	UnknownHardware
	// UnknownFamily is an address family on a loopback link. Detail: the number.
	UnknownFamily
	// UnknownType is an EtherType that we don't know. Detail: the EtherType.
	UnknownType
	// UnknownPPP is a PPP protocol that may carry something. Detail: its number.
	UnknownPPP
	// UnknownTunnel is an IP protocol that carries other packets and is not
	// decoded. Detail: its number.
	UnknownTunnel
	// UnknownInside is a tunnel whose content we don't know. Detail: the header
	// before it.
	UnknownInside
	// Encrypted is MACsec or ESP. Detail: the EtherType or the IP protocol.
	Encrypted
	// LaterFragment is a fragment without the begin of its packet, of something
	// that has no ports by itself. Detail: the IP protocol.
	LaterFragment
	// Cut is a packet of which the capture kept too little. Detail: the header
	// that was cut.
	Cut
	// Malformed is a packet that breaks the rules of its protocol. Detail: the
	// header that does.
	Malformed
	// TooDeep is a packet in more than MaxLayers wrappings.
	TooDeep
)

// Known tells whether a packet was read and is of no conversation, so that
// nobody misses it.
func (s Status) Known() bool {
	return s >= ARP && s <= NoPorts
}

// read tells whether a packet was read to its end.
func (s Status) read() bool {
	return s >= Flow && s <= NoPorts
}

// Headers in the Detail of Cut, Malformed and UnknownInside.
const (
	inEthernet = iota + 1
	inVLAN
	inLLC
	inSLL
	inLoopback
	inNFLog
	inPPPoE
	inPPP
	inMPLS
	inIP
	inIPv4
	inIPv6
	inExtension
	inTCP
	inUDP
	inSCTP
	inDCCP
	inICMP
	inGRE
	inERSPAN
	inNSH
)

var headers = [...]string{
	inEthernet: "Ethernet", inVLAN: "VLAN", inLLC: "LLC", inSLL: "SLL", inLoopback: "loopback",
	inNFLog: "NFLOG", inPPPoE: "PPPoE", inPPP: "PPP", inMPLS: "MPLS", inIP: "IP",
	inIPv4: "IPv4", inIPv6: "IPv6", inExtension: "IPv6 extension", inTCP: "TCP", inUDP: "UDP",
	inSCTP: "SCTP", inDCCP: "DCCP", inICMP: "ICMP", inGRE: "GRE", inERSPAN: "ERSPAN", inNSH: "NSH",
}
