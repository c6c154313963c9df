package pool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

const (
	maxBitmap  = 1 << 24 // addresses of an IPv4 subnet's ranges: two MiB of bitmap
	maxBitmap6 = 1 << 17 // in IPv6; there cannot be so many leases, so larger ranges are probed
)

// ranges are sorted and disjoint, and number their addresses from 0.
type ranges struct {
	spans []span
	size  uint64 // of all; MaxUint64 if more
}

// A span is the address first and last more after it.
type span struct {
	first      netip.Addr
	last, base uint64 // base: the number of first
}

// newRanges checks, sorts and numbers ranges, and joins those that overlap.
func newRanges(prefix netip.Prefix, all []Range) (rs ranges, err error) {
	var spans []span
	for i, r := range all {
		wrong := ""
		switch last, ok := offset(r.Start, r.End); {
		case !prefix.Contains(r.Start):
			wrong = fmt.Sprintf("%s is outside %s", r.Start, prefix)
		case !prefix.Contains(r.End):
			wrong = fmt.Sprintf("%s is outside %s", r.End, prefix)
		case r.End.Less(r.Start):
			wrong = fmt.Sprintf("%s comes after %s", r.Start, r.End)
		case !ok:
			wrong = "more than 2^64 addresses"
		case prefix.Addr().Is4() && last >= maxBitmap:
			wrong = fmt.Sprintf("more than %d addresses", maxBitmap)
		default:
			spans = append(spans, span{first: r.Start, last: last})
		}
		if wrong != "" {
			err = errors.Join(err, fmt.Errorf("ranges[%d]: %s", i, wrong))
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.first.Compare(b.first) })
	for _, next := range spans {
		if n := len(rs.spans); n > 0 {
			end := &rs.spans[n-1]
			if at, ok := offset(end.first, next.first); ok && at <= end.last {
				end.last = max(end.last, addSaturated(at, next.last))
				continue
			}
		}
		rs.spans = append(rs.spans, next)
	}
	for i := range rs.spans {
		rs.spans[i].base = rs.size
		rs.size = addSaturated(addSaturated(rs.size, rs.spans[i].last), 1)
	}
	if prefix.Addr().Is4() && rs.size > maxBitmap {
		err = errors.Join(err, fmt.Errorf("ranges: more than %d addresses", maxBitmap))
	}
	return rs, err
}

// number returns the number of an address, or false if it is in no range.
func (rs *ranges) number(a netip.Addr) (uint64, bool) {
	i, found := slices.BinarySearchFunc(rs.spans, a, func(s span, a netip.Addr) int { return s.first.Compare(a) })
	if !found {
		i--
	}
	if i < 0 {
		return 0, false
	}
	n, ok := offset(rs.spans[i].first, a)
	return rs.spans[i].base + n, ok && n <= rs.spans[i].last
}

// addr is the inverse of number. n is below the size.
func (rs *ranges) addr(n uint64) netip.Addr {
	i := len(rs.spans) - 1
	for i > 0 && rs.spans[i].base > n {
		i--
	}
	return add(rs.spans[i].first, min(n-rs.spans[i].base, rs.spans[i].last))
}

// add returns the address n after a.
func add(a netip.Addr, n uint64) netip.Addr {
	b := a.As16()
	lo, carry := bits.Add64(binary.BigEndian.Uint64(b[8:]), n, 0)
	binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])+carry)
	binary.BigEndian.PutUint64(b[8:], lo)
	if a.Is4() {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

// offset returns b-a, if 64 bits can hold it and b is not before a.
func offset(a, b netip.Addr) (uint64, bool) {
	if a.BitLen() != b.BitLen() {
		return 0, false
	}
	x, y := a.As16(), b.As16()
	lo, borrow := bits.Sub64(binary.BigEndian.Uint64(y[8:]), binary.BigEndian.Uint64(x[8:]), 0)
	hi, _ := bits.Sub64(binary.BigEndian.Uint64(y[:]), binary.BigEndian.Uint64(x[:]), borrow)
	return lo, hi == 0
}

func addSaturated(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

// A bitmap is a set of small numbers in which the next member is found in a few steps
// however few there are: words has a bit for each number, index one for each word that
// is not zero.
type bitmap struct {
	words, index []uint64
}

func newBitmap(size uint64) bitmap {
	n := (size + 63) / 64
	return bitmap{words: make([]uint64, n), index: make([]uint64, (n+63)/64)}
}

func (b bitmap) set(n uint64, member bool) {
	w := n / 64
	if member {
		b.words[w] |= 1 << (n % 64)
		b.index[w/64] |= 1 << (w % 64)
		return
	}
	b.words[w] &^= 1 << (n % 64)
	if b.words[w] == 0 {
		b.index[w/64] &^= 1 << (w % 64)
	}
}

// next returns the smallest member from n on, or the smallest of all.
func (b bitmap) next(n uint64) (uint64, bool) {
	if m, ok := b.from(n); ok {
		return m, true
	}
	return b.from(0)
}

func (b bitmap) from(n uint64) (uint64, bool) {
	w, rest := n/64, ^uint64(0)<<(n%64)
	if w >= uint64(len(b.words)) {
		return 0, false
	}
	if got := b.words[w] & rest; got != 0 {
		return w*64 + uint64(bits.TrailingZeros64(got)), true
	}
	w++
	rest = ^uint64(0) << (w % 64)
	for i := w / 64; i < uint64(len(b.index)); i++ {
		if got := b.index[i] & rest; got != 0 {
			w = i*64 + uint64(bits.TrailingZeros64(got))
			return w*64 + uint64(bits.TrailingZeros64(b.words[w])), true
		}
		rest = ^uint64(0)
	}
	return 0, false
}
