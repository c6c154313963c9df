package v4

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
)

// maxSpan bounds the addresses of a network's ranges: two MiB of bitmap.
const maxSpan = 1 << 24

// spans are the ranges, sorted and apart, and number their addresses from 0.
type spans struct {
	all  []span
	size int
}

type span struct {
	first, last uint32
	base        int // the number of first
}

// newSpans sorts and numbers ranges, and joins those that overlap.
func newSpans(all []span) (s spans) {
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	joined := all[:0]
	for _, next := range all {
		if len(joined) == 0 {
			joined = append(joined, next)
		} else if end := &joined[len(joined)-1]; next.first <= end.last {
			end.last = max(end.last, next.last)
		} else {
			joined = append(joined, next)
		}
	}
	s.all = joined
	for i := range s.all {
		s.all[i].base = s.size
		s.size += int(s.all[i].last-s.all[i].first) + 1
	}
	return s
}

// number returns the address's place, or false if it is in no range.
func (s *spans) number(a netip.Addr) (int, bool) {
	if !a.Is4() {
		return 0, false
	}
	u := toUint(a)
	i, found := slices.BinarySearchFunc(s.all, u, func(sp span, u uint32) int { return cmp.Compare(sp.first, u) })
	if !found {
		i--
	}
	if i < 0 || u > s.all[i].last {
		return 0, false
	}
	return s.all[i].base + int(u-s.all[i].first), true
}

// addr is the inverse of number.
func (s *spans) addr(n int) netip.Addr {
	i, found := slices.BinarySearchFunc(s.all, n, func(sp span, n int) int { return cmp.Compare(sp.base, n) })
	if !found {
		i--
	}
	return fromUint(s.all[i].first + uint32(n-s.all[i].base))
}

// bitmap is a set of small numbers in which the next member is found in a
// few steps however few there are: words has a bit for each number, some one for
// each word that is not zero.
type bitmap struct {
	words, some []uint64
}

func newBitmap(size int) bitmap {
	n := (size + 63) / 64
	return bitmap{words: make([]uint64, n), some: make([]uint64, (n+63)/64)}
}

func (b bitmap) set(n int, member bool) {
	w := n / 64
	if member {
		b.words[w] |= 1 << (n % 64)
		b.some[w/64] |= 1 << (w % 64)
		return
	}
	b.words[w] &^= 1 << (n % 64)
	if b.words[w] == 0 {
		b.some[w/64] &^= 1 << (w % 64)
	}
}

// next returns the smallest member from n on, or the smallest of all.
func (b bitmap) next(n int) (int, bool) {
	if m, ok := b.from(n); ok {
		return m, true
	}
	return b.from(0)
}

func (b bitmap) from(n int) (int, bool) {
	w, rest := n/64, ^uint64(0)<<(n%64)
	if w >= len(b.words) {
		return 0, false
	}
	if got := b.words[w] & rest; got != 0 {
		return w*64 + bits.TrailingZeros64(got), true
	}
	w++
	rest = ^uint64(0) << (w % 64)
	for i := w / 64; i < len(b.some); i++ {
		if got := b.some[i] & rest; got != 0 {
			w = i*64 + bits.TrailingZeros64(got)
			return w*64 + bits.TrailingZeros64(b.words[w]), true
		}
		rest = ^uint64(0)
	}
	return 0, false
}
