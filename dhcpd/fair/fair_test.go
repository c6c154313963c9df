package fair

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// A guest that fills the lines delays another by one message, and costs it none.
func TestLinesTakeTurns(t *testing.T) {
	var l Lines
	for i := range 10_000 {
		l.Add(Guest{Port: 1}, fmt.Append(nil, "flood", i))
	}
	if l.waiting != maxWaiting {
		t.Errorf("%d wait", l.waiting)
	}
	if !l.Add(Guest{Port: 2}, []byte("first")) || !l.Add(Guest{Port: 2}, []byte("second")) || l.waiting != maxWaiting {
		t.Errorf("another guest's messages were dropped; %d wait", l.waiting)
	}
	want := []string{"flood0", "first", "flood1", "second", "flood2", "flood3"}
	for _, w := range want {
		if _, got, ok := l.Next(); !ok || string(got) != w {
			t.Errorf("got %q, want %q", got, w)
		}
	}
	for l.waiting > 0 {
		l.Next()
	}
	if _, _, ok := l.Next(); ok || len(l.byPort) != 0 || len(l.turn) != 0 || len(l.spare) > maxWaiting {
		t.Errorf("empty, and %d lines, %d in turn, %d buffers", len(l.byPort), len(l.turn), len(l.spare))
	}
}

// What Next returned stays as it is while the next one is taken in.
func TestLinesDoNotOverwrite(t *testing.T) {
	var l Lines
	for i := range 100 {
		l.Add(Guest{Port: 1}, fmt.Append(nil, "message ", i))
		l.Add(Guest{Port: 1}, []byte("another"))
		for range 2 {
			_, got, _ := l.Next()
			was := string(got)
			l.Add(Guest{Port: 2}, []byte("overwritten?"))
			if string(got) != was {
				t.Fatalf("%q became %q", was, got)
			}
		}
		l.Next()
		l.Next()
	}
}

func TestLinesAreBounded(t *testing.T) {
	var l Lines
	if l.Add(Guest{Port: 1}, make([]byte, maxMessage+1)) {
		t.Error("a message that is too long waits")
	}
	for port := range Port(10_000) {
		l.Add(Guest{Port: port}, []byte("hello"))
	}
	if l.waiting != maxWaiting || len(l.byPort) != maxWaiting {
		t.Errorf("%d messages, %d lines", l.waiting, len(l.byPort))
	}
}

func TestCredit(t *testing.T) {
	var c Credit
	heard := func(port Port, n int, at time.Time) (heard int) {
		for range n {
			if c.Spend(Guest{Port: port}, at) {
				heard++
			}
		}
		return heard
	}
	if got := heard(1, 5000, now); got != creditBurst {
		t.Errorf("%d of a flood were heard", got)
	}
	if got := heard(2, 10, now); got != 10 {
		t.Errorf("another guest was heard %d times", got)
	}
	if got := heard(1, 5000, now.Add(time.Second)); got != creditRate {
		t.Errorf("%d a second later", got)
	}
	if got := heard(1, 1, now.Add(-time.Hour)); got != 0 {
		t.Error("a clock that was set back gave credit")
	}
	for range 100_000 { // exchanges: two messages each
		if heard(3, 2, now) != 2 {
			t.Fatal("a client that does as it says was not heard")
		}
		c.Earn(Guest{Port: 3})
	}
	if heard(Unasked, 5000, now) != 5000 {
		t.Error("a limit where ports are not told")
	}
	for port := range Port(3 * maxPorts) {
		c.Spend(Guest{Port: port + 10}, now)
	}
	if len(c.byPort) > maxPorts {
		t.Errorf("%d ports are remembered", len(c.byPort))
	}
}

func TestShares(t *testing.T) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	all := func(netip.Addr) bool { return true }
	for _, tt := range []struct{ size, greedy, two int }{{10, 9, 10}, {101, 95, 100}, {253, 238, 252}, {64_000, 60_235, 63_778}} {
		var s Shares
		take := func(port Port) (n int) {
			for len(s.holder) < tt.size && s.May(Guest{Port: port}, uint64(tt.size), now, all) {
				s.Hold(addr(len(s.holder)), Guest{Port: port})
				n++
			}
			return n
		}
		if got := take(1); got != tt.greedy {
			t.Errorf("of %d one port gets %d", tt.size, got)
		}
		if got := len(s.holder) + take(2); got != tt.two {
			t.Errorf("of %d two ports get %d", tt.size, got)
		}
		left := 0
		for port := Port(10); len(s.holder) < tt.size && s.May(Guest{Port: port}, uint64(tt.size), now, all); port++ {
			s.Hold(addr(len(s.holder)), Guest{Port: port})
			left++
		}
		if left != tt.size-tt.two {
			t.Errorf("of %d, %d others get one each, want %d", tt.size, left, tt.size-tt.two)
		}
	}
}

