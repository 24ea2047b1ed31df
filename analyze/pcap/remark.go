package pcap

import "fmt"

// Remark is something that is wrong with a capture, or that was skipped in it.
type Remark struct {
	// Packet is the last packet before it, 0 when it stands before the first.
	Packet int
	// Offset is the byte of the file where the record begins that it is about;
	// of a compressed file it counts what comes out.
	Offset int64
	Text   string
	// More counts what else in the file is wrong in the same way.
	More uint64
	// Harmless is set for what a good capture may have and nobody here needs:
	// a block of a kind that was skipped.
	Harmless bool
}

// String is the text, and how often it is so.
func (m Remark) String() string {
	if m.More == 0 {
		return m.Text
	}
	return fmt.Sprintf("%s (and %d more like it)", m.Text, m.More)
}

// problem is a kind of remark: of each kind the first one is kept in words.
type problem uint8

const (
	cutOff problem = iota
	notUnpacked
	badVersion
	newVersion
	badLink
	noOrder
	badRecord
	badBlock
	bigBlock
	badPacket
	noInterface
	tooManyInterfaces
	badInterface
	badClock
	badOption
	badNames
	badStatistics
	longerThanSent
	timeOutOfRange
	carried
	noTime
	secrets
	journal
	custom
	unknownBlock
	tooManyNames
	tooManyComments
	problems
)

func (p problem) harmless() bool {
	return p == secrets || p == journal || p == custom || p == unknownBlock
}

// note keeps a remark about the record at the offset, or counts it when there
// is one of its kind.
func (r *Reader) note(p problem, offset int64, format string, args ...any) {
	if at := r.noted[p]; at > 0 {
		r.remarks[at-1].More++
		return
	}
	r.remarks = append(r.remarks, Remark{
		Packet: r.number, Offset: offset, Text: fmt.Sprintf(format, args...), Harmless: p.harmless(),
	})
	r.noted[p] = len(r.remarks)
}

// again counts a remark when there is one of its kind. It spares packets the
// making of words that nobody reads.
func (r *Reader) again(p problem) bool {
	at := r.noted[p]
	if at > 0 {
		r.remarks[at-1].More++
	}
	return at > 0
}
