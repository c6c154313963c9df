package pool

import (
	"net/netip"
	"testing"
)

func TestRangesAndBitmap(t *testing.T) {
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
	s, err := newRanges(netip.MustParsePrefix("10.0.0.0/24"), []Range{{addr(100), addr(109)}, {addr(10), addr(19)}, {addr(105), addr(119)}})
	if s.size != 30 || err != nil {
		t.Fatalf("size %d, %v", s.size, err)
	}
	for n := range s.size {
		if got, ok := s.number(s.addr(n)); !ok || got != n {
			t.Errorf("%d: %s is %d, %v", n, s.addr(n), got, ok)
		}
	}
	for _, out := range []int{0, 9, 20, 99, 120} {
		if _, in := s.number(addr(out)); in {
			t.Errorf("%d is in", out)
		}
	}
	b := newBitmap(100_000)
	for _, n := range []uint64{0, 63, 64, 4095, 4096, 99_999} {
		b.set(n, true)
		for _, from := range []uint64{0, n, n + 1, 99_999} {
			if got, ok := b.next(from); !ok || got != n {
				t.Errorf("next(%d) of {%d}: got %d, %v", from, n, got, ok)
			}
		}
		b.set(n, false)
	}
	if n, ok := b.next(5); ok {
		t.Errorf("next of nothing: %d", n)
	}
}

func TestLargeRanges(t *testing.T) {
	ip := netip.MustParseAddr
	whole, err := newRanges(netip.MustParsePrefix("fd00::/64"), []Range{{ip("fd00::"), ip("fd00::ffff:ffff:ffff:ffff")}})
	if _, out := whole.number(ip("fd00:0:0:1::")); err != nil || out || whole.addr(^uint64(0)) != ip("fd00::ffff:ffff:ffff:ffff") {
		t.Errorf("%v, %v", whole, err)
	}
	if n, in := whole.number(ip("fd00::1")); !in || n != 1 {
		t.Errorf("fd00::1 is number %d, %v", n, in)
	}
	across, err := newRanges(netip.MustParsePrefix("fd00::/48"), []Range{{ip("fd00::ffff:ffff:ffff:fff0"), ip("fd00:0:0:1::f")}})
	if _, out := across.number(ip("fd00:0:0:1::10")); err != nil || out || across.addr(16) != ip("fd00:0:0:1::") || across.size != 32 {
		t.Errorf("%v, %v", across, err)
	}
}
