package pool

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func TestQuota(t *testing.T) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	all := func(netip.Addr) bool { return true }
	for _, tt := range []struct{ size, one, two int }{{10, 9, 10}, {101, 95, 100}, {253, 238, 252}, {64_000, 60_235, 63_778}} {
		var q quota
		take := func(port fair.Port) (n int) {
			for len(q.holder) < tt.size && q.allows(fair.Origin{Port: port}, uint64(tt.size), now, all) {
				q.hold(addr(len(q.holder)), fair.Origin{Port: port})
				n++
			}
			return n
		}
		if got := take(1); got != tt.one {
			t.Errorf("of %d one port gets %d", tt.size, got)
		}
		if got := len(q.holder) + take(2); got != tt.two {
			t.Errorf("of %d two ports get %d", tt.size, got)
		}
		left := 0
		for port := fair.Port(10); len(q.holder) < tt.size && q.allows(fair.Origin{Port: port}, uint64(tt.size), now, all); port++ {
			q.hold(addr(len(q.holder)), fair.Origin{Port: port})
			left++
		}
		if left != tt.size-tt.two {
			t.Errorf("of %d, %d others get one each, want %d", tt.size, left, tt.size-tt.two)
		}
	}
}

// Addresses that are not in use any more do not count.
func TestQuotaForgets(t *testing.T) {
	var q quota
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	for i := range 50 {
		q.hold(addr(i), fair.Origin{Port: beforeStart})
	}
	for i := range 50 {
		q.hold(addr(50+i), fair.Origin{Port: 1})
	}
	if q.allows(fair.Origin{Port: 1}, 101, now, func(netip.Addr) bool { return true }) {
		t.Error("more than its quota")
	}
	if q.allows(fair.Origin{Port: 1}, 101, now, func(netip.Addr) bool { return false }) {
		t.Error("looked again at once")
	}
	if !q.allows(fair.Origin{Port: 1}, 101, now.Add(pruneTime), func(a netip.Addr) bool { return a.As4()[3] < 60 }) || len(q.holder) != 60 {
		t.Errorf("what is over still counts: %d", len(q.holder))
	}
}

func TestQuotaOfCircuits(t *testing.T) {
	var q quota
	const size = 101
	all := func(netip.Addr) bool { return true }
	take := func(o func(i int) fair.Origin) (n int) {
		for len(q.holder) < size && q.allows(o(n), size, now, all) {
			q.hold(netip.AddrFrom4([4]byte{10, 0, 0, byte(len(q.holder))}), o(n))
			n++
		}
		return n
	}
	one := take(func(int) fair.Origin { return fair.Origin{Port: 1, Circuit: 7} })
	liar := take(func(i int) fair.Origin { return fair.Origin{Port: 1, Circuit: fair.Circuit(100 + i)} })
	other := take(func(int) fair.Origin { return fair.Origin{Port: 2} })
	if one != 95 || liar != 0 || other != 5 {
		t.Errorf("one circuit took %d, all of its port %d more, another port %d", one, liar, other)
	}
	q = quota{}
	liar = take(func(i int) fair.Origin { return fair.Origin{Port: 1, Circuit: fair.Circuit(100 + i)} })
	if q.hold(netip.AddrFrom4([4]byte{10, 0, 0, 0}), fair.Origin{Port: 1}); liar != 95 || q.held[fair.Origin{Port: 1, Circuit: 100}] != 1 {
		t.Errorf("invented circuits took %d; after a message without the relay the first holds %d", liar, q.held[fair.Origin{Port: 1, Circuit: 100}])
	}
	if !q.more(fair.Origin{Port: 1, Circuit: 100}, fair.Origin{Port: 2}) || q.more(fair.Origin{Port: 1, Circuit: 100}, fair.Origin{Port: 1, Circuit: 101}) {
		t.Error("which origin has more")
	}
}
