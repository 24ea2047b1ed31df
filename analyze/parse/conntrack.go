package parse

import (
	"bytes"

	"whichbackend/analyze/record"
)

// The kernel's connection tracking table, one row of conntrack 1.4.7
// (conntrack -L -o extended,id):
//
//	ipv4     2 tcp      6 431866 ESTABLISHED src=10.98.0.2 dst=172.18.0.2 sport=54494 dport=80 src=10.0.0.5 dst=10.0.0.2 sport=80 dport=54494 [ASSURED] mark=0 use=1 id=2710958790
//
// The first tuple is what entered. The second is what the answer looks like,
// so what leaves goes from its destination to its source. The same rows stand
// in /proc/net/nf_conntrack and in event logs (conntrack -E); -o save, -o xml
// and Open vSwitch write the same facts in other notations (conntrack_forms.go).

// conntrackParser reads one section.
type conntrackParser struct {
	out *Out
	row conntrackRow
	// events, deleted and dying are what the command line says of the rows,
	// where it is known and the rows alone do not tell.
	events, deleted, dying bool

	// held is the part of a row that stands before a trailer on one line: the
	// tool's two streams went to one file, and the rest of the row follows on
	// the next line.
	held     []byte
	heldLine int

	xml     []byte // a flow element that is not complete yet
	xmlLine int
}

// conntrackMaxFlow bounds a flow element of -o xml.
const conntrackMaxFlow = 64 << 10

const conntrackForeign = "not understood as conntrack"

var (
	conntrackSrc     = []byte(" src=")
	conntrackDst     = []byte(" dst=")
	conntrackOrig    = []byte(",orig=(src=")
	conntrackMask    = []byte(" mask-src=")
	conntrackTrailer = []byte("conntrack v")
)

// conntrackHead claims rows, trailers and XML.
func conntrackHead(b []byte) bool {
	if len(b) < 5 {
		return false
	}
	near := b[:min(len(b), 512)]
	if i := conntrackFind(near, conntrackSrc); i >= 0 {
		after := near[i+5:]
		if conntrackFind(after, conntrackDst) < 0 {
			return false
		}
		return conntrackStart(b) || bytes.Contains(after, conntrackSrc) || bytes.Contains(after, conntrackMask)
	}
	switch b[0] {
	case 'c':
		return bytes.HasPrefix(b, conntrackTrailer)
	case '-':
		return conntrackIsSave(b)
	case '<':
		return bytes.HasPrefix(b, []byte("<flow")) || string(b) == "<conntrack>" || string(b) == "</conntrack>"
	case 's':
		return bytes.HasPrefix(b, []byte("src=")) && bytes.Contains(near, conntrackDst) && bytes.Contains(near, []byte(" sport="))
	}
	return bytes.Contains(near[:min(len(near), 64)], conntrackOrig)
}

// conntrackFind finds a word that stands near the begin of a row. A search
// through so few bytes is one of a few instructions.
func conntrackFind(b, word []byte) int {
	if len(b) > 64 {
		if i := bytes.Index(b[:64], word); i >= 0 {
			return i
		}
	}
	return bytes.Index(b, word)
}

// conntrackStart tells whether a line begins as a row does: with an event, or
// with the name and number of a protocol.
func conntrackStart(b []byte) bool {
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		return end > 0 && conntrackEvent(b[:end+1]) != ""
	}
	i := bytes.IndexByte(b[:min(len(b), 10)], ' ')
	if i < 0 || !conntrackFamily(b[:i]) && conntrackProtocol(b[:i]) == 0 && string(b[:i]) != "unknown" {
		return false
	}
	for i < len(b) && b[i] == ' ' {
		i++
	}
	return i < len(b) && b[i] >= '0' && b[i] <= '9'
}

func conntrackOpen(out *Out) (line func(b []byte), end func()) {
	p := &conntrackParser{out: out}
	for _, w := range shellWords(out.Command()) {
		switch w {
		case "-E", "--event":
			p.events = true
		case "-D", "--delete":
			p.deleted = true
		case "dying":
			p.dying = true
		}
	}
	return p.line, p.end
}

