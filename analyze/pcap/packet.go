// Package pcap reads and writes packet captures: pcap and pcapng, as files and
// compressed, with what they tell of interfaces, losses and names. It looks
// into no packet. A capture comes from a stranger: nothing in it makes the
// package panic, or allocate more than a little beyond what it reads.
package pcap

// Packet is one captured packet.
type Packet struct {
	// Number counts the packets of the file from 1, as tcpdump and Wireshark do.
	Number int
	// Time is in nanoseconds since 1970 UTC, by the capturing host's clock.
	Time int64
	// Interface is the number of its interface in Reader.Interfaces.
	Interface int
	// LinkType is the interface's (LINKTYPE_ of tcpdump.org), without the bits
	// of the frame check sequence.
	LinkType uint16
	// Direction is how it passed, where the file tells: 0 not told, 1 in, 2 out.
	Direction uint8
	// Length is its length on the wire, in bytes; Data is what was kept of it.
	Length int
	Data   []byte
}

// Batch is a run of packets whose data lies in one buffer. It stays valid until
// it is filled again, so that one goroutine may read while another decodes.
type Batch struct {
	Packets []Packet
	buffer  []byte
}
