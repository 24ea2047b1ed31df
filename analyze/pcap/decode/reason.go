package decode

import "fmt"

// Reason tells a status in short words: "ARP", "EtherType LLDP (0x88cc)", "IP
// protocol OSPF (89)", "IPv4 header malformed". Equal words are equal reasons.
func Reason(s Status, detail uint32) string {
	switch s {
	case Flow:
		return "conversation"
	case ICMPError:
		return "ICMP error"
	case ARP:
		return "ARP"
	case Echo:
		return "ICMP echo"
	case ICMP:
		return "other ICMP"
	case Neighbour:
		return "neighbour discovery"
	case Groups:
		return "multicast groups (IGMP, MLD)"
	case NoIP, UnknownType:
		return named("EtherType", etherTypes[uint16(detail)], fmt.Sprintf("0x%04x", detail))
	case LLC:
		return named("LLC", accessPoints[detail], fmt.Sprintf("0x%02x", detail))
	case PPP, UnknownPPP:
		return named("PPP protocol", pppProtocols[detail], fmt.Sprintf("0x%04x", detail))
	case NoPorts, UnknownTunnel:
		return named("IP protocol", ipProtocols[detail], fmt.Sprint(detail))
	default:
		return unread(s, detail)
	}
}

// LinkName is the name of a link type: "EN10MB (1)".
func LinkName(linkType uint16) string {
	if name := linkTypes[uint32(linkType)]; name != "" {
		return fmt.Sprintf("%s (%d)", name, linkType)
	}
	return fmt.Sprint(linkType)
}

func unread(s Status, detail uint32) string {
	switch s {
	case UnknownLink:
		return named("link type", linkTypes[detail], fmt.Sprint(detail))
	case UnknownHardware:
		return named("hardware type", hardwareTypes[detail], fmt.Sprint(detail))
	case UnknownFamily:
		return fmt.Sprintf("address family %d", detail)
	case UnknownInside:
		return "unknown packet inside " + header(detail)
	case Encrypted:
		if detail == protoESP {
			return "encrypted (ESP)"
		}
		return "encrypted (MACsec)"
	case LaterFragment:
		return "fragment without its begin"
	case Cut:
		return "cut before the ports"
	case Malformed:
		return header(detail) + " header malformed"
	case TooDeep:
		return fmt.Sprintf("in more than %d wrappings", MaxLayers)
	}
	return fmt.Sprintf("status %d", s)
}

func header(detail uint32) string {
	if int(detail) < len(headers) && headers[detail] != "" {
		return headers[detail]
	}
	return "unknown"
}

// named is "what name (number)", or "what number" when there is no name.
func named(what, name, number string) string {
	if name == "" {
		return what + " " + number
	}
	return what + " " + name + " (" + number + ")"
}

// The names are here and not gopacket's: that has few, LINKTYPEs of 8 bits only,
// and takes 4 ms and 10 MB of every start.

// etherTypes are protocols that carry no conversation; of
// https://www.iana.org/assignments/ieee-802-numbers.
var etherTypes = map[uint16]string{
	0x0842: "wake on LAN", 0x2000: "CDP", 0x22ea: "SRP", 0x22f0: "AVTP", 0x6002: "MOP",
	0x6003: "DECnet", 0x6004: "LAT", 0x809b: "AppleTalk", 0x80f3: "AARP", 0x8137: "IPX", 0x8204: "QNX",
	0x8808: "MAC control", 0x8809: "slow protocols", 0x8863: "PPPoE discovery", 0x886d: "ANS probe",
	0x8874: "Broadcom loop", 0x887b: "HomePlug", 0x888e: "EAPOL", 0x8892: "PROFINET", 0x8899: "Realtek loop",
	0x889a: "HyperSCSI", 0x88a2: "ATA over Ethernet", 0x88a4: "EtherCAT", 0x88ab: "POWERLINK",
	0x88b8: "GOOSE", 0x88b9: "GSE", 0x88ba: "sampled values", 0x88c7: "RSN preauthentication", 0x88cc: "LLDP",
	0x88cd: "SERCOS", 0x88e1: "HomePlug AV", 0x88e3: "MRP", 0x88f5: "MVRP", 0x88f6: "MMRP", 0x88f7: "PTP",
	0x88f8: "NC-SI", 0x88fb: "PRP", 0x8902: "CFM", 0x8906: "FCoE", 0x8914: "FIP", 0x8915: "RoCE",
	0x8940: "ECP", 0x9000: "loopback test", 0x9003: "ring recovery",
}

