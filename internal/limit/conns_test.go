package limit

import (
	"fmt"
	"net/netip"
	"testing"
)

type testConn struct{ closed bool }

func (c *testConn) Close() error { c.closed = true; return nil }

// A client, or a guest with many addresses, that has all connections cannot lock another
// out, and the connections of the other stay.
func TestConnsAreShared(t *testing.T) {
	cs := Conns{Max: 256, MaxClient: 32, MinClient: 4}
	all := func() int { n, _ := cs.Len(netip.Addr{}); return n }
	hostile := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 200)}) }
	other := netip.MustParseAddr("10.0.1.1")
	first := &testConn{}
	cs.Add(first, hostile(0))
	for i := 1; all() < cs.Max; i++ {
		cs.Add(&testConn{}, hostile(i))
	}
	honest := &testConn{}
	if !cs.Add(honest, other) || !first.closed || all() != cs.Max {
		t.Fatalf("%d connections, the oldest closed: %v", all(), first.closed)
	}
	for i := range 50 {
		cs.Add(&testConn{}, hostile(i))
	}
	if honest.closed || all() != cs.Max {
		t.Errorf("%d connections, that of the other client closed: %v", all(), honest.closed)
	}
	cs.Remove(first) // as its server does when it ends
	cs.Remove(honest)
	if n, own := cs.Len(other); n != cs.Max-1 || own != 0 {
		t.Errorf("%d connections and %d of the other client after it ended", n, own)
	}
	cs.CloseAll()
	if cs.Add(&testConn{}, other) {
		t.Error("a connection was added after CloseAll")
	}
}

// The limit of a client shrinks while connections are open.
func TestConnsOfOneClient(t *testing.T) {
	cs := Conns{Max: 64, MaxClient: 12, MinClient: 4}
	for i := range 12 {
		if !cs.Add(&testConn{}, netip.MustParseAddr("10.0.0.1")) {
			t.Errorf("connection %d was refused", i)
		}
	}
	got := ""
	for c := 2; c < 9; c++ {
		n := 0
		for cs.Add(&testConn{}, netip.AddrFrom4([4]byte{10, 0, 0, byte(c)})) {
			n++
		}
		got += fmt.Sprint(n, " ")
	}
	if got != "10 8 7 5 4 4 4 " {
		t.Errorf("connections of each further client: %s", got)
	}
}

// With OnlyIdle, one more connection closes the oldest idle one, of its own client if that is
// at its limit, and none that is busy.
func TestConnsOnlyIdle(t *testing.T) {
	cs := Conns{Max: 8, MaxClient: 4, MinClient: 4, OnlyIdle: true}
	conns := make([]*testConn, 8)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for i := range conns {
		conns[i] = &testConn{}
		if !cs.Add(conns[i], []netip.Addr{a, b}[i/4]) {
			t.Fatalf("connection %d was refused", i)
		}
	}
	cs.SetBusy(conns[4], true)
	if !cs.Add(&testConn{}, b) || conns[0].closed || conns[4].closed || !conns[5].closed {
		t.Errorf("not the oldest idle one of its client was closed: %v", conns)
	}
	for _, c := range conns {
		cs.SetBusy(c, true)
	}
	if cs.Add(&testConn{}, a) {
		t.Error("a connection was added beside busy ones")
	}
	for _, c := range conns[:4] {
		cs.SetBusy(c, false)
	}
	if !cs.Add(&testConn{}, netip.MustParseAddr("10.0.0.3")) || !conns[0].closed {
		t.Error("the oldest idle one was not closed")
	}
}
