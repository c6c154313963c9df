package proxy

import (
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

// dialTime is how long a guest has to answer.
const dialTime = 10 * time.Second

// tcpSocket is an endpoint of TCP.
type tcpSocket struct {
	sessions
	listener *net.TCPListener
	loops    sync.WaitGroup
}

func listenTCP(e Endpoint, slots chan struct{}, log *slog.Logger) (socket, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(e.Listen))
	if err != nil {
		return nil, err
	}
	return &tcpSocket{sessions: newSessions(e, slots, log), listener: l}, nil
}

func (s *tcpSocket) close() {
	_ = s.listener.Close()
	s.closeAll()
}

func (s *tcpSocket) serve() {
	defer s.loops.Wait()
	for {
		c, err := s.listener.AcceptTCP()
		switch {
		case err == nil:
			s.loops.Go(func() { s.forward(c) })
		case !isTimeout(err): // closed, or an error such as too many open files
			time.Sleep(10 * time.Millisecond)
			s.mu.Lock()
			closed := s.closed
			s.mu.Unlock()
			if closed {
				return
			}
		}
	}
}

// forward copies one connection until both sides have closed it, or one is broken.
func (s *tcpSocket) forward(c *net.TCPConn) {
	defer limit.Recover(s.log, limit.Proxy, nil)
	defer c.Close()
	client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	to, ok := s.target(client)
	if !ok || !s.add(c, client, to) {
		_ = c.SetLinger(0) // a reset, as of a closed port
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

// pipe copies one direction and forwards its end. After an error both are closed.
func pipe(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		_ = from.Close()
		return
	}
	_ = to.CloseWrite()
}