// What is over counts no more; before a restart nobody was a port.
func TestSharesForget(t *testing.T) {
	var s Shares
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	for i := range 50 {
		s.HoldEarlier(addr(i))
	}
	for i := range 50 {
		s.Hold(addr(50+i), Guest{Port: 1})
	}
	s.HoldEarlier(addr(50))
	if g, ok := s.Holder(addr(50)); !ok || g.Port != 1 {
		t.Errorf("held by %v, %v", g, ok)
	}
	if _, ok := s.Holder(addr(1)); ok {
		t.Error("what was held earlier has a port")
	}
	if s.May(Guest{Port: 1}, 101, now, func(netip.Addr) bool { return true }) {
		t.Error("more than a share")
	}
	if s.May(Guest{Port: 1}, 101, now, func(netip.Addr) bool { return false }) {
		t.Error("looked again at once")
	}
	if !s.May(Guest{Port: 1}, 101, now.Add(pruneTime), func(a netip.Addr) bool { return a.As4()[3] < 60 }) || len(s.holder) != 60 {
		t.Errorf("what is over still counts: %d", len(s.holder))
	}
}

// Behind a relay each circuit is a guest. Who invents circuits, and with them
// guests, stays one port.
func TestCircuits(t *testing.T) {
	var l Lines
	const relay, liar, other Port = 1, 2, 3
	for i := range 5000 {
		l.Add(Guest{relay, 7}, fmt.Append(nil, "flood", i))
		l.Add(Guest{liar, Circuit(100 + i)}, fmt.Append(nil, "lie", i))
	}
	if !l.Add(Guest{relay, 8}, []byte("quiet")) || !l.Add(Guest{Port: other}, []byte("other")) || l.waiting != maxWaiting {
		t.Errorf("another's message was dropped; %d wait", l.waiting)
	}
	var got []string
	for range 7 {
		_, message, _ := l.Next()
		got = append(got, string(message))
	}
	if want := []string{"flood0", "lie0", "other", "quiet", "lie1", "flood1", "lie2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for l.waiting > 0 {
		l.Next()
	}
	if len(l.byPort) != 0 || len(l.turn) != 0 {
		t.Errorf("empty, and %d lines", len(l.byPort))
	}

	var c Credit
	heard := func(g func(i int) Guest, n int) (heard int) {
		for i := range n {
			if c.Spend(g(i), now) {
				heard++
			}
		}
		return heard
	}
	if got := heard(func(int) Guest { return Guest{relay, 7} }, 100_000); got != creditBurst {
		t.Errorf("%d of a circuit's flood were heard", got)
	}
	if got := heard(func(int) Guest { return Guest{relay, 8} }, 10); got != 10 {
		t.Errorf("another circuit was heard %d times", got)
	}
	if got := heard(func(i int) Guest { return Guest{liar, Circuit(100 + i)} }, 100_000); got != relayCredit*creditBurst {
		t.Errorf("%d of a flood with invented circuits were heard", got)
	}
	if got := len(c.byPort[liar].circuits); got > maxPorts {
		t.Errorf("%d circuits are remembered", got)
	}
	for range 100_000 {
		if heard(func(int) Guest { return Guest{relay, 8} }, 2) != 2 {
			t.Fatal("a client that does as it says was not heard")
		}
		c.Earn(Guest{relay, 8})
	}
}

func TestCircuitsShare(t *testing.T) {
	var s Shares
	const size = 101
	all := func(netip.Addr) bool { return true }
	take := func(g func(i int) Guest) (n int) {
		for len(s.holder) < size && s.May(g(n), size, now, all) {
			s.Hold(netip.AddrFrom4([4]byte{10, 0, 0, byte(len(s.holder))}), g(n))
			n++
		}
		return n
	}
	one := take(func(int) Guest { return Guest{1, 7} })
	liar := take(func(i int) Guest { return Guest{1, Circuit(100 + i)} })
	other := take(func(int) Guest { return Guest{Port: 2} })
	if one != 95 || liar != 0 || other != 5 {
		t.Errorf("one circuit took %d, all of its port %d more, another port %d", one, liar, other)
	}
	s = Shares{}
	liar = take(func(i int) Guest { return Guest{1, Circuit(100 + i)} })
	if s.Hold(netip.AddrFrom4([4]byte{10, 0, 0, 0}), Guest{Port: 1}); liar != 95 || s.held[Guest{1, 100}] != 1 {
		t.Errorf("invented circuits took %d; by a word without the relay the first holds %d", liar, s.held[Guest{1, 100}])
	}
	if !s.More(Guest{1, 100}, Guest{Port: 2}) || s.More(Guest{1, 100}, Guest{1, 101}) {
		t.Error("who has more")
	}
}
