package parse

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// conntrackIsSave tells a row of conntrack -o save:
//
//	-A -t 431963 -u SEEN_REPLY,ASSURED -s 10.244.1.10 -d 10.96.0.100 -g 10.244.2.11 -q 10.244.1.10 -p tcp --sport 58574 ...
//
// ipvsadm -S writes -A -t ADDRESS:PORT and -A -u ADDRESS:PORT, iptables-save a
// chain after -A.
func conntrackIsSave(b []byte) bool {
	if len(b) < 8 || b[2] != ' ' || b[3] != '-' || b[5] != ' ' || bytes.IndexByte([]byte("AIUD"), b[1]) < 0 {
		return false
	}
	value, _ := conntrackToken(b[6:])
	if len(value) == 0 {
		return false
	}
	switch b[4] {
	case 't':
		return conntrackSigned(value)
	case 'u':
		return value[0] >= 'A' && value[0] <= 'Z' && bytes.IndexByte(value, ':') < 0
	}
	return false
}

// readSave reads a row of -o save. A row of a table and a new flow of an event
// log look the same (-A, once -I).
func (r *conntrackRow) readSave(b []byte, events bool) string {
	r.reset()
	switch {
	case b[1] == 'U':
		r.t.Via, r.t.Event = record.ViaEvent, "UPDATE"
	case b[1] == 'D':
		r.t.Via, r.t.Event = record.ViaEvent, "DESTROY"
	case events:
		r.t.Via, r.t.Event = record.ViaEvent, "NEW"
	}
	r.t.Unreplied = true
	var buf [64][]byte
	f := fields(b, buf[:0])
	for i := 1; i+1 < len(f); i += 2 {
		if why := r.saved(string(f[i]), f[i+1]); why != "" {
			return why
		}
	}
	if len(f)%2 == 0 {
		return "the last option has no value"
	}
	if r.t.Protocol == 0 {
		return "no protocol"
	}
	r.n = 2
	return r.finish()
}

func (r *conntrackRow) saved(flag string, value []byte) string {
	o, a := &r.tuples[0], &r.tuples[1]
	switch flag {
	case "-t":
		return r.timeout(value)
	case "-u":
		r.t.Unreplied = !bytes.Contains(value, []byte("SEEN_REPLY"))
		r.t.Assured = bytes.Contains(value, []byte("ASSURED"))
	case "-m":
		return r.mark(value)
	case "-w", "--orig-zone":
		return r.zone(value)
	case "-s":
		return r.address(&o.src, value)
	case "-d":
		return r.address(&o.dst, value)
	case "-g", "-r": // the destination was rewritten, or not
		return r.address(&a.src, value)
	case "-n", "-q": // the source was rewritten, or not
		return r.address(&a.dst, value)
	case "-p":
		p, ok := protocolNumber(string(value))
		if !ok {
			return "the protocol is not known"
		}
		r.t.Protocol = p
	case "--sport":
		return conntrackPort(&o.sport, &o.hasS, value)
	case "--dport":
		return conntrackPort(&o.dport, &o.hasD, value)
	case "--reply-port-src":
		return conntrackPort(&a.sport, &a.hasS, value)
	case "--reply-port-dst":
		return conntrackPort(&a.dport, &a.hasD, value)
	case "--state":
		r.t.State = conntrackState(value)
	}
	return ""
}

// readOVS reads a row of ovs-appctl dpctl/dump-conntrack, whose first tuple's
// group begins at orig:
//
//	tcp,orig=(src=10.1.0.5,dst=10.1.0.4,sport=50134,dport=8080),reply=(src=10.1.0.4,...),zone=11,protoinfo=(state=TIME_WAIT)
func (r *conntrackRow) readOVS(b []byte, orig int) string {
	r.reset()
	name := b[:orig]
	if i := bytes.LastIndexAny(name, " \t:"); i >= 0 {
		name = name[i+1:]
	}
	p, ok := protocolNumber(string(name))
	if !ok {
		return "no protocol before the addresses"
	}
	r.t.Protocol = p
	group, start := "", orig+1
	for i := start; i <= len(b); i++ {
		if i < len(b) && b[i] != ',' && b[i] != '(' && b[i] != ')' {
			continue
		}
		item := b[start:i]
		start = i + 1
		if i < len(b) && b[i] == '(' {
			group = strings.TrimSuffix(string(item), "=")
			continue
		}
		if eq := bytes.IndexByte(item, '='); eq > 0 {
			if why := r.pairOVS(group, string(item[:eq]), item[eq+1:]); why != "" {
				return why
			}
		}
		if i < len(b) && b[i] == ')' {
			group = ""
		}
	}
	if group != "" {
		return "the row is cut off"
	}
	return r.finish()
}

