package parse

import (
	"whichbackend/analyze/record"
)

func conntrackFamily(b []byte) bool { return string(b) == "ipv4" || string(b) == "ipv6" }

// conntrackProtocol reads the names that conntrack and the kernel print.
func conntrackProtocol(b []byte) record.Protocol {
	switch string(b) {
	case "tcp":
		return record.TCP
	case "udp":
		return record.UDP
	case "icmp":
		return record.ICMP
	case "icmpv6":
		return record.ICMPv6
	case "sctp":
		return record.SCTP
	case "dccp":
		return record.DCCP
	case "gre":
		return record.GRE
	case "udplite":
		return record.UDPLite
	}
	return 0
}

func conntrackEvent(b []byte) string {
	switch string(b) {
	case "[NEW]":
		return "NEW"
	case "[UPDATE]":
		return "UPDATE"
	case "[DESTROY]":
		return "DESTROY"
	}
	return ""
}

// conntrackState returns the state as a string that every row shares.
func conntrackState(b []byte) string {
	switch string(b) {
	case "ESTABLISHED":
		return "ESTABLISHED"
	case "TIME_WAIT":
		return "TIME_WAIT"
	case "SYN_SENT":
		return "SYN_SENT"
	case "SYN_RECV":
		return "SYN_RECV"
	case "FIN_WAIT":
		return "FIN_WAIT"
	case "CLOSE_WAIT":
		return "CLOSE_WAIT"
	case "LAST_ACK":
		return "LAST_ACK"
	case "CLOSE":
		return "CLOSE"
	case "NONE":
		return "NONE"
	}
	return string(b)
}
