package match

import (
	"net/netip"
	"strings"
	"time"

	"whichbackend/analyze/record"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// web is an ordinary request over TCP.
func web() traffic {
	return traffic{protocol: record.TCP, start: noon, c: 3_000_000_001, s: 2_000_000_002, stamp: 777_000, ipid: 4242,
		request: "GET / HTTP/1.1\r\nHost: shop\r\nX: 0123456789\r\n\r\n", reply: "HTTP/1.1 200 OK\r\nServer: one\r\n\r\nhello", length: 20 * time.Millisecond}
}

func dns() traffic {
	return traffic{protocol: record.UDP, start: noon, request: "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x00\x00\x01\x00\x01",
		reply: "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x04shop\x00\x00\x01\x00\x01 10.2.0.2", length: time.Millisecond}
}

var (
	toVIP     = tuple("10.1.0.2:40000", "10.96.0.10:80")
	toBackend = tuple("10.1.0.2:40000", "10.2.0.2:8080")
	masked    = tuple("10.2.0.1:61234", "10.2.0.2:8080")
)

// client, in, out and backend are four places on the way through a router.
func atClient(t record.Tuple) spot {
	return spot{clock: "client", capture: 0, tuple: t, distance: 10 * time.Microsecond}
}

func routerIn(t record.Tuple) spot {
	return spot{clock: "router", capture: 1, tuple: t, distance: 100 * time.Microsecond}
}

func routerOut(t record.Tuple, leg int) spot {
	return spot{clock: "router", capture: 1, tuple: t, leg: leg, distance: 140 * time.Microsecond, hops: 1}
}

func atBackend(t record.Tuple, leg int) spot {
	return spot{clock: "backend", capture: 2, tuple: t, leg: leg, distance: 400 * time.Microsecond, hops: 2}
}

func oneWayOnly(f *record.Flow) { f.Server = record.Half{Scale: -1} }

func midstream(f *record.Flow) {
	f.Guessed = true
	for _, h := range []*record.Half{&f.Client, &f.Server} {
		h.SYN, h.SYNs, h.ISN, h.SYNTime, h.Stamps, h.MSS, h.Scale = 0, 0, 0, time.Time{}, nil, 0, -1
		h.Begin, h.BeginLength, h.IPID = 0, 0, 0
	}
}

func turnedRound(f *record.Flow) {
	f.Tuple = record.Tuple{Source: f.Tuple.Destination, Destination: f.Tuple.Source}
	f.Client, f.Server = f.Server, f.Client
}

func bare(t traffic) traffic { t.stamp = 0; return t }

// told lists translations: "before after tier".
func told(r Result) (out []string) {
	for _, t := range r.Translations {
		out = append(out, t.Before.Source.String()+">"+t.Before.Destination.String()+" "+t.After.Source.String()+">"+t.After.Destination.String()+" "+string(t.Tier))
	}
	return out
}

// scene is flows, and the translations that they show.
type scene struct {
	name  string
	build func(*bench)
	want  []string
}

const (
	dnat = "10.1.0.2:40000>10.96.0.10:80 10.1.0.2:40000>10.2.0.2:8080 "
	both = "10.1.0.2:40000>10.96.0.10:80 10.2.0.1:61234>10.2.0.2:8080 "
)

func later(d time.Duration) traffic {
	x := web()
	x.start = x.start.Add(d)
	return x
}

// nats are what must be recognised.
var nats = []scene{
	{"DNAT seen on two interfaces of the router", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), routerOut(toBackend, 1))
	}, []string{dnat + "exact"}},
	{"client and backend alone, clocks a minute apart", func(b *bench) {
		b.offsets["backend"] = -time.Minute
		b.see(web(), atClient(toVIP))
		b.see(web(), atBackend(toBackend, 1))
	}, []string{dnat + "exact"}},
	{"masquerade changes everything", func(b *bench) {
		b.see(web(), atClient(toVIP))
		b.see(web(), routerIn(toVIP))
		b.see(web(), routerOut(masked, 1))
		b.see(web(), atBackend(masked, 1))
	}, []string{both + "exact"}},
	{"two steps", func(b *bench) {
		b.see(web(), atBackend(masked, 2))
		b.see(web(), routerOut(toBackend, 1))
		b.see(web(), routerIn(toVIP))
	}, []string{dnat + "exact", "10.1.0.2:40000>10.2.0.2:8080 10.2.0.1:61234>10.2.0.2:8080 exact"}},
	{"a bridge that leaves the time to live alone, both directions", func(b *bench) {
		out := routerOut(toBackend, 1)
		out.hops = 0
		b.see(web(), routerIn(toVIP))
		b.see(web(), out)
	}, []string{dnat + "exact"}},
	{"the same, of one direction", func(b *bench) {
		out := routerOut(toBackend, 1)
		out.hops = 0
		b.see(web(), routerIn(toVIP), oneWayOnly)
		b.see(web(), out)
	}, []string{dnat + "strong"}},
	{"one direction behind, which mirrored traffic shows as well", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), routerOut(toBackend, 1), oneWayOnly)
	}, []string{dnat + "weak"}},
	{"one direction without timestamps", func(b *bench) {
		b.see(bare(web()), routerIn(toVIP), oneWayOnly)
		b.see(bare(web()), routerOut(toBackend, 1), oneWayOnly)
	}, []string{dnat + "weak"}},
	{"SYN proxy, in the middle", func(b *bench) {
		out := routerOut(masked, 1)
		out.s, out.proxied = 99_999_999, true
		b.see(web(), routerIn(toVIP))
		b.see(web(), out)
	}, []string{both + "strong"}},
	{"SYN proxy, at both ends by two clocks", func(b *bench) {
		far := atBackend(masked, 1)
		far.s, far.proxied = 99_999_999, true
		b.offsets["client"] = 17 * time.Second
		b.see(web(), atClient(toVIP))
		b.see(web(), far)
	}, []string{both + "strong"}},
	{"mirrored to a host that answers itself", func(b *bench) {
		mirror := routerOut(toBackend, 1)
		mirror.s = 99_999_999
		b.see(web(), routerIn(toVIP))
		b.see(web(), mirror)
	}, nil},
	{"midstream on one side", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), atBackend(toBackend, 1), midstream)
	}, []string{dnat + "strong"}},
	{"midstream on both sides", func(b *bench) {
		b.see(web(), routerIn(toVIP), midstream)
		b.see(web(), routerOut(toBackend, 1), midstream)
	}, []string{dnat + "strong"}},
	{"midstream, the server taken for the client", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), atBackend(toBackend, 1), midstream, turnedRound)
	}, []string{dnat + "strong"}},
	{"no answer", func(b *bench) {
		x := web()
		x.noAnswer, x.request, x.reply = true, "", ""
		b.see(x, routerIn(toVIP))
		b.see(x, routerOut(toBackend, 1))
	}, []string{dnat + "strong"}},
	{"DNS", func(b *bench) {
		b.see(dns(), routerIn(toVIP))
		b.see(dns(), routerOut(toBackend, 1))
	}, []string{dnat + "weak"}},
	{"a hairpin over a bridge that hands packets to the NAT", func(b *bench) {
		// Of a real recording: microseconds of SYN and SYN/ACK at each place.
		bridged := tuple("10.1.0.2:40000", "10.2.0.2:8080")
		for _, p := range []struct {
			tuple     record.Tuple
			leg       int
			out, back time.Duration
		}{{toVIP, 0, 0, 157}, {toVIP, 0, 8, 155}, {masked, 2, 120, 146}, {bridged, 1, 123, 156}, {bridged, 1, 125, 156}, {masked, 2, 129, 144}} {
			f := b.see(web(), spot{clock: "node", capture: 1, tuple: p.tuple, leg: p.leg})
			f.Client.TTL, f.Server.TTL = 64, 64
			f.Client.SYNTime, f.Server.SYNTime = noon.Add(p.out*time.Microsecond), noon.Add(p.back*time.Microsecond)
		}
	}, []string{dnat + "strong", "10.1.0.2:40000>10.2.0.2:8080 10.2.0.1:61234>10.2.0.2:8080 strong"}},
	{"a bridge on a host whose clock others do not agree about to the microsecond", func(b *bench) {
		for i := range 5 {
			x := later(time.Duration(i+1) * time.Minute)
			x.c, x.s = x.c+uint32(i+1)<<8, x.s+uint32(i+1)<<8
			b.offsets["router"] = time.Duration(i) * time.Millisecond
			b.see(x, routerIn(masked))
			b.see(x, atBackend(masked, 0))
		}
		out := routerOut(toBackend, 1)
		out.hops = 0
		b.see(web(), routerIn(toVIP))
		b.see(web(), out)
	}, []string{dnat + "exact"}},
	{"a connection beside one of a host with the same address", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), routerOut(toBackend, 1))
		other := web()
		other.c, other.s, other.stamp = 1_234_567_890, 1_987_654_321, 99
		far := routerIn(toVIP)
		far.capture = 7
		b.see(other, far)
	}, []string{dnat + "exact"}},
}

