package pcap

// device is an interface as it is read.
type device struct {
	Interface
	clock    clock
	clockBad bool
	timed    bool // there is a packet with a time
	// Of its last statistics: packets dropped by interface and system.
	ifDrop, osDrop uint64
	ofAll          bool   // osDrop counts the packets of all interfaces
	lost           uint64 // the sum of what its packets say was lost before them
}

func (d *device) count(t int64, cut bool) {
	d.Packets++
	if cut {
		d.Cut++
	}
	if t > d.Last || !d.timed {
		d.Last = t
	}
	if t < d.First || !d.timed {
		d.First = t
	}
	d.timed = true
}

// summary is what is known of the interface. Drops that packets tell of are
// those that the statistics count, if there are any.
func (d *device) summary() Interface {
	out := d.Interface
	out.Dropped = max(add(d.ifDrop, d.osDrop), d.lost)
	out.DroppedOfAll = d.ofAll && d.osDrop > 0
	return out
}

// add adds without passing the greatest number.
func add(a, b uint64) uint64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return 1<<64 - 1
}
