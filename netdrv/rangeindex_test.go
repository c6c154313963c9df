package netdrv

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// Spans find what comparing each with each finds.
func TestSpansFindWhatComparingEachFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(250))}) }
	for range 2000 {
		all := make([]Range, random.IntN(8))
		for i := range all {
			start := addr()
			all[i] = Range{start, netip.AddrFrom4([4]byte{10, 0, 0, start.As4()[3] + byte(random.IntN(6))})}
		}
		meet := func(a, b Range) bool { return a.Contains(b.Start) || b.Contains(a.Start) }
		s := newRangeIndex(all)
		asked := Range{addr(), netip.MustParseAddr("10.0.0.255")}
		if i := s.overlapping(asked); (i >= 0) != slices.ContainsFunc(all, func(r Range) bool { return meet(r, asked) }) || i >= 0 && !meet(all[i], asked) {
			t.Fatalf("%v meets %d of %v", asked, i, all)
		}
		some := false
		for i := range all {
			for j := range i {
				some = some || meet(all[i], all[j])
			}
		}
		pairs := s.overlaps()
		for _, p := range pairs {
			if p[0] <= p[1] || !meet(all[p[0]], all[p[1]]) {
				t.Fatalf("%v of %v do not overlap", p, all)
			}
		}
		if some != (len(pairs) > 0) {
			t.Fatalf("%v: overlaps %v", all, pairs)
		}
		// What is left of ranges is what is in them and not in the others.
		ranges := []Range{{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.90")}, {netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.200")}}
		left := without(ranges, all)
		for b := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(b)})
			in := func(rs []Range) bool { return slices.ContainsFunc(rs, func(r Range) bool { return r.Contains(a) }) }
			if in(left) != (in(ranges) && !in(all)) {
				t.Fatalf("%s of %v without %v: %v", a, ranges, all, left)
			}
		}
	}
}

func TestWithoutTheLastAddressOfAll(t *testing.T) {
	last := netip.MustParseAddr("255.255.255.255")
	all := []Range{{netip.MustParseAddr("255.255.255.0"), last}}
	if left := without(all, []Range{{netip.MustParseAddr("255.255.255.9"), last}}); len(left) != 1 || left[0].End.String() != "255.255.255.8" {
		t.Errorf("got %v", left)
	}
}
