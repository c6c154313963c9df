package nettest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"
)

// An Internet is a namespace with servers that remember who asked. They listen
// on all its addresses, in both families:
//
//	80 TCP       HTTP: any path answers with the address of the asker and a
//	             newline, /bytes/N with N bytes
//	7  TCP, UDP  echo; a TCP connection stays open as long as both want
//	9  TCP, UDP  a sink
//	53 TCP, UDP  DNS, see [DNS]
type Internet struct {
	*Namespace
	DNS *DNS

	book  *guestbook
	hosts int
	wg    sync.WaitGroup
	mu    sync.Mutex
	open  map[io.Closer]bool // nil when the internet has closed
}

// NewInternet makes an internet that nobody is connected to yet.
func NewInternet(t testing.TB, name string) *Internet {
	t.Helper()
	in := &Internet{
		Namespace: NewNamespace(t, name),
		book:      newGuestbook(),
		open:      make(map[io.Closer]bool),
	}
	in.DNS = newDNS(in.book)
	t.Cleanup(in.close)
	if err := in.serve(); err != nil {
		t.Fatalf("nettest: %s: %v", name, err)
	}
	return in
}

// An Uplink is how a host is connected to an internet. For each pair of
// addresses, the first is the gateway of a default route.
type Uplink struct {
	Name    string   // of the link in the host
	Gateway []string // the internet's addresses: "203.0.113.1/24"
	Address []string // the host's
	Metric  int      // of the default routes; zero leaves it to the kernel
}

// Connect gives a host an uplink with default routes.
func (in *Internet) Connect(t testing.TB, host *Namespace, up Uplink) {
	t.Helper()
	port := fmt.Sprintf("host%d", in.hosts)
	in.hosts++
	Connect(t, in.Namespace, port, host, up.Name)
	in.Address(t, port, up.Gateway...)
	host.Address(t, up.Name, up.Address...)
	for _, text := range up.Gateway {
		gateway := netip.MustParsePrefix(text).Addr()
		everywhere := "0.0.0.0/0"
		if gateway.Is6() {
			everywhere = "::/0"
		}
		host.Route(t, everywhere, gateway.String(), up.Metric)
	}
}

func (in *Internet) serve() error {
	web := &http.Server{Handler: http.HandlerFunc(in.web), ReadHeaderTimeout: Patience}
	streams := []struct {
		port  int
		serve func(net.Listener) error
	}{
		{80, web.Serve},
		{7, in.accept("tcp echo", echo)},
		{9, in.accept("tcp sink", sink)},
		{53, in.accept("", in.DNS.serveStream)},
	}
	for _, s := range streams {
		l, err := in.Listen("tcp", ":"+strconv.Itoa(s.port))
		if err != nil {
			return err
		}
		in.goServe(l, func() { _ = s.serve(l) })
	}
	packets := []struct {
		port  int
		serve func(net.PacketConn)
	}{
		{7, in.packets("udp echo", true)},
		{9, in.packets("udp sink", false)},
		{53, in.DNS.servePackets},
	}
	for _, p := range packets {
		c, err := in.ListenPacket("udp", ":"+strconv.Itoa(p.port))
		if err != nil {
			return err
		}
		in.goServe(c, func() { p.serve(c) })
	}
	return nil
}

// goServe runs a server until it is content, or the internet closes c.
func (in *Internet) goServe(c io.Closer, serve func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.open == nil {
		c.Close()
		return
	}
	in.open[c] = true
	in.wg.Go(func() {
		serve()
		c.Close()
		in.mu.Lock()
		defer in.mu.Unlock()
		delete(in.open, c)
	})
}

func (in *Internet) close() {
	in.mu.Lock()
	open := in.open
	in.open = nil
	for c := range open {
		c.Close()
	}
	in.mu.Unlock()
	in.wg.Wait()
}

func (in *Internet) web(w http.ResponseWriter, r *http.Request) {
	peer := netip.MustParseAddrPort(r.RemoteAddr)
	in.book.add("http", peer, r.URL.Path)
	// A connection a request: what is kept open is the business of echo.
	w.Header().Set("Connection", "close")
	var n int
	if _, err := fmt.Sscanf(r.URL.Path, "/bytes/%d", &n); err == nil {
		_, _ = io.CopyN(w, zeros{}, int64(n))
		return
	}
	fmt.Fprintln(w, peer.Addr().Unmap())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (in *Internet) accept(service string, talk func(net.Conn)) func(net.Listener) error {
	return func(l net.Listener) error {
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			if service != "" {
				in.book.add(service, c.RemoteAddr().(*net.TCPAddr).AddrPort(), "")
			}
			in.goServe(c, func() { talk(c) })
		}
	}
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

func sink(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func (in *Internet) packets(service string, answer bool) func(net.PacketConn) {
	return func(c net.PacketConn) {
		buf := make([]byte, 65536)
		for {
			n, peer, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			in.book.add(service, peer.(*net.UDPAddr).AddrPort(), string(buf[:n]))
			if answer {
				_ = c.SetWriteDeadline(time.Now().Add(Patience))
				_, _ = c.WriteTo(buf[:n], peer)
			}
		}
	}
}