// traps are what must not be taken for a NAT.
var traps = []scene{
	{"an anonymised copy in the same file", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), routerIn(masked))
	}, nil},
	{"a copy of the same ports under another port", func(b *bench) {
		b.see(web(), routerIn(tuple("10.1.0.2:40000", "10.2.0.2:8009")))
		b.see(web(), routerIn(tuple("10.1.0.2:40000", "10.2.0.2:8010")))
	}, nil},
	{"a replay two seconds later", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(later(2*time.Second), routerIn(toBackend))
	}, nil},
	{"a replay half a second later across a router", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(later(500*time.Millisecond), routerOut(toBackend, 1))
	}, nil},
	{"a replay on another host an hour later", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		far := atBackend(toBackend, 1)
		b.see(later(time.Hour), far)
	}, nil},
	{"a replay by another clock that keeps the time to live", func(b *bench) {
		copied := routerIn(masked)
		copied.clock, copied.capture = "lab", 5
		b.see(web(), routerIn(toVIP))
		b.see(later(90*time.Second), copied, func(f *record.Flow) { f.Server.SYNTime = f.Server.SYNTime.Add(-60 * time.Microsecond) })
	}, nil},
	{"many copies", func(b *bench) {
		for i := range 6 {
			p := routerIn(toBackend)
			p.tuple.Source = netip.AddrPortFrom(p.tuple.Source.Addr(), uint16(40000+i))
			p.hops = uint8(i)
			b.see(web(), p)
		}
	}, nil},
	{"a SYN scan of two hosts", func(b *bench) {
		scan := bare(web())
		scan.noAnswer, scan.request, scan.reply = true, "", ""
		b.see(scan, routerIn(toVIP))
		scan.ipid, scan.start = 777, scan.start.Add(300*time.Microsecond)
		b.see(scan, routerOut(toBackend, 1))
	}, nil},
	{"small numbers made by hand", func(b *bench) {
		x := web()
		x.c, x.s = 1000, 2000
		b.see(x, routerIn(toVIP))
		b.see(x, routerOut(toBackend, 1))
	}, nil},
	{"other timestamps", func(b *bench) {
		x := web()
		x.stamp++
		b.see(web(), routerIn(toVIP))
		b.see(x, routerOut(toBackend, 1))
	}, nil},
	{"another first payload", func(b *bench) {
		x := web()
		x.request = strings.ToLower(x.request)
		b.see(web(), routerIn(toVIP))
		b.see(x, routerOut(toBackend, 1))
	}, nil},
	{"another window scale", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), routerOut(toBackend, 1), func(f *record.Flow) { f.Client.Scale = 2 })
	}, nil},
	{"a larger segment size behind", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), routerOut(toBackend, 1), func(f *record.Flow) { f.Client.MSS = 8960 })
	}, nil},
	{"the way runs against the clock", func(b *bench) {
		early := routerOut(toBackend, 1)
		early.distance = 10 * time.Microsecond
		b.see(web(), routerIn(toVIP))
		b.see(web(), early)
	}, nil},
	{"the reverse of itself", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), atBackend(record.Tuple{Source: toVIP.Destination, Destination: toVIP.Source}, 1))
	}, nil},
	{"one equal segment", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		b.see(web(), atBackend(toBackend, 1), midstream, func(f *record.Flow) {
			f.Server.Segments, f.Client.Segments = nil, f.Client.Segments[:1]
		})
	}, nil},
	{"a proxy has numbers of its own", func(b *bench) {
		x := web()
		x.c, x.s, x.stamp = 1_111_111, 2_222_222, 5
		b.see(web(), routerIn(toVIP))
		b.see(x, routerOut(masked, 1))
	}, nil},
	{"a health check with fixed bytes", func(b *bench) {
		ping := dns()
		ping.request, ping.reply = "PING", "PONG"
		b.see(ping, routerIn(toVIP))
		b.see(ping, routerOut(tuple("10.1.0.2:41000", "10.2.0.2:8080"), 1))
	}, nil},
	{"the same query to three places at other times", func(b *bench) {
		for i, p := range []spot{routerIn(toVIP), routerOut(toBackend, 1), atBackend(masked, 1)} {
			x := dns()
			x.start = x.start.Add(time.Duration(i) * time.Second)
			b.see(x, p)
		}
	}, nil},
	{"one announcement on two interfaces", func(b *bench) {
		x := dns()
		x.noAnswer, x.ipid = true, 9
		b.see(x, routerIn(tuple("10.1.0.2:5353", "224.0.0.251:5353")))
		b.see(x, routerOut(tuple("10.2.0.1:5353", "224.0.0.251:5353"), 1))
	}, nil},
	{"a constant number of the server, and one of clients that meets by chance", func(b *bench) {
		for i := range 3 {
			x := later(time.Duration(i) * time.Minute)
			x.s, x.c = 2_011_920_363, 777_777_777+uint32(i)
			b.see(x, routerIn(tuple("10.1.0.3:40000", "10.9.0.1:443")))
		}
		x := bare(web())
		x.s, x.request, x.reply = 2_011_920_363, "", ""
		b.see(x, routerIn(toVIP))
		x.ipid++
		b.see(x, routerOut(toBackend, 1))
	}, nil},
	{"a SYN that takes two seconds to the next interface", func(b *bench) {
		x := web()
		x.noAnswer, x.request = true, ""
		b.see(x, routerIn(toVIP))
		x.start = x.start.Add(2 * time.Second)
		b.see(x, routerOut(toBackend, 1))
	}, nil},
	{"a SYN proxy that changes no address", func(b *bench) {
		out := routerOut(toVIP, 1)
		out.s, out.proxied = 99_999_999, true
		b.see(web(), routerIn(toVIP))
		b.see(web(), out)
	}, nil},
	{"three answers to one SYN", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		for i, to := range []record.Tuple{toBackend, masked} {
			out := routerOut(to, 1)
			out.s, out.proxied, out.distance = 99_999_999+uint32(i), true, time.Duration(200+i)*time.Microsecond
			b.see(web(), out)
		}
	}, nil},
	{"first payloads that differ two steps apart", func(b *bench) {
		x := web()
		x.request = strings.ToLower(x.request)
		b.see(web(), routerIn(toVIP))
		b.see(web(), routerOut(toBackend, 1), func(f *record.Flow) { f.Client.Begin, f.Client.BeginLength = 0, 0 })
		b.see(x, atBackend(masked, 2))
	}, nil},
	{"midstream, and two places disagree who is the client", func(b *bench) {
		b.see(web(), routerIn(toVIP), midstream)
		b.see(web(), routerOut(toBackend, 1), midstream)
		b.see(web(), atBackend(toBackend, 1), midstream, turnedRound)
	}, nil},
	{"a query by IPv4 and by IPv6", func(b *bench) {
		b.see(dns(), routerIn(toVIP))
		b.see(dns(), routerOut(tuple("[2001:db8::2]:40000", "[2001:db8::53]:53"), 1))
	}, nil},
	{"datagrams that differ after 64 bytes", func(b *bench) {
		x := dns()
		x.request += strings.Repeat("x", 60) + "one"
		b.see(x, routerIn(toVIP))
		x.request += " and more"
		b.see(x, routerOut(toBackend, 1))
	}, nil},
	{"an anonymised copy of one place, and the connection at another place too", func(b *bench) {
		further := routerIn(toBackend)
		further.clock, further.capture, further.distance = "node", 4, 300*time.Microsecond
		b.see(web(), routerIn(toBackend))
		b.see(web(), further)
		b.see(web(), routerIn(masked))
	}, nil},
	{"a replay while the SYN of the first was missed, and its repetition seen", func(b *bench) {
		x := bare(web())
		x.ipid = 0
		b.see(x, routerIn(toVIP), func(f *record.Flow) { f.Client.SYNTime = f.Client.SYNTime.Add(time.Second) })
		x.start = x.start.Add(20 * time.Millisecond)
		b.see(x, routerIn(toBackend))
	}, nil},
	{"one report to two collectors", func(b *bench) {
		x := dns()
		x.noAnswer = true
		b.see(x, routerIn(tuple("10.1.0.2:40000", "10.3.0.1:514")))
		b.see(x, atBackend(tuple("10.1.0.2:40001", "10.3.0.2:514"), 1))
	}, nil},
	{"a replay an hour later, midstream", func(b *bench) {
		b.see(web(), routerIn(toVIP), midstream)
		b.see(later(time.Hour), routerOut(toBackend, 1), midstream)
	}, nil},
	{"more than two numbers of servers, though each waits for the last", func(b *bench) {
		b.see(web(), routerIn(toVIP))
		for i, to := range []record.Tuple{toBackend, masked} {
			out := routerOut(to, 1+i)
			out.s, out.distance = 99_999_999+uint32(i), time.Duration(200+i)*time.Microsecond
			b.see(web(), out, func(f *record.Flow) {
				f.Client.SYNTime = noon.Add(time.Duration(2+2*i) * time.Millisecond)
				f.Server.SYNTime = f.Client.SYNTime.Add(time.Millisecond)
			})
		}
	}, nil},
}