// accessPoints are those of IEEE 802.2.
var accessPoints = map[uint32]string{
	0x00: "null", 0x06: "IP", 0x42: "STP", 0xaa: "SNAP", 0xe0: "IPX", 0xf0: "NetBIOS", 0xfe: "IS-IS", 0xff: "IPX",
}

var pppProtocols = map[uint32]string{
	0x002d: "compressed TCP", 0x002f: "uncompressed TCP", 0x003d: "multilink", 0x0053: "encrypted", 0x00fd: "compressed",
	0x8021: "IPCP", 0x8057: "IPv6CP", 0x80fd: "CCP", 0x8053: "ECP", 0x8281: "MPLSCP",
	0xc021: "LCP", 0xc023: "PAP", 0xc025: "LQR", 0xc223: "CHAP", 0xc227: "EAP",
}

// ipProtocols are of https://www.iana.org/assignments/protocol-numbers.
var ipProtocols = map[uint32]string{
	1: "ICMP", 2: "IGMP", 4: "IPv4", 8: "EGP", 9: "IGP", 27: "RDP", 41: "IPv6", 45: "IDRP", 46: "RSVP", 47: "GRE", 48: "DSR",
	protoESP: "ESP", protoAH: "AH", 54: "NARP", 58: "ICMPv6", 59: "no next header", 88: "EIGRP", 89: "OSPF",
	protoIPIP: "IPIP", protoEtherIP: "EtherIP", 98: "ENCAP", 103: "PIM", 108: "IPComp", 111: "IPX", 112: "VRRP", 113: "PGM",
	protoL2TP: "L2TP", 124: "IS-IS", 133: "FC", protoMPLS: "MPLS", 138: "MANET", 142: "ROHC", 143: "Ethernet",
}

// linkTypes are of https://www.tcpdump.org/linktypes.html, without LINKTYPE_.
var linkTypes = map[uint32]string{
	LinkNull: "NULL", LinkEthernet: "ETHERNET", LinkPPP: "PPP", 12: "RAW", 14: "RAW", LinkRaw: "RAW", LinkLoop: "LOOP", LinkSLL: "LINUX_SLL",
	LinkIPv4: "IPV4", LinkIPv6: "IPV6", LinkNFLog: "NFLOG", LinkSLL2: "LINUX_SLL2",
	3: "AX25", 6: "IEEE802_5", 7: "ARCNET_BSD", 8: "SLIP", 10: "FDDI", 50: "PPP_HDLC", 51: "PPP_ETHER",
	100: "ATM_RFC1483", 104: "C_HDLC", 105: "IEEE802_11", 107: "FRELAY", 117: "PFLOG", 119: "IEEE802_11_PRISM",
	122: "IP_OVER_FC", 123: "SUNATM", 127: "IEEE802_11_RADIOTAP", 140: "MTP2", 141: "MTP3", 143: "DOCSIS",
	144: "LINUX_IRDA", 163: "IEEE802_11_AVS", 166: "PPP_PPPD", 187: "BLUETOOTH_HCI_H4", 189: "USB_LINUX",
	192: "PPI", 195: "IEEE802_15_4_WITHFCS", 197: "ERF", 201: "BLUETOOTH_HCI_H4_WITH_PHDR", 220: "USB_LINUX_MMAPPED",
	227: "CAN_SOCKETCAN", 240: "NETANALYZER", 242: "IPOIB", 247: "INFINIBAND", 249: "USBPCAP", 252: "WIRESHARK_UPPER_PDU",
	253: "NETLINK", 254: "BLUETOOTH_LINUX_MONITOR", 258: "PKTAP", 271: "VSOCK", 274: "ETHERNET_MPACKET",
}

var hardwareTypes = map[uint32]string{
	hardwareCAN: "CAN", hardwareFRAD: "frame relay", hardware80211: "IEEE 802.11", hardwarePrism: "Prism",
	hardwareRadiotap: "radiotap", hardwareNetlink: "netlink",
}
