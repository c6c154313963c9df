package v6

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
)

// span is a range: the address first, and last more after it.
type span struct {
	first netip.Addr
	last  uint64
}

func newSpan(r Range, prefix netip.Prefix) (span, error) {
	switch {
	case !prefix.Contains(r.Start):
		return span{}, fmt.Errorf("%s is outside %s", r.Start, prefix)
	case !prefix.Contains(r.End):
		return span{}, fmt.Errorf("%s is outside %s", r.End, prefix)
	case r.End.Less(r.Start):
		return span{}, fmt.Errorf("%s comes after %s", r.Start, r.End)
	}
	last, ok := distance(r.Start, r.End)
	if !ok {
		return span{}, fmt.Errorf("more than 2^64 addresses")
	}
	return span{r.Start, last}, nil
}

func (s *span) contains(a netip.Addr) bool {
	if !a.Is6() || a.Less(s.first) {
		return false
	}
	n, ok := distance(s.first, a)
	return ok && n <= s.last
}

// at returns the address with number n of the span, which is taken modulo its
// size.
func (s *span) at(n uint64) netip.Addr {
	if s.last != math.MaxUint64 {
		n %= s.last + 1
	}
	hi, lo := halves(s.first)
	lo, carry := bits.Add64(lo, n, 0)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], hi+carry)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b)
}

// distance is b-a, if 64 bits can hold it and b is not before a.
func distance(a, b netip.Addr) (uint64, bool) {
	ahi, alo := halves(a)
	bhi, blo := halves(b)
	lo, borrow := bits.Sub64(blo, alo, 0)
	hi, _ := bits.Sub64(bhi, ahi, borrow)
	return lo, hi == 0
}

func halves(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])
}

func addSaturated(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}
