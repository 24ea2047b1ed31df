package parse

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"whichbackend/analyze/record"
)

type ciliumDiscard struct{}

func (ciliumDiscard) Socket(*record.Socket)           {}
func (ciliumDiscard) Translation(*record.Translation) {}
func (ciliumDiscard) Service(*record.Service)         {}
func (ciliumDiscard) Owner(*record.Owner)             {}
func (ciliumDiscard) Address(*record.Address)         {}
func (ciliumDiscard) Reading(*record.Reading)         {}
func (ciliumDiscard) Problem(*record.Problem)         {}

// BenchmarkCiliumCT reads a table of 10000 connections. The one allocation a
// row is the record that the sink gets.
func BenchmarkCiliumCT(b *testing.B) {
	const row = "TCP OUT 10.0.1.156:47688 -> 10.0.2.64:80 expires=27627 RxPackets=3 RxBytes=424 RxFlagsSeen=0x02 LastRxReport=6027 TxPackets=4 TxBytes=303 TxFlagsSeen=0x02 LastTxReport=6027 Flags=0x0010 [ SeenNonSyn ] RevNAT=2 SourceSecurityID=21155 IfIndex=0 \n"
	text := strings.Repeat(row, 10000)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		n := 0
		if _, err := Artifact(&record.Artifact{}, strings.NewReader(text), nil, ciliumDiscard{}, func() int { n++; return n }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10000, "ns/row")
}

// TestCiliumBackendIDs joins the three views of one recorded table as a reader
// of the records has to: slot k of --frontends is slot k of the list, and
// --backends agrees on the address.
func TestCiliumBackendIDs(t *testing.T) {
	lb, frontends, backends := ciliumCase(t, "1.14"), ciliumCase(t, "1.14-frontends"), ciliumCase(t, "1.14-backends")
	address := map[uint32]string{}
	for _, s := range backends {
		address[s.Backends[0].ID] = s.Backends[0].Address.Addr().String()
	}
	joined := 0
	for _, f := range frontends {
		for _, s := range lb {
			if s.Address != f.Address || s.Inside != f.Inside {
				continue
			}
			if s.ID != f.ID || len(s.Backends) != len(f.Backends) {
				t.Errorf("%v: RevNAT %d and %d, %d and %d backends", s.Address, s.ID, f.ID, len(s.Backends), len(f.Backends))
				continue
			}
			for i, b := range f.Backends {
				joined++
				if o := s.Backends[i]; o.Slot != b.Slot || o.Address.Addr().String() != address[b.ID] {
					t.Errorf("%v slot %d: backend %d is %s here and %v there", s.Address, b.Slot, b.ID, address[b.ID], o.Address)
				}
			}
		}
	}
	if joined != 25 {
		t.Errorf("%d slots joined, want 25", joined)
	}
}

// ciliumKeep is a Sink that keeps services.
type ciliumKeep struct {
	ciliumDiscard
	list []record.Service
}

func (s *ciliumKeep) Service(v *record.Service) { s.list = append(s.list, *v) }

func ciliumCase(t *testing.T, name string) []record.Service {
	t.Helper()
	ar, err := txtar.ParseFile("testdata/cilium-lb/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	var s ciliumKeep
	n := 0
	if _, err := Artifact(&record.Artifact{}, bytes.NewReader(ar.Files[0].Data), nil, &s, func() int { n++; return n }); err != nil {
		t.Fatal(err)
	}
	return s.list
}
