package flow

import (
	"time"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// emitter writes the table as records.
type emitter struct {
	*table
	sink  Sink
	names []string // of the interfaces
	texts map[wrapped]string
	// What is handed out again and again.
	flow     record.Flow
	kept     []record.Exchange
	stamps   [2][maxStamps]uint32
	segments [2][maxSegments]record.Segment
}

// wrapped is an encapsulation in a direction.
type wrapped struct {
	place uint32
	back  uint8
}

// emit gives everything to the sink: interfaces, flows in the order of their
// first packets, packets without a flow, names.
func (t *table) emit(r *pcap.Reader, sink Sink) {
	w := emitter{table: t, sink: sink, texts: map[wrapped]string{}}
	w.interfaces(r.Interfaces())
	t.settle()
	t.index = index{}
	alone := t.faults.alone
	for i := range t.flows.n {
		e := t.flows.at(i)
		for len(alone) > 0 && alone[0].number < e.number {
			w.entry(&alone[0])
			alone = alone[1:]
		}
		w.entry(e)
		t.flows.done(i) // what the sink keeps grows meanwhile
	}
	for i := range alone {
		w.entry(&alone[i])
	}
	t.sum.Flows = uint64(t.flows.n) + uint64(len(t.faults.alone))
	for _, u := range t.undecoded.rows() {
		sink.Undecoded(&u)
	}
	for _, n := range r.Names() {
		sink.Name(&Name{Addr: n.Addr, Name: n.Name})
	}
	for i := range t.answers.list {
		sink.Name(&t.answers.list[i])
	}
}

func (w *emitter) interfaces(list []pcap.Interface) {
	for i, f := range list {
		w.names = append(w.names, f.Name)
		out := record.Interface{
			Number: i, Name: f.Name, LinkType: uint32(f.LinkType), Snaplen: f.Snaplen, Filter: f.Filter,
			Packets: f.Packets, Cut: f.Cut, Dropped: f.Dropped, Lossy: f.Lossy,
		}
		if f.Packets > 0 {
			out.First, out.Last = clock(f.First), clock(f.Last)
		}
		w.sink.Interface(&out)
	}
}

func clock(nanos int64) time.Time { return time.Unix(0, nanos).UTC() }

func (w *emitter) entry(e *entry) {
	c := e.client()
	p := &w.places.list[e.place]
	f := &w.flow
	*f = record.Flow{Pos: record.Pos{Packet: int(e.number)}, Protocol: record.Protocol(e.protocol)}
	f.Tuple.Source, f.Tuple.Destination = e.end(c), e.end(1-c)
	f.Guessed = e.flags&flagCertain == 0
	f.Interface = int(p.device.number)
	f.Encapsulation = w.encapsulation(e)
	f.First, f.Last = clock(e.first), clock(e.last)
	f.Duplicates = uint64(e.dups)
	f.HTTP = e.flags&flagHTTP != 0
	name := ""
	if f.Interface < len(w.names) {
		name = w.names[f.Interface]
	}
	f.Device = w.places.deviceName(p.device, name)
	if p.device.link == decode.LinkSLL {
		f.Leg = "in"
		if (e.bits&keyLeg != 0) == (c == 0) {
			f.Leg = "out"
		}
	}
	if e.fault > 0 {
		f.Fault = w.faults.list[e.fault-1]
	}
	if e.announced > 0 {
		f.Announced = w.announced[e.announced-1]
	}
	if e.name > 0 {
		f.Name = w.table.names.list[e.name-1]
	}
	w.half(&f.Client, e, c)
	w.half(&f.Server, e, 1-c)
	f.Exchanged = int(e.exchanged)
	w.turns(e)
	f.Exchanges = w.kept
	w.sink.Flow(f)
}

func (w *emitter) encapsulation(e *entry) string {
	at := e.placeOf(e.client())
	depth := w.places.list[at].depth
	if depth == 0 {
		return ""
	}
	back := e.back
	if e.client() == 1 {
		back = ^back
	}
	k := wrapped{at, back & (1<<depth - 1)}
	text, ok := w.texts[k]
	if !ok {
		text = w.places.text(k.place, k.back)
		w.texts[k] = text
	}
	return text
}

func (w *emitter) half(out *record.Half, e *entry, end int) {
	h, c := &e.hot[end], &e.cold[end]
	out.Packets, out.Bytes, out.Payload = uint64(h.packets), h.bytes, h.sent
	out.SYN, out.FIN, out.RST, out.SYNs = int(c.syn), int(c.fin), int(c.rst), int(c.syns)
	out.ISN, out.MSS, out.Scale = c.isn, c.mss, c.scale
	out.TTL, out.IPID = c.ttl, c.ipid
	out.Data, out.Begin, out.BeginLength = int(c.data), c.begin, int(h.begin)
	if c.syn > 0 {
		out.SYNTime = clock(c.synTime)
	}
	if c.data > 0 {
		out.DataTime = clock(c.dataTime)
	}
	if h.stamps > 0 {
		out.Stamps = w.stamps[end][:copy(w.stamps[end][:], c.stamp[:h.stamps])]
	}
	if h.samples == 0 {
		return
	}
	for i, s := range c.segments[:h.samples] {
		w.segments[end][i] = record.Segment{
			Sequence: s.sequence, Length: s.length, Hash: s.hash, Stamp: s.stamp, Packet: int(s.number),
		}
	}
	out.Segments = w.segments[end][:h.samples]
}

func (w *emitter) turns(e *entry) {
	w.kept = w.kept[:0]
	for i := e.exchange; i > 0; {
		x := w.exchanges.at(i - 1)
		out := record.Exchange{
			Packet: int(x.number), Start: clock(x.start), Sent: clock(x.sent),
			Up: x.up, Down: x.down, Begin: x.begin,
		}
		if x.down > 0 {
			out.Answer, out.End = clock(x.answer), clock(x.end)
		}
		if x.mark > 0 {
			m := &w.marks[x.mark-1]
			out.RequestID, out.ForwardedFor = m.id, m.from
		}
		w.kept = append(w.kept, out)
		i = x.next
	}
}
