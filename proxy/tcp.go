package proxy

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

const (
	// maxCalls bounds the callers of one endpoint at one time.
	maxCalls = 1024
	// dialTime is how long a guest has to answer.
	dialTime = 10 * time.Second
)

// calls are the callers of one endpoint.
type calls struct {
	log *slog.Logger

	mu       sync.Mutex
	endpoint Endpoint
	closed   bool
	open     map[io.Closer]netip.AddrPort // and their targets
	room     chan struct{}                // one element a call, of all endpoints
}

func newCalls(e Endpoint, room chan struct{}, log *slog.Logger) calls {
	return calls{log: log, endpoint: e, open: map[io.Closer]netip.AddrPort{}, room: room}
}

// target says where a caller is to be led; false if nowhere.
func (c *calls) target(caller netip.Addr) (netip.AddrPort, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoint.target(caller)
}

// add counts a call; false if there are too many, or the endpoint has closed or
// leads elsewhere by now.
func (c *calls) add(call io.Closer, caller netip.Addr, to netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, ok := c.endpoint.target(caller)
	if c.closed || len(c.open) >= maxCalls || !ok || now != to {
		return false
	}
	c.open[call] = to
	select {
	case c.room <- struct{}{}:
		return true
	default:
		delete(c.open, call)
		return false
	}
}

func (c *calls) remove(call io.Closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[call]; ok {
		delete(c.open, call)
		<-c.room
	}
}

// change ends the calls to who is no target any more.
func (c *calls) change(e Endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoint = e
	for call, to := range c.open {
		if !e.has(to) {
			_ = call.Close()
		}
	}
}

func (c *calls) endAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for call := range c.open {
		_ = call.Close()
	}
}

// tcpSocket is an endpoint of TCP.
type tcpSocket struct {
	calls
	listener *net.TCPListener
	loops    sync.WaitGroup
}

func listenTCP(e Endpoint, room chan struct{}, log *slog.Logger) (socket, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(e.Listen))
	if err != nil {
		return nil, err
	}
	return &tcpSocket{calls: newCalls(e, room, log), listener: l}, nil
}

func (s *tcpSocket) close() {
	_ = s.listener.Close()
	s.endAll()
}

func (s *tcpSocket) serve() {
	defer s.loops.Wait()
	for {
		c, err := s.listener.AcceptTCP()
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			continue
		}
		if err != nil {
			if !s.paused() {
				return
			}
			continue
		}
		s.loops.Go(func() { s.lead(c) })
	}
}

// paused waits a moment after an error such as too many open files; false if the
// endpoint has closed.
func (s *tcpSocket) paused() bool {
	time.Sleep(10 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed
}

// lead copies one connection until both sides have closed, or one is broken.
func (s *tcpSocket) lead(c *net.TCPConn) {
	defer limit.Recover(s.log, limit.Proxy, nil)
	defer c.Close()
	caller := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	to, ok := s.target(caller)
	if !ok || !s.add(c, caller, to) {
		_ = c.SetLinger(0) // a reset: nobody is here
		return
	}
	defer s.remove(c)
	g, err := net.DialTimeout("tcp", to.String(), dialTime)
	if err != nil {
		_ = c.SetLinger(0)
		return
	}
	defer g.Close()
	back := make(chan struct{})
	go func() {
		defer close(back)
		defer limit.Recover(s.log, limit.Proxy, nil)
		pipe(c, g.(*net.TCPConn))
	}()
	pipe(g.(*net.TCPConn), c)
	<-back
}

// pipe copies one direction and hands its end on. One that breaks, breaks both.
func pipe(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		_ = from.Close()
		return
	}
	_ = to.CloseWrite()
}
