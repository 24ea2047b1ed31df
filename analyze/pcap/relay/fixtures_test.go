package relay_test

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/flow"
	"whichbackend/analyze/pcap/relay"
	"whichbackend/analyze/record"
)

// recorded is a capture of a proxy with what the proxy itself says.
type recorded struct {
	flows      []record.Flow
	interfaces []record.Interface
	// truth counts, for each downstream connection, the requests that went to
	// each upstream connection; a TCP proxy has one.
	truth map[record.Tuple]map[record.Tuple]int
}

func (r *recorded) Interface(i *record.Interface) { r.interfaces = append(r.interfaces, *i) }
func (r *recorded) Undecoded(*record.Undecoded)   {}
func (r *recorded) Name(*flow.Name)               {}
func (r *recorded) Flow(f *record.Flow) {
	c := *f
	c.Exchanges = append([]record.Exchange(nil), f.Exchanges...)
	c.Client.Stamps = append([]uint32(nil), f.Client.Stamps...)
	c.Server.Stamps = append([]uint32(nil), f.Server.Stamps...)
	r.flows = append(r.flows, c)
}

func readRecorded(t *testing.T, name string) *recorded {
	t.Helper()
	folder := filepath.Join("..", "..", "..", "fixtures", "pcap-proxy")
	file, err := os.Open(filepath.Join(folder, name+".pcapng.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := pcap.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorded{truth: map[record.Tuple]map[record.Tuple]int{}}
	if _, err := flow.Read(reader, r); err != nil {
		t.Fatal(err)
	}
	truth, err := os.Open(filepath.Join(folder, name+".truth"))
	if err != nil {
		t.Fatal(err)
	}
	defer truth.Close()
	for s := bufio.NewScanner(truth); s.Scan(); {
		f := strings.Fields(s.Text())
		down, up := tuple(f[0], f[1]), tuple(f[2], f[3])
		if r.truth[down] == nil {
			r.truth[down] = map[record.Tuple]int{}
		}
		r.truth[down][up]++
	}
	return r
}

func tuple(source, destination string) record.Tuple {
	return record.Tuple{Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination)}
}

// headersOnly removes what a capture of headers alone does not tell.
func headersOnly(f record.Flow) record.Flow {
	f.Client.Begin, f.Client.BeginLength, f.Server.Begin, f.Server.BeginLength = 0, 0, 0, 0
	f.HTTP, f.Announced, f.Name = false, record.Tuple{}, ""
	f.Exchanges = append([]record.Exchange(nil), f.Exchanges...)
	for i := range f.Exchanges {
		e := &f.Exchanges[i]
		e.Begin, e.RequestID, e.ForwardedFor = 0, 0, netip.Addr{}
	}
	return f
}

// score is what the answers of a world are worth: connections (of TCP proxies)
// or requests, by tier.
type score struct {
	right, wrong map[record.Tier]int
	all          int
	wrongs       []string
}

func (r *recorded) score(found []record.Translation) score {
	s := score{right: map[record.Tier]int{}, wrong: map[record.Tier]int{}}
	for _, ups := range r.truth {
		for _, n := range ups {
			s.all += n
		}
	}
	for _, t := range found {
		n := max(t.Requests, 1)
		if t.Requests > 0 && len(r.truth[t.Before]) == 1 && r.truth[t.Before][t.After] == 1 {
			n = 1 // a TCP proxy's connection, told by its requests
		}
		ok := min(n, r.truth[t.Before][t.After])
		s.right[t.Tier] += ok
		s.wrong[t.Tier] += n - ok
		if ok != n {
			s.wrongs = append(s.wrongs, fmt.Sprintf("%v -> %v %s: %d of %d (truth %v)", t.Before, t.After, t.Tier, n, ok, r.truth[t.Before]))
		}
	}
	return s
}

func (s score) share() float64 {
	n := 0
	for _, x := range s.right {
		n += x
	}
	return float64(n) / float64(s.all)
}

func TestRecorded(t *testing.T) {
	for _, name := range []string{"T8", "T64", "H8", "H64"} {
		for _, bare := range []bool{false, true} {
			r := readRecorded(t, name)
			relays := relay.New()
			place := relay.Place{Capture: 1}
			for i := range r.interfaces {
				relays.AddInterface(&r.interfaces[i], place)
			}
			for i := range r.flows {
				f := r.flows[i]
				if bare {
					f = headersOnly(f)
				}
				relays.Add(&f, place)
			}
			s := r.score(relays.Find())
			t.Logf("%s bare=%v: %.3f of %d right %v wrong %v abstained %v", name, bare, s.share(), s.all, s.right, s.wrong, relays.Abstained())
			for _, w := range s.wrongs {
				t.Log(w)
			}
		}
	}
}
