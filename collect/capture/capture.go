// Package capture records the packets of one network namespace into a pcapng
// file, without libpcap: their headers, and by default nothing that an
// application sent. It sets no device to promiscuous mode and changes nothing
// else on the host.
package capture

import "time"

// Options say what to capture, and where to keep it.
type Options struct {
	// Dir is the folder of the spool, a file without a name that holds the
	// capture until it is read.
	Dir string
	// Filter is an expression in words of pcap-filter(7); "" is all packets.
	Filter string
	// Payload is how many bytes behind the headers are kept of each packet, of
	// at most 16 KiB.
	Payload int
	// Limit is how large the file may be, in bytes; 0 is 64 MiB. The capture
	// ends before the packet that does not fit.
	Limit int64
	// Ring is how much memory the kernel and the capture share, in bytes; 0 is
	// 2 MiB. More outlasts larger bursts.
	Ring int
}

// Stats tell what became of the packets.
type Stats struct {
	Packets  uint64 // in the file
	Dropped  uint64 // by the kernel, since the ring was full
	Bytes    int64  // of the file
	Full     bool   // the limit ended the capture
	Begun    time.Time
	Finished time.Time
}

const (
	defaultLimit = 64 << 20
	defaultRing  = 2 << 20
	// mostHeaders is how many bytes of a packet the kernel gives so that its
	// headers may be found in them: those of IPv6 in Geneve in IPv6 need 250.
	mostHeaders = 384
	mostPayload = 16 << 10
)

// CheckFilter tells whether an expression is one that Open understands.
func CheckFilter(expression string) error {
	t, err := parseFilter(expression)
	if err == nil {
		_, err = compileFilter(t, 1)
	}
	return err
}
