package pcap

import (
	"math"
	"math/bits"
)

const second = 1_000_000_000 // in nanoseconds

// Powers of ten that a tick can be the part of a second of.
const maxDecimal, maxBinary = 19, 63

// clock turns the ticks of pcapng into nanoseconds since 1970. A tick is
// resolution of a second, in the notation of if_tsresol.
type clock struct {
	binary bool
	digits uint8
	per    uint64 // ticks of a second; of a decimal clock
	offset int64  // seconds to add, if_tsoffset
	// Up to limit a tick is multiply nanoseconds, and that is all.
	multiply, limit uint64
}

// newClock is false when no 64 bits hold ticks that short.
func newClock(resolution uint8, offset int64) (c clock, ok bool) {
	c = clock{binary: resolution&0x80 != 0, digits: resolution & 0x7f, offset: offset}
	if c.binary {
		return c, c.digits <= maxBinary
	}
	if c.digits > maxDecimal {
		return c, false
	}
	c.per = power10(c.digits)
	if c.digits <= 9 && offset == 0 {
		c.multiply = power10(9 - c.digits)
		c.limit = math.MaxInt64 / c.multiply
	}
	return c, true
}

func power10(n uint8) uint64 {
	p := uint64(1)
	for ; n > 0; n-- {
		p *= 10
	}
	return p
}

// time is false when it is out of the range of 64 bits of nanoseconds, and then
// as near as can be.
func (c *clock) time(ticks uint64) (int64, bool) {
	if ticks <= c.limit && c.limit > 0 {
		return int64(ticks * c.multiply), true
	}
	seconds, nanos := c.split(ticks)
	if seconds > math.MaxInt64 {
		return math.MaxInt64, false
	}
	return join(int64(seconds), c.offset, int64(nanos))
}

func (c *clock) split(ticks uint64) (seconds, nanos uint64) {
	switch {
	case c.binary:
		part := ticks & (1<<c.digits - 1)
		high, low := bits.Mul64(part, second)
		return ticks >> c.digits, high<<(64-c.digits) | low>>c.digits
	case c.digits <= 9:
		return ticks / c.per, ticks % c.per * power10(9-c.digits)
	}
	return ticks / c.per, ticks % c.per / power10(c.digits-9)
}

// join adds up; nanos is less than a second.
func join(seconds, offset, nanos int64) (int64, bool) {
	sum := seconds + offset
	over := seconds > 0 && offset > 0 && sum < 0
	const most, least = math.MaxInt64/second - 1, math.MinInt64/second + 1
	switch {
	case over || sum > most:
		return math.MaxInt64, false
	case sum < least:
		return math.MinInt64, false
	}
	return sum*second + nanos, true
}
