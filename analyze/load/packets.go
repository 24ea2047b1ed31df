package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"strings"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
	"whichbackend/collect/bundle"
	"whichbackend/store"
)

// Packets reads the captures of a case again, and calls f with every packet of
// the wanted flows, in the order of inputs, artifacts and packets. The packet
// is good until f returns. Inputs are read from where they were when the case
// was loaded; one that has changed since is refused.
func (c *Case) Packets(wanted []store.Flow, opt Options, f func(v *store.Flow, p *pcap.Packet) error) error {
	sections, err := c.Sections()
	if err != nil {
		return err
	}
	artifactOf := map[int]int{}
	for _, s := range sections {
		artifactOf[s.ID] = s.Artifact
	}
	byArtifact := map[int][]*store.Flow{}
	for i := range wanted {
		a := artifactOf[wanted[i].Section]
		byArtifact[a] = append(byArtifact[a], &wanted[i])
	}
	artifacts, err := c.Artifacts()
	if err != nil {
		return err
	}
	inputs, err := c.Inputs()
	if err != nil {
		return err
	}
	for _, in := range inputs {
		want := map[string][]*store.Flow{}
		for _, a := range artifacts {
			if a.Input == in.ID && len(byArtifact[a.ID]) > 0 {
				want[a.Path] = byArtifact[a.ID]
			}
		}
		if len(want) == 0 {
			continue
		}
		if err := packetsOf(in, want, opt, f); err != nil {
			return err
		}
	}
	return nil
}

// packetsOf reads the wanted artifacts of one input.
func packetsOf(in store.Input, want map[string][]*store.Flow, opt Options, f func(*store.Flow, *pcap.Packet) error) error {
	if in.Path == "-" {
		return &bundle.Error{Path: "standard input", Why: "cannot be read a second time", Do: "keep it in a file, and give that"}
	}
	if digest, err := bundle.Digest(in.Path); err != nil {
		return unreadable(in.Path, err)
	} else if digest != in.SHA256 {
		return &bundle.Error{Path: in.Path, Why: "has changed since it was loaded, and the packets are there only", Do: "give the bundle as it was"}
	}
	wrapper, err := wrapperOf(in.Path)
	if err != nil {
		return err
	}
	r, err := bundle.Open(in.Path, nil, bundle.DefaultLimits())
	if err != nil {
		return unreadable(in.Path, err)
	}
	defer r.Close()
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(e.Path, wrapper), "/")
		if len(want[name]) == 0 {
			continue
		}
		if err := packetsIn(stoppable{e, opt.Stop}, want[name], f); err != nil {
			return fmt.Errorf("%s: %w", path.Join(in.Path, name), err)
		}
	}
}

// wrapperOf is the folder that wraps everything in a bundle, which is known
// only when all of it was read.
func wrapperOf(name string) (string, error) {
	r, err := bundle.Open(name, nil, bundle.DefaultLimits())
	if err != nil {
		return "", unreadable(name, err)
	}
	defer r.Close()
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return r.Wrapper(), nil
		} else if err != nil {
			return "", err
		}
	}
}

// talk is who talks with whom, the lesser endpoint first.
type talk struct {
	protocol record.Protocol
	a, b     netip.AddrPort
}

func talkOf(protocol record.Protocol, a, b netip.AddrPort) talk {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return talk{protocol, a, b}
}

// piece is what the fragments of one packet have in common.
type piece struct {
	source, destination decode.Addr
	id                  uint32
}

// packetsIn reads one capture.
func packetsIn(in io.Reader, want []*store.Flow, f func(*store.Flow, *pcap.Packet) error) error {
	r, err := pcap.Open(in)
	if err != nil {
		return err
	}
	by := map[talk][]*store.Flow{}
	for _, v := range want {
		k := talkOf(v.Protocol, v.Tuple.Source, v.Tuple.Destination)
		by[k] = append(by[k], v)
	}
	pieces := map[piece]*store.Flow{}
	var d decode.Packet
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		decode.Decode(p.LinkType, p.Data, p.Length, &d)
		if d.Status != decode.Flow && d.Status != decode.ICMPError {
			continue
		}
		part := piece{d.Source, d.Destination, d.FragmentID}
		var v *store.Flow
		if d.Fragment && d.FragmentOffset > 0 {
			v = pieces[part]
		} else {
			source := netip.AddrPortFrom(d.Source.Netip(d.V6), d.SourcePort)
			destination := netip.AddrPortFrom(d.Destination.Netip(d.V6), d.DestinationPort)
			v = flowOf(by[talkOf(record.Protocol(d.Protocol), source, destination)], &p, &d, source)
			if d.Fragment && len(pieces) < 1<<16 {
				pieces[part] = v
			}
		}
		if v == nil {
			continue
		}
		if err := f(v, &p); err != nil {
			return err
		}
	}
}

// flowOf picks, of the flows between two endpoints, the one that a packet
// belongs to: by the place where it passed and by its time.
func flowOf(list []*store.Flow, p *pcap.Packet, d *decode.Packet, source netip.AddrPort) *store.Flow {
	var best *store.Flow
	score := -1
	for _, v := range list {
		if p.Number < v.Packet || p.Time > v.Last.UnixNano() || v.Interface != p.Interface {
			continue
		}
		n := 0
		depth := 0
		if v.Encapsulation != "" {
			depth = 1 + strings.Count(v.Encapsulation, ", ")
		}
		if depth == d.Depth {
			n += 2
		}
		if d.IfIndex != 0 && v.Device == fmt.Sprintf("ifindex %d", d.IfIndex) {
			n += 4
		}
		if v.Leg != "" && d.HasPassed && (v.Leg == "out") == ((d.Passed == 4) == (source == v.Tuple.Source)) {
			n += 4
		}
		if n > score {
			best, score = v, n
		}
	}
	return best
}
