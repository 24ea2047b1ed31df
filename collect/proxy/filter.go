package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// leftOut stands where a value was that may hold a secret.
const leftOut = `"[left out]"`

// The bounds of what is held in memory of a document. A string that is longer
// is left out, what is deeper or has a longer key is no document of a proxy.
const (
	maxText  = 256 << 10
	maxKey   = 8 << 10
	maxDepth = 256
	maxBlank = 256
	enough   = 32 << 10 // bytes that are made ready at a time
)

// verdict is what becomes of a member of an object.
type verdict int

const (
	keep verdict = iota
	mask         // the key stays, the value is left out
	drop
)

// rule says what becomes of a member, and the rule for what is below it; nil
// keeps nothing there. The objects in a list have the rule of the list.
type rule func(o *object, key string) (verdict, rule)

// object is what is known of an object when one of its members is reached.
type object struct {
	members int    // before this one
	typ     string // of an Any: the last word of @type, which then came first
	url     string // of a TypedStruct: the last word of type_url
	name    string
}

// filter reads a JSON document and gives it again without what its rules leave
// out, in the same order and with the same blanks. It holds one string and the
// open brackets in memory. A document that is broken, or ends in its middle, is
// an error.
type filter struct {
	in   *bufio.Reader
	root rule
	// text, when it is not nil, sees every string that is a member and kept, as
	// it stands between its quotes, and gives what is to stand there.
	text func(o *object, key string, raw []byte) []byte

	store, out []byte // out lies in store
	blank      []byte // before the token that is next
	stack      []level
	begun      bool
	err        error
}

// level is an open bracket.
type level struct {
	close byte
	rule  rule
	o     object
	kept  int
}

func newFilter(in io.Reader, root rule) *filter {
	return &filter{in: bufio.NewReaderSize(in, 64<<10), root: root}
}

