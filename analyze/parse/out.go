package parse

import (
	"strings"

	"whichbackend/analyze/record"
)

// Sink takes what parsers read. The store is one, tests have another.
type Sink interface {
	Socket(*record.Socket)
	Translation(*record.Translation)
	Service(*record.Service)
	Owner(*record.Owner)
	Address(*record.Address)
	Reading(*record.Reading)
	Problem(*record.Problem)
}

// maxProblems bounds the problems recorded with their text for one section;
// beyond it lines are still counted.
const maxProblems = 200

// maxProblemText bounds the quoted text of a problem, in bytes.
const maxProblemText = 300

type verdict uint8

const (
	undecided verdict = iota
	understood
	ignored
	unknown
)

// Out takes what a parser says about the line or document that it is reading,
// and stamps every record with its position.
type Out struct {
	sink     Sink
	artifact string // its path
	sec      *record.Section
	line     int
	text     []byte
	pointer  string
	verdict  verdict
	settled  bool // the verdict on the current line is counted
	problems int
}

// Socket emits a socket.
func (o *Out) Socket(s record.Socket) { o.stamp(&s.Pos); o.sink.Socket(&s) }

// Translation emits a translation.
func (o *Out) Translation(t record.Translation) { o.stamp(&t.Pos); o.sink.Translation(&t) }

// Service emits a service. A backend that stands on a line of its own carries
// its own position.
func (o *Out) Service(s record.Service) {
	o.stamp(&s.Pos)
	for i := range s.Backends {
		s.Backends[i].Pos.Section = o.sec.ID
	}
	o.sink.Service(&s)
}

// Owner emits an owner.
func (o *Out) Owner(w record.Owner) { o.stamp(&w.Pos); o.sink.Owner(&w) }

// Address emits an address of a network namespace.
func (o *Out) Address(a record.Address) { o.stamp(&a.Pos); o.sink.Address(&a) }

// Reading emits what a listing says of the state of something.
func (o *Out) Reading(r record.Reading) { o.stamp(&r.Pos); o.sink.Reading(&r) }

// stamp completes a position. A parser that emits after the fact has set Line
// (or Pointer) itself.
func (o *Out) stamp(p *record.Pos) {
	p.Section = o.sec.ID
	if p.Line == 0 {
		p.Line = o.line
	}
	if p.Pointer == "" {
		p.Pointer = o.pointer
	}
	o.verdict = understood
}

// Line is the number of the line that is being read, for a parser that emits
// a record only after later lines.
func (o *Out) Line() int { return o.line }

// At sets the JSON pointer that the following records carry.
func (o *Out) At(pointer string) { o.pointer = pointer }

// Understood says that the line was understood although it emits no record:
// a header, or a part of a record.
func (o *Out) Understood() { o.verdict = understood }

// Ignore says that the line is known and tells nothing that is needed.
func (o *Out) Ignore() { o.verdict = ignored }

// Problem says that the line could not be understood, and why.
func (o *Out) Problem(why string) {
	o.verdict = unknown
	o.problem(record.Pos{Line: o.line, Pointer: o.pointer}, string(clip(o.text)), why)
}

// ProblemAt takes back an earlier verdict of understood on one line.
func (o *Out) ProblemAt(line int, text, why string) {
	if (line < o.line || o.settled) && o.sec.Understood > 0 {
		o.sec.Understood--
		o.sec.Unknown++
	} else {
		o.verdict = unknown
	}
	o.problem(record.Pos{Line: line, Pointer: o.pointer}, string(clip([]byte(text))), why)
}

func (o *Out) problem(pos record.Pos, text, why string) {
	o.problems++
	if o.problems > maxProblems {
		return
	}
	pos.Section = o.sec.ID
	o.sink.Problem(&record.Problem{Pos: pos, Text: text, Why: why})
}

// Tool says which tool and version wrote the section, as far as the text
// tells. The first word on it stands.
func (o *Out) Tool(tool string) {
	if o.sec.Tool == "" {
		o.sec.Tool = tool
	}
}

// Command is the command line that a transcript or manifest shows for the
// section, "" when not known.
func (o *Out) Command() string { return o.sec.Command }

// settle counts the verdict on the current line.
func (o *Out) settle() {
	o.sec.Lines++
	if o.verdict == undecided {
		if len(strings.TrimSpace(string(o.text))) == 0 {
			o.verdict = ignored
		} else {
			o.Problem("not understood as " + o.sec.Format)
		}
	}
	switch o.verdict {
	case understood:
		o.sec.Understood++
	case ignored:
		o.sec.Ignored++
	default:
		o.sec.Unknown++
	}
	o.verdict, o.settled = undecided, true
}

func clip(b []byte) []byte {
	if len(b) > maxProblemText {
		return b[:maxProblemText]
	}
	return b
}
