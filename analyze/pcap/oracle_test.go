package pcap

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// What pcapgo writes and reads right, we read alike. Its faults are link types
// above 255, snaplens and versions; the files here have none of them.
func TestLikePcapgo(t *testing.T) {
	files := map[string][]byte{"pcapng of pcapgo": pcapgoFile(t)}
	for _, o := range orders {
		for name, magic := range map[string]uint32{"micro": magicMicro, "nano": magicNano} {
			file := classicHead(o, magic, 2, 4, 1500, 1)
			for i := range uint32(2000) {
				data := noise(int(i*7) % 1500)
				file = append(file, classicRecord(o, day+i, i*13, uint32(len(data)), uint32(len(data))+i, data)...)
			}
			files[name+" "+o.name] = file
		}
	}
	for name, file := range files {
		_, packets := readAll(t, file)
		next := pcapgoOf(t, file)
		for i, p := range packets {
			data, ci, err := next()
			if err != nil {
				t.Fatalf("%s: pcapgo has no packet %d: %v", name, i+1, err)
			}
			if !bytes.Equal(data, p.Data) || ci.Length != p.Length || ci.Timestamp.UnixNano() != p.Time || ci.InterfaceIndex != p.Interface {
				t.Fatalf("%s: packet %d of %d ns, %d bytes; pcapgo says %+v", name, i+1, p.Time, p.Length, ci)
			}
		}
		if _, _, err := next(); err != io.EOF {
			t.Errorf("%s: pcapgo has more than %d packets: %v", name, len(packets), err)
		}
	}
}

func pcapgoOf(t *testing.T, file []byte) func() ([]byte, gopacket.CaptureInfo, error) {
	t.Helper()
	if binary.LittleEndian.Uint32(file) == magicSection {
		r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			t.Fatal(err)
		}
		return r.ReadPacketData
	}
	r, err := pcapgo.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return r.ReadPacketData
}

func pcapgoFile(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pcapgo.NewNgWriter(&out, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.AddInterface(pcapgo.NgInterface{Name: "raw0", LinkType: layers.LinkTypeRaw, OS: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		data := noise(i)
		ci := gopacket.CaptureInfo{CaptureLength: i, Length: i + i%2, InterfaceIndex: i % 2 * raw}
		ci.Timestamp = ci.Timestamp.AddDate(2022, 0, 0)
		if err := w.WritePacket(ci, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