// Read gives the document, and io.EOF only when it was whole.
func (f *filter) Read(p []byte) (int, error) {
	if len(f.out) == 0 && f.err == nil {
		f.out = f.store[:0]
		for len(f.out) < enough && f.err == nil {
			f.err = f.step()
		}
		f.store = f.out
	}
	if len(f.out) == 0 {
		return 0, f.err
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	return n, nil
}

var errCut = errors.New("the document ends in its middle")

// step reads one member, element or closing bracket.
func (f *filter) step() error {
	if len(f.stack) == 0 {
		return f.top()
	}
	at := len(f.stack) - 1
	l := &f.stack[at]
	c, err := f.token()
	if err != nil {
		return err
	}
	if c == l.close {
		f.out = append(append(f.out, f.blank...), c)
		f.stack = f.stack[:len(f.stack)-1]
		return nil
	}
	if l.o.members > 0 {
		if c != ',' {
			return f.broken(c, "a comma")
		}
		if c, err = f.token(); err != nil {
			return err
		}
	}
	defer func() { f.stack[at].o.members++ }() // which the value may have moved
	if l.close == ']' {
		f.separate(l)
		return f.value(c, nil, "", l.rule)
	}
	return f.member(c, l)
}

// top is the document itself, and what follows it.
func (f *filter) top() error {
	c, err := f.token()
	switch {
	case f.begun && err == errCut:
		f.out = append(f.out, f.blank...)
		return io.EOF
	case err != nil:
		return err
	case f.begun:
		return f.broken(c, "the end of the document")
	case c != '{' && c != '[':
		return f.broken(c, "a JSON document")
	}
	f.begun = true
	return f.value(c, nil, "", f.root)
}

// member reads KEY: VALUE.
func (f *filter) member(c byte, l *level) error {
	if c != '"' {
		return f.broken(c, "a key")
	}
	before := len(f.out)
	f.separate(l)
	f.out = append(f.out, '"')
	at := len(f.out)
	if whole, err := f.copyString(maxKey); err != nil || !whole {
		return errors.Join(err, onlyIf(!whole, "a key is longer than any of a proxy"))
	}
	key := string(f.out[at : len(f.out)-1])
	c, err := f.token()
	if err != nil {
		return err
	}
	if c != ':' {
		return f.broken(c, "a colon")
	}
	f.out = append(append(f.out, f.blank...), ':')
	if c, err = f.token(); err != nil {
		return err
	}
	do, below := l.rule(&l.o, key)
	switch do {
	case drop:
		f.out = f.out[:before]
		l.kept--
		return f.skip(c)
	case mask:
		f.out = append(f.out, f.blank...)
		return f.mask(c)
	}
	f.out = append(f.out, f.blank...)
	f.blank = f.blank[:0]
	return f.value(c, &l.o, key, below)
}

// separate writes the comma and the blanks before a member or an element.
func (f *filter) separate(l *level) {
	if l.kept > 0 {
		f.out = append(f.out, ',')
	}
	l.kept++
	f.out = append(f.out, f.blank...)
	f.blank = f.blank[:0]
}

// value reads a value that is kept; o is nil in a list.
func (f *filter) value(c byte, o *object, key string, below rule) error {
	switch c {
	case '{', '[':
		if len(f.stack) == maxDepth {
			return errors.New("the document is deeper than any of a proxy")
		}
		if below == nil {
			below = nothing // a string was expected
		}
		f.out = append(append(f.out, f.blank...), c)
		f.stack = append(f.stack, level{close: c + 2, rule: below}) // { } and [ ] are two apart
		return nil
	case '"':
		return f.keepString(o, key)
	}
	return f.word(c, true)
}

// keepString copies a string, unless its text looks like a secret.
func (f *filter) keepString(o *object, key string) error {
	f.out = append(f.out, '"')
	at := len(f.out)
	whole, err := f.copyString(maxText)
	if err != nil {
		return err
	}
	if !whole {
		f.out = append(f.out[:at-1], leftOut...)
		return nil
	}
	raw := f.out[at : len(f.out)-1]
	if secretText(raw) {
		f.out = append(f.out[:at-1], leftOut...)
		return nil
	}
	if o == nil {
		return nil
	}
	o.learn(key, raw)
	if f.text == nil {
		return nil
	}
	changed := f.text(o, key, raw)
	f.out = append(append(f.out[:at], changed...), '"')
	return nil
}

// learn keeps what later members of an object are judged by.
func (o *object) learn(key string, raw []byte) {
	last := func() string { return string(raw[bytes.LastIndexAny(raw, "./")+1:]) }
	switch {
	case key == "@type" && o.members == 0:
		o.typ = last()
	case key == "type_url" || key == "typeUrl":
		o.url = last()
	case key == "name":
		o.name = string(raw)
	}
}

// mask reads a value away. What the proxy itself left out stays as it wrote it.
func (f *filter) mask(c byte) error {
	if c != '"' {
		f.out = append(f.out, leftOut...)
		return f.skip(c)
	}
	at := len(f.out)
	f.out = append(f.out, '"')
	whole, err := f.copyString(64)
	if s := string(f.out[at:]); whole && (s == `"[redacted]"` || s == `"W3JlZGFjdGVkXQ=="`) {
		return err
	}
	f.out = append(f.out[:at], leftOut...)
	return err
}

// copyString appends what follows an opening quote, with the closing one. Of a
// string that has more than most bytes it appends nothing; whole is false.
func (f *filter) copyString(most int) (whole bool, err error) {
	at, slashes := len(f.out), 0 // backslashes that the text so far ends in
	whole = true
	for {
		part, err := f.in.ReadSlice('"')
		if err != nil && err != bufio.ErrBufferFull {
			return false, ending(err)
		}
		if whole {
			f.out = append(f.out, part...)
		}
		if len(f.out)-at > most {
			f.out, whole = f.out[:at], false
		}
		text := bytes.TrimSuffix(part, []byte{'"'})
		n := len(text) - len(bytes.TrimRight(text, `\`))
		if n == len(text) {
			n += slashes
		}
		slashes = n
		if err == nil && n%2 == 0 {
			return whole, nil
		}
		if err == nil {
			slashes = 0 // the quote was the escaped one
		}
	}
}

// skip reads a value away, however large it is.
func (f *filter) skip(c byte) error {
	depth := 0
	for {
		var err error
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return f.broken(c, "a value")
			}
		case '"':
			_, err = f.copyString(0)
		case ',', ':':
			if depth == 0 {
				return f.broken(c, "a value")
			}
		default:
			err = f.word(c, false)
		}
		if err != nil {
			return err
		}
		if depth == 0 {
			return nil
		}
		if c, err = f.token(); err != nil {
			return err
		}
	}
}

// word reads a number, true, false or null.
func (f *filter) word(c byte, keep bool) error {
	text := append(make([]byte, 0, 32), c)
	for {
		c, err := f.in.ReadByte()
		if err != nil {
			return ending(err)
		}
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == 'E' || c == '.' || c == '+' || c == '-' {
			if text = append(text, c); len(text) < 64 {
				continue
			}
		}
		break
	}
	f.in.UnreadByte()
	switch s := string(text); {
	case s == "true", s == "false", s == "null", strings.Trim(s, "0123456789+-.eE") == "" && s[len(s)-1] >= '0' && s[len(s)-1] <= '9':
	default:
		return fmt.Errorf("is no JSON: %q where a value should be", s)
	}
	if keep {
		f.out = append(f.out, text...)
	}
	return nil
}

// token reads up to the next byte that is no blank. The blanks, as far as they
// are no waste, are in blank.
func (f *filter) token() (byte, error) {
	f.blank = f.blank[:0]
	for {
		c, err := f.in.ReadByte()
		if err != nil {
			return 0, ending(err)
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, nil
		}
		if len(f.blank) < maxBlank {
			f.blank = append(f.blank, c)
		}
	}
}

// ending makes the end of the input, which is early wherever a token is looked
// for, an error that says so.
func ending(err error) error {
	if err == io.EOF {
		return errCut
	}
	return err
}

func (f *filter) broken(c byte, instead string) error {
	return fmt.Errorf("is no JSON: %q where %s should be", c, instead)
}

func onlyIf(bad bool, text string) error {
	if bad {
		return errors.New(text)
	}
	return nil
}
