package netdrv

import (
	"cmp"
	"net/netip"
	"slices"
)

// spans finds which of many ranges of addresses share some, in time n log n. A range
// that is not valid, or ends before it starts, shares none.
type rangeIndex struct {
	all    []Range
	order  []int // of the valid ones, by Start
	widest []int // of order[:i+1], the one that ends last
}

func newRangeIndex(all []Range) rangeIndex {
	s := rangeIndex{all: all, order: make([]int, 0, len(all))}
	for i, r := range all {
		if r.Start.IsValid() && r.End.IsValid() && !r.End.Less(r.Start) {
			s.order = append(s.order, i)
		}
	}
	slices.SortFunc(s.order, func(i, j int) int { return cmp.Or(all[i].Start.Compare(all[j].Start), cmp.Compare(i, j)) })
	s.widest = make([]int, len(s.order))
	for at, i := range s.order {
		s.widest[at] = i
		if at > 0 && all[i].End.Less(all[s.widest[at-1]].End) {
			s.widest[at] = s.widest[at-1]
		}
	}
	return s
}

// meeting returns one of the ranges that shares addresses with r, or -1.
func (s *rangeIndex) overlapping(r Range) int {
	if !r.Start.IsValid() || !r.End.IsValid() {
		return -1
	}
	starts, _ := slices.BinarySearchFunc(s.order, r.End, func(i int, end netip.Addr) int {
		if end.Less(s.all[i].Start) {
			return 1
		}
		return -1
	})
	if starts == 0 || s.all[s.widest[starts-1]].End.Less(r.Start) {
		return -1
	}
	return s.widest[starts-1]
}

// overlaps returns pairs of ranges that share addresses, each range once as the later
// one of a pair at most, in the order of the list.
func (s *rangeIndex) overlaps() (pairs [][2]int) {
	for at := 1; at < len(s.order); at++ {
		i, j := s.order[at], s.widest[at-1]
		if !s.all[j].End.Less(s.all[i].Start) {
			pairs = append(pairs, [2]int{max(i, j), min(i, j)})
		}
	}
	slices.SortFunc(pairs, func(a, b [2]int) int { return cmp.Or(a[0]-b[0], a[1]-b[1]) })
	return slices.CompactFunc(pairs, func(a, b [2]int) bool { return a[0] == b[0] })
}

// rangeOf is all addresses of a prefix; the zero Range for one that is not valid.
func rangeOf(p netip.Prefix) Range {
	if !p.IsValid() {
		return Range{}
	}
	return Range{p.Masked().Addr(), Broadcast(p)}
}

func rangesOf(prefixes []netip.Prefix) []Range {
	out := make([]Range, len(prefixes))
	for i, p := range prefixes {
		out[i] = rangeOf(p)
	}
	return out
}
