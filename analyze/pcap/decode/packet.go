// Package decode takes a captured packet apart, from the link to TCP, UDP and
// SCTP, through tunnels to the innermost packet. It allocates nothing, keeps
// nothing, and never looks above the transport except where tunnels are found
// there.
package decode

// Addr is an IPv4 or IPv6 address: an IPv4 address is in the first four bytes,
// the others are zero.
type Addr [16]byte

// Link types, as in LINKTYPE_ of https://www.tcpdump.org/linktypes.html.
const (
	LinkNull     = 0
	LinkEthernet = 1
	LinkPPP      = 9
	LinkRaw      = 101
	LinkLoop     = 108
	LinkSLL      = 113
	LinkIPv4     = 228
	LinkIPv6     = 229
	LinkNFLog    = 239
	LinkSLL2     = 276
)

// Kind is what a packet was wrapped in.
type Kind uint8

// The kinds of wrapping. A Layer says more of each.
const (
	VLAN   Kind = iota + 1 // ID is the VLAN
	MPLS                   // ID is the label
	PPPoE                  // ID is the session
	IPIP                   // IPv4 or IPv6 in IPv4 or IPv6
	GRE                    // ID is the key, 0 when there is none
	ERSPAN                 // ID is the session
	VXLAN                  // ID is the VNI; VXLAN-GPE too
	Geneve                 // ID is the VNI
)

// Layer is one wrapping of a packet. Source and Destination are the outer
// addresses of a tunnel; zero for VLAN, MPLS and PPPoE.
type Layer struct {
	Kind                Kind
	V6                  bool // the outer addresses are IPv6
	ID                  uint32
	Source, Destination Addr
}

// MaxLayers bounds the wrappings of one packet; a deeper one is not decoded.
const MaxLayers = 6

// Status says what became of a packet.
type Status uint8

// Packet is what one captured packet says. Decode fills it anew each time.
type Packet struct {
	// Status is Flow for a packet of a conversation, and otherwise says why
	// there is none. Detail completes it: the EtherType, IP protocol, link type
	// or ICMP type that is not one of a conversation.
	Status Status
	Detail uint32

	// Link: of SLL and SLL2 how the packet passed (0 to us, 1 broadcast, 2
	// multicast, 3 to somebody else, 4 from us), and of SLL2 the index of the
	// interface. HasPassed tells that the link says so.
	HasPassed bool
	Passed    uint8
	IfIndex   uint32

	// Layers are the wrappings, the outermost first.
	Layers [MaxLayers]Layer
	Depth  int

	// The innermost IP packet.
	V6                  bool
	Source, Destination Addr
	Protocol            uint8 // IANA number of what the ports are of
	TTL                 uint8 // or hop limit
	IPID                uint16
	// Fragment is true for a fragment; FragmentID is its identification. The
	// ports of a later one (FragmentOffset > 0, in bytes) are zero.
	Fragment       bool
	FragmentID     uint32
	FragmentOffset int

	SourcePort, DestinationPort uint16
	// TCP. Flags are the low 9 bits: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
	Seq, Ack    uint32
	Flags       uint16
	Window      uint16
	MSS         uint16 // 0: not said
	Scale       int8   // -1: not said
	SACK        bool   // SACK permitted
	HasStamp    bool
	Stamp, Echo uint32 // TSval, TSecr

	// PayloadLength is what the transport carries on the wire, in bytes, by the
	// lengths in the headers (by the captured length where offloading wrote
	// none); Payload is what was captured of it, a part of the given data.
	PayloadLength int
	Payload       []byte

	// Of an ICMP error (Status ICMPError) the fields from V6 to
	// DestinationPort, and Seq, are those of the packet inside that it is
	// about; the error itself is:
	ICMPSource Addr // who says so
	ICMPType   uint8
	ICMPCode   uint8
}
