package proxy

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

const patience = 10 * time.Second

// run starts a proxy that ends with the test.
func run(t *testing.T) *Server {
	t.Helper()
	s := New(1024, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the proxy does not end")
		}
	})
	return s
}

// free returns a port of the loopback address that nobody has now.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// target answers a TCP connection with its name when the caller has said all.
func target(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				all, _ := io.ReadAll(c)
				_, _ = c.Write(append([]byte(name+" "), all...))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// say sends text, closes its half, and returns the answer.
func say(t *testing.T, at netip.AddrPort, text []byte) ([]byte, error) {
	t.Helper()
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = c.Write(text)
	_ = c.(*net.TCPConn).CloseWrite()
	return io.ReadAll(c)
}

// Half closes come through, both ways, and much data with them.
func TestTCP(t *testing.T) {
	s, at := run(t), free(t)
	if err := s.Set(Config{Network: "lab", Endpoints: []Endpoint{{Protocol: TCP, Listen: at, Targets: []netip.AddrPort{target(t, "a")}}}}); err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("x"), 1<<20)
	if got, err := say(t, at, text); err != nil || len(got) != len(text)+2 || !bytes.HasPrefix(got, []byte("a x")) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// A change ends connections to who is no target any more, and keeps the others and
// the socket; Remove ends all.
func TestChange(t *testing.T) {
	s, at := run(t), free(t)
	a, b := target(t, "a"), target(t, "b")
	set := func(targets ...netip.AddrPort) {
		t.Helper()
		if err := s.Set(Config{Network: "lab", Endpoints: []Endpoint{{Protocol: TCP, Listen: at, Targets: targets}}}); err != nil {
			t.Fatal(err)
		}
	}
	open := func() net.Conn {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_, _ = c.Write([]byte("hello"))
		time.Sleep(50 * time.Millisecond) // the proxy has taken it
		return c
	}
	ended := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		ne, timeout := err.(net.Error)
		return err != nil && (!timeout || !ne.Timeout())
	}
	set(a)
	old := open()
	set(a, b)
	if ended(old) {
		t.Error("a connection ended whose target stayed")
	}
	set(b)
	if !ended(old) {
		t.Error("a connection goes on to who is no target any more")
	}
	if got, _ := say(t, at, []byte("x")); string(got) != "b x" {
		t.Errorf("after the change: %q", got)
	}
	if !s.Serves(TCP, at) || s.Serves(UDP, at) {
		t.Error("what is served is not known")
	}
	now := open()
	s.Remove("lab")
	if _, err := net.Dial("tcp", at.String()); err == nil || !ended(now) || s.Serves(TCP, at) {
		t.Error("it is served after Remove")
	}
}

// Self leads callers to themselves, and others nowhere.
func TestSelf(t *testing.T) {
	e := Endpoint{Protocol: TCP, Listen: netip.MustParseAddrPort("10.0.0.1:80"), Self: true, Targets: []netip.AddrPort{
		netip.MustParseAddrPort("10.0.0.5:8080"), netip.MustParseAddrPort("10.0.0.6:8081"),
	}}
	if to, ok := e.target(netip.MustParseAddr("::ffff:10.0.0.6")); !ok || to.String() != "10.0.0.6:8081" {
		t.Errorf("got %s, %t", to, ok)
	}
	if to, ok := e.target(netip.MustParseAddr("10.0.0.7")); ok {
		t.Errorf("a stranger is led to %s", to)
	}
}

func TestBusyPortIsAnError(t *testing.T) {
	s := run(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := Endpoint{Protocol: TCP, Listen: l.Addr().(*net.TCPAddr).AddrPort()}
	if err := s.Set(Config{Network: "lab", Endpoints: []Endpoint{e}}); err == nil {
		t.Error("no error")
	}
	e.Self = true
	if err := s.Set(Config{Network: "lab", Endpoints: []Endpoint{e}}); err != nil {
		t.Errorf("for guests themselves: %v", err)
	}
}

// Callers beyond the bound of an endpoint, or of all, are refused, and those before them
// stay.
func TestTooManyCallers(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:9")
	e := Endpoint{Listen: at, Targets: []netip.AddrPort{at}}
	slots, log := make(chan struct{}, maxSessions+1), slog.New(slog.DiscardHandler)
	one, other := newSessions(e, slots, log), newSessions(e, slots, log)
	for i := range maxSessions {
		if !one.add(&net.TCPConn{}, at.Addr(), at) {
			t.Fatalf("caller %d is refused", i)
		}
	}
	if one.add(&net.TCPConn{}, at.Addr(), at) {
		t.Error("one more is taken")
	}
	last := &net.TCPConn{}
	if !other.add(last, at.Addr(), at) {
		t.Error("another endpoint takes none")
	}
	if other.add(&net.TCPConn{}, at.Addr(), at) {
		t.Error("another endpoint takes one more than there may be in all")
	}
	other.remove(last)
	if !other.add(&net.TCPConn{}, at.Addr(), at) {
		t.Error("a caller that has gone counts")
	}
}
