package record

import (
	"net/netip"
	"time"
)

// Flow is one conversation as one place saw it: one interface of one capture,
// in one encapsulation. A connection that was captured in several places is
// several flows, with one Conversation.
type Flow struct {
	// Pos is its first packet.
	Pos
	// ID counts the flows of a case from 1. The driver sets it.
	ID       int
	Protocol Protocol
	// Tuple is seen from the client: the end that sent the SYN, and else, when
	// Guessed is set, the end that the ports speak for, or that sent first.
	Tuple   Tuple
	Guessed bool
	// Interface is the number of the interface in the section, from 0, and
	// Device its name. Of a capture of all interfaces ("any", SLL2) Device is
	// the one that the packet passed: its name where the capture tells it, and
	// "ifindex 5" else. Leg tells the two ways through a capture of all
	// interfaces that does not say which (SLL): "in" saw the client's packets
	// come in, "out" saw them leave; "" where the device is known.
	Interface   int
	Device, Leg string
	// Encapsulation is what the packets were wrapped in, the outermost first:
	// "vlan 12, vxlan 1 from 192.168.0.1 to 192.168.0.2". "" for nothing.
	Encapsulation string
	// First and Last are the times of its first and last packet, by the clock
	// of the capturing host.
	First, Last    time.Time
	Client, Server Half
	// Duplicates are packets that the same place saw twice (a mirror port): they
	// are counted here and nowhere else.
	Duplicates uint64
	// Fault is an ICMP error about the connection, of the first packet that
	// brought one.
	Fault Fault
	// Announced is what a PROXY header at the begin of the client's bytes says
	// of the connection before the proxy. The zero value: there was none.
	Announced Tuple
	// Name is the server name that the client asks for (TLS SNI), "" else.
	Name string
	// Exchanges are requests with their answers: where one side was silent
	// until the other had sent all. At most 256 are kept; Exchanged counts all.
	Exchanges []Exchange
	Exchanged int
	// HTTP is true when the first bytes of the client are those of HTTP/1.
	HTTP bool
}

// Half is what one end of a flow sent. Packet numbers are 0 where there is none.
type Half struct {
	// Packets and Bytes are counted on the wire, headers of the capturing link
	// included, whatever the capture kept of each packet.
	Packets, Bytes uint64
	// Payload is what the application sent. Of TCP it is told by sequence
	// numbers, so that repeated, lost and cut packets count right; of a flow
	// without a SYN it is what lies between the lowest and the highest number.
	Payload uint64
	// SYN, FIN and RST are the first packets with these flags; SYN of the
	// server's half is its SYN/ACK.
	SYN, FIN, RST int
	// SYNs counts the packets with SYN: all but one are repetitions.
	SYNs int
	// ISN is the initial sequence number, true when SYN is set.
	ISN uint32
	// Stamps are the timestamps (TSval, RFC 7323) of its SYNs, at most 4. A
	// repeated SYN has the same ISN and another timestamp.
	Stamps []uint32
	// MSS and Scale are options of its SYN. MSS 0, Scale -1: not said.
	MSS   uint16
	Scale int8
	// TTL and IPID are of its first packet: time to live or hop limit, and the
	// identification of IPv4 (0 of IPv6).
	TTL  uint8
	IPID uint16
	// SYNTime is when its first SYN passed; DataTime and Data are its first
	// packet with payload.
	SYNTime, DataTime time.Time
	Data              int
	// Begin is a hash of the first bytes that it sent, BeginLength of them, as
	// far as captured: at most 64. Equal bytes have equal hashes. Of TCP only
	// when they are known to be the first.
	Begin       uint64
	BeginLength int
	// Segments are a sample of what it sent: those with the least hashes, so
	// that two places that saw the same connection keep the same ones whenever
	// they began to look. At most 3.
	Segments []Segment
}

// Segment is one packet with payload: a TCP segment, or a datagram.
type Segment struct {
	Sequence uint32 // TCP sequence number; of UDP the identification of IPv4
	Length   uint32 // bytes of payload on the wire
	Hash     uint64 // of the captured part of the payload, at most 64 bytes
	Stamp    uint32 // TSval, 0 when there is none
	Packet   int
}

// Exchange is one request and its answer.
type Exchange struct {
	// Packet is the first packet of the request.
	Packet int
	// Start and Sent are the times of the request's first and last packet,
	// Answer and End those of the answer. Answer is zero without one.
	Start, Sent, Answer, End time.Time
	// Up and Down are the bytes of request and answer, by sequence numbers.
	Up, Down uint64
	// Begin is a hash of the request's first captured bytes, at most 64 and for
	// HTTP those of its first line; 0 when none were captured.
	Begin uint64
	// RequestID is a hash of its x-request-id, 0 when it shows none, and
	// ForwardedFor the last address of its X-Forwarded-For.
	RequestID    uint64
	ForwardedFor netip.Addr
}

// Fault is an ICMP error about a packet of a flow. The zero value is none.
type Fault struct {
	Packet     int
	Type, Code uint8
	// From is who sent the error. Six tells ICMPv6 from ICMP.
	From netip.Addr
	Six  bool
}

// Interface is one interface of a capture and what became of its packets.
type Interface struct {
	Pos
	Number   int
	Name     string // "" when the file tells none, as pcap does
	LinkType uint32 // LINKTYPE_ of the file
	Snaplen  uint32 // bytes kept of each packet at most, 0: no limit
	Filter   string // the filter of the capture, where told
	Packets  uint64 // in the file
	Cut      uint64 // packets of which the file keeps less than passed
	// Dropped are packets that the capture lost, and Lossy whether the file
	// tells that at all. What was dropped passed nevertheless.
	Dropped     uint64
	Lossy       bool
	First, Last time.Time
}

// Undecoded counts packets of a capture of which no flow was made, by reason.
type Undecoded struct {
	Pos     // the first of them
	Reason  string
	Packets uint64
	// Known is true for what is no conversation (ARP, ICMP echo, IGMP) and so
	// is missed by nobody; false for what could not be read.
	Known bool
}
