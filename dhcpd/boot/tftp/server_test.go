package tftp

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

// A request that breaks the server costs its transfer: the next client is answered.
func TestPanicCostsOneTransfer(t *testing.T) {
	sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := Server{
		Allowed: func(netip.Addr) bool { return true },
		Open: func(name string) (File, error) {
			if name == "bad" {
				panic("open")
			}
			return nil, net.ErrClosed
		},
		Dial:     func(client netip.AddrPort) (net.Conn, error) { return net.Dial("udp", client.String()) },
		MaxBlock: func() int { return 512 },
		Log:      slog.New(slog.DiscardHandler),
	}
	ended := make(chan struct{})
	go func() { s.Serve(sock); close(ended) }()
	defer func() { sock.Close(); <-ended }()
	before := limit.Panics()[limit.TFTP]
	for range 2 * maxOfClient { // more than a client may have at once: each gave its place back
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		n := limit.Panics()[limit.TFTP]
		_, _ = c.WriteTo([]byte("\x00\x01bad\x00octet\x00"), sock.LocalAddr())
		for deadline := time.Now().Add(10 * time.Second); limit.Panics()[limit.TFTP] == n && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	if n := limit.Panics()[limit.TFTP] - before; n != 2*maxOfClient {
		t.Errorf("%d panics were counted", n)
	}
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.WriteTo([]byte("\x00\x01good\x00octet\x00"), sock.LocalAddr())
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 100)
	if n, _, err := c.ReadFrom(buf); err != nil || n < 4 || buf[1] != opError {
		t.Errorf("the next one: %q, %v", buf[:n], err)
	}
}

// Requests in invented names, or in a client's own, keep no client out: what was
// acknowledged stays, and the oldest of the others makes room.
func TestRequestsThatAreNeverAcknowledgedMakeRoom(t *testing.T) {
	ts := transfers{open: map[netip.AddrPort]*slot{}, clients: map[netip.Addr]int{}}
	at := func(host, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(host)}), uint16(port))
	}
	real := ts.reserve(at(1, 1))
	ts.acknowledged(real)
	var last *slot
	for port := range 10_000 {
		if last = ts.reserve(at(2+port%200, 1000+port)); last == nil {
			t.Fatalf("request %d got no place", port)
		}
	}
	for port := range 100 {
		if ts.reserve(at(1, 20_000+port)) == nil {
			t.Fatalf("the client that was there got no second place after %d in its name", port)
		}
	}
	if real.ended || last.ended || len(ts.open) > maxTransfers || ts.clients[at(1, 1).Addr()] > maxOfClient {
		t.Errorf("ended: %t, %t; %d transfers", real.ended, last.ended, len(ts.open))
	}
	for _, p := range ts.open {
		ts.acknowledged(p)
	}
	if ts.reserve(at(250, 1)) != nil {
		t.Error("a transfer that was acknowledged made room")
	}
	for _, p := range ts.open {
		ts.release(p)
	}
	ts.release(last)
	if len(ts.open) != 0 || len(ts.clients) != 0 {
		t.Errorf("left: %v, %v", ts.open, ts.clients)
	}
}