func (r *conntrackRow) pairOVS(group, key string, value []byte) string {
	switch {
	case (group == "orig" || group == "reply") && key != "id":
		return r.pair([]byte(key), value)
	case group == "protoinfo" && (key == "state" || key == "state_orig"):
		r.t.State = conntrackState(value)
	case group != "":
	case key == "status":
		r.t.Unreplied = !bytes.Contains(value, []byte("SEEN_REPLY"))
		r.t.Assured = bytes.Contains(value, []byte("ASSURED"))
		r.t.Offloaded = bytes.Contains(value, []byte("OFFLOAD"))
	case key == "timeout":
		return r.timeout(value)
	case key == "zone":
		return r.zone(value)
	case key == "id":
		return r.id(value)
	case key == "mark":
		n, err := strconv.ParseUint(string(value), 0, 32)
		if err != nil {
			return "the mark is no number of 32 bits"
		}
		r.t.Mark = uint32(n)
	}
	return ""
}

// xmlText reads a line of -o xml. A flow stands on one line, but not when the
// text was reformatted or another stream cut into it.
func (p *conntrackParser) xmlText(b []byte, line int) {
	p.out.Understood() // unless a flow in it is wrong
	for {
		if p.xml == nil {
			i := bytes.Index(b, []byte("<flow"))
			if i < 0 {
				return
			}
			b = b[i:]
			p.xmlLine = line
		}
		whole := append(p.xml, b...)
		i := bytes.Index(whole, []byte("</flow>"))
		if i < 0 {
			p.xml = whole
			if len(whole) > conntrackMaxFlow {
				p.out.ProblemAt(p.xmlLine, string(whole), "the flow element has no end")
				p.xml = nil
			}
			return
		}
		b = whole[i+len("</flow>"):]
		p.xml = nil
		p.flow(whole[:i])
	}
}

// flow reads one flow element.
func (p *conntrackParser) flow(b []byte) {
	if why := p.row.readXML(b); why != "" {
		p.out.ProblemAt(p.xmlLine, string(b), why)
		return
	}
	p.emit(p.xmlLine)
}

func (r *conntrackRow) readXML(b []byte) string {
	r.reset()
	direction := ""
	for {
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			break
		}
		j := bytes.IndexByte(b[i:], '>')
		if j < 0 {
			return "a tag has no end"
		}
		tag := string(b[i+1 : i+j])
		b = b[i+j+1:]
		text := b
		if k := bytes.IndexByte(b, '<'); k >= 0 {
			text = b[:k]
		}
		name, attributes, _ := strings.Cut(strings.TrimSuffix(tag, "/"), " ")
		switch name {
		case "flow":
			r.flowType(conntrackAttribute(attributes, "type"))
		case "meta":
			direction = conntrackAttribute(attributes, "direction")
		case "layer4":
			n, _ := number([]byte(conntrackAttribute(attributes, "protonum")))
			if n == 0 || n > math.MaxUint8 {
				return "no protocol"
			}
			r.t.Protocol = record.Protocol(n)
		default:
			if why := r.element(direction, name, bytes.TrimSpace(text)); why != "" {
				return why
			}
		}
	}
	r.n = 2
	return r.finish()
}

func (r *conntrackRow) flowType(s string) {
	switch s {
	case "new", "update", "destroy":
		r.t.Via, r.t.Event = record.ViaEvent, strings.ToUpper(s)
	}
}

func conntrackAttribute(attributes, name string) string {
	_, s, _ := strings.Cut(attributes, name+`="`)
	s, _, _ = strings.Cut(s, `"`)
	return s
}

// element reads one element by the direction of the meta element around it.
func (r *conntrackRow) element(direction, name string, text []byte) string {
	if direction == "independent" {
		switch name {
		case "state":
			r.t.State = conntrackState(text)
		case "timeout":
			return r.timeout(text)
		case "mark":
			return r.mark(text)
		case "zone":
			return r.zone(text)
		case "id":
			return r.id(text)
		case "assured":
			r.t.Assured = true
		case "unreplied":
			r.t.Unreplied = true
		case "offload", "hw_offload":
			r.t.Offloaded = true
		}
		return ""
	}
	switch direction {
	case "original":
		r.n = 1
	case "reply":
		r.n = 2
	default:
		return ""
	}
	t := r.tuple()
	switch name {
	case "src":
		return r.address(&t.src, text)
	case "dst":
		return r.address(&t.dst, text)
	case "sport":
		return conntrackPort(&t.sport, &t.hasS, text)
	case "dport":
		return conntrackPort(&t.dport, &t.hasD, text)
	case "packets":
		return r.count(&r.t.Packets, text)
	case "bytes":
		return r.count(&r.t.Bytes, text)
	case "zone":
		if direction == "original" {
			return r.zone(text)
		}
	}
	return ""
}