func (p *conntrackParser) line(raw []byte) {
	if p.held != nil && p.join(raw) {
		return
	}
	b := bytes.TrimSpace(raw)
	if len(b) == 0 {
		return
	}
	// Rows end in a digit nearly always, and trailers never do.
	if last := b[len(b)-1]; last < '0' || last > '9' {
		if i := bytes.Index(b, conntrackTrailer); i >= 0 && bytes.Contains(b[i:], []byte("(conntrack-tools)")) {
			p.trailer(b, i)
			return
		}
	}
	if p.xml != nil || b[0] == '<' {
		p.xmlText(b, p.out.Line())
		return
	}
	switch why := p.read(b); why {
	case "":
		p.emit(0)
	case conntrackForeign:
		if _, isCount := number(b); isCount || bytes.Contains(b, conntrackMask) { // of conntrack -C, or an expectation
			p.out.Ignore()
		}
	default:
		p.out.Problem(why)
	}
}

func (p *conntrackParser) end() {
	p.flush()
	if p.xml != nil {
		p.out.ProblemAt(p.xmlLine, string(p.xml), "the flow element has no end")
	}
}

// read reads one row of any notation into p.row, and says what is wrong with it.
func (p *conntrackParser) read(b []byte) string {
	if b[0] == '-' {
		if !conntrackIsSave(b) {
			return conntrackForeign
		}
		return p.row.readSave(b, p.events)
	}
	if bytes.HasPrefix(b, conntrackSrc[1:]) {
		return p.row.read(b, 0)
	}
	if i := conntrackFind(b, conntrackSrc); i >= 0 {
		why := p.row.read(b, i+1)
		if why != "" && bytes.Contains(b, conntrackMask) {
			return conntrackForeign // an expectation, which is no connection yet
		}
		return why
	}
	if i := bytes.Index(b, conntrackOrig); i >= 0 {
		return p.row.readOVS(b, i)
	}
	return conntrackForeign
}

// emit emits p.row. line is 0 for the current line.
func (p *conntrackParser) emit(line int) {
	t := &p.row.t
	t.Line = line
	if p.deleted && t.Event == "" {
		t.Via, t.Event = record.ViaEvent, "DESTROY"
	}
	t.Closing = p.dying || t.Event == "DESTROY" || conntrackClosing(t.State)
	p.row.sawUse = p.row.sawUse || p.row.use
	p.out.Translation(*t)
}

// conntrackClosing tells whether a state says that the connection is over.
// CLOSE_WAIT is not among them: one side may go on sending for hours.
func conntrackClosing(state string) bool {
	switch state {
	case "TIME_WAIT", "CLOSE", "LAST_ACK", "FIN_WAIT",
		"FIN_WAIT_1", "FIN_WAIT_2", "CLOSING", // Open vSwitch
		"CLOSED", "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", // SCTP
		"CLOSEREQ", "TIMEWAIT": // DCCP
		return true
	}
	return false
}

// trailer reads a line that holds the tool's own words at i:
//
//	conntrack v1.4.7 (conntrack-tools): 23 flow entries have been shown.
//
// They come on standard error, and so may stand first, last, in between, or in
// the middle of a row when both streams went to one file.
func (p *conntrackParser) trailer(b []byte, i int) {
	said := b[i+len(conntrackTrailer):]
	if j := bytes.IndexByte(said, ' '); j > 0 && j < 20 {
		p.out.Tool("conntrack " + string(said[:j]))
	}
	if i > 0 {
		p.flush()
		if p.xml != nil || b[0] == '<' {
			p.xmlText(b[:i], p.out.Line())
		} else {
			p.held, p.heldLine = append([]byte(nil), b[:i]...), p.out.Line()
		}
	}
	if bytes.Contains(said, []byte("peration failed")) {
		p.out.Problem("conntrack failed: the table was not listed")
		return
	}
	p.out.Understood()
}

// join completes a held part of a row with the line after it, and tells
// whether that was the rest of the row.
func (p *conntrackParser) join(raw []byte) bool {
	b := bytes.TrimSpace(raw)
	if len(b) > 0 && !conntrackStart(b) && len(p.held)+len(raw) < conntrackMaxFlow {
		whole := append(p.held[:len(p.held):len(p.held)], raw...)
		if p.read(bytes.TrimSpace(whole)) == "" {
			p.emit(p.heldLine)
			p.held = nil
			return true
		}
	}
	p.flush()
	return false
}

// flush reads a held row alone: it was whole, or its rest is lost.
func (p *conntrackParser) flush() {
	b := bytes.TrimSpace(p.held)
	p.held = nil
	if len(b) == 0 {
		return
	}
	switch why := p.read(b); {
	case why == "":
		p.emit(p.heldLine)
	case why != conntrackForeign:
		p.out.ProblemAt(p.heldLine, string(b), why)
	case conntrackStart(b):
		p.out.ProblemAt(p.heldLine, string(b), "the row is cut off")
	}
}
