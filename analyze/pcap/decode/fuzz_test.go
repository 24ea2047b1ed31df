package decode

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"
)

// FuzzDecode decodes anything: there is no panic, there is a status, the payload
// is a part of the data, and what was in the packet before does not matter.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		g := builder{t: f, r: r}
		b := g.packet()
		f.Add(b.link, b.data, len(b.data))
	}
	for link := range uint16(300) {
		f.Add(link, []byte{0x45, 0, 0, 20}, 1500)
	}
	f.Fuzz(func(t *testing.T, link uint16, data []byte, length int) {
		data = data[:len(data):len(data)]
		p, clean := junk(), &Packet{}
		Decode(link, data, length, p)
		Decode(link, data, length, clean)
		if p.Status < Flow || p.Status > TooDeep {
			t.Fatalf("status %d", p.Status)
		}
		if p.Depth < 0 || p.Depth > MaxLayers {
			t.Fatalf("depth %d", p.Depth)
		}
		if Reason(p.Status, p.Detail) == "" {
			t.Fatalf("no reason for status %d", p.Status)
		}
		if len(p.Payload) > 0 && !within(p.Payload, data) {
			t.Fatalf("the payload is no part of the data")
		}
		if p.PayloadLength < len(p.Payload) {
			t.Fatalf("%d bytes of payload captured, of %d", len(p.Payload), p.PayloadLength)
		}
		if p.Status != Flow && p.Status != ICMPError && (p.SourcePort != 0 || p.Payload != nil) {
			t.Fatalf("%s, and ports or payload", Reason(p.Status, p.Detail))
		}
		forget(p)
		forget(clean)
		if !reflect.DeepEqual(p, clean) {
			t.Fatalf("an earlier packet shows:\n%+v\n%+v", *p, *clean)
		}
	})
}

func within(part, whole []byte) bool {
	first := uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	return at >= first && at+uintptr(len(part)) <= first+uintptr(len(whole))
}
