package match

// entry is a view, leg or bond under the key that it is to be compared by.
type entry struct {
	key uint64
	i   int32
}

// runs sorts entries by key and calls f for all of equal key, also for one.
// Entries of one key keep their order.
func runs(list []entry, f func([]entry)) {
	list = sorted(list)
	for lo := 0; lo < len(list); {
		hi := lo + 1
		for hi < len(list) && list[hi].key == list[lo].key {
			hi++
		}
		f(list[lo:hi])
		lo = hi
	}
}

const (
	digitBits = 11
	digits    = 1 << digitBits
)

// sorted is a radix sort, from the lowest digit on: the keys are numbers, and
// there are hundreds of thousands of them.
func sorted(list []entry) []entry {
	var differ uint64
	for _, e := range list {
		differ |= e.key ^ list[0].key
	}
	if differ == 0 {
		return list
	}
	other := make([]entry, len(list))
	for shift := 0; shift < 64; shift += digitBits {
		if differ>>shift&(digits-1) == 0 {
			continue
		}
		var starts [digits]int
		for _, e := range list {
			starts[e.key>>shift&(digits-1)]++
		}
		sum := 0
		for d, n := range starts {
			starts[d] = sum
			sum += n
		}
		for _, e := range list {
			d := e.key >> shift & (digits - 1)
			other[starts[d]] = e
			starts[d]++
		}
		list, other = other, list
	}
	return list
}
