package dnsd

import (
	"net"
	"net/netip"
	"testing"
)

// connected is a connection of a client, whose address is what is said.
func connected(t *testing.T, l *net.TCPListener, client string) *conn {
	t.Helper()
	far, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close(); near.Close() })
	return &conn{sock: near, client: netip.AddrPortFrom(netip.MustParseAddr(client), 1)}
}

// A client, or a guest with many addresses, that holds all connections there are does
// not shut another out, and what the other holds stays.
func TestConnectionsAreShared(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cs := conns{open: map[*conn]uint64{}, clients: map[netip.Addr]int{}}
	hostile := func(i int) string { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 200)}).String() }
	first := connected(t, l, hostile(0))
	cs.add(first)
	for i := 1; len(cs.open) < maxConns; i++ {
		cs.add(connected(t, l, hostile(i)))
	}
	honest := connected(t, l, "10.0.1.1")
	if !cs.add(honest) {
		t.Fatal("shut out by connections that others hold")
	}
	if _, ok := cs.open[first]; ok || len(cs.open) != maxConns {
		t.Errorf("%d connections, the oldest among them: %v", len(cs.open), ok)
	}
	if _, err := first.sock.Write([]byte{0}); err == nil {
		t.Error("what gave way is still open")
	}
	for i := range 50 {
		cs.add(connected(t, l, hostile(i)))
	}
	if _, ok := cs.open[honest]; !ok || len(cs.open) != maxConns {
		t.Errorf("%d connections, the other's among them: %v", len(cs.open), ok)
	}
	cs.remove(first) // as its server does when it ends
	cs.remove(honest)
	if len(cs.open) != maxConns-1 || cs.clients[honest.client.Addr()] != 0 {
		t.Errorf("%d connections and %d of the other's after it ended", len(cs.open), cs.clients[honest.client.Addr()])
	}
}
