package proxy

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

const (
	// idleTime ends the session of a client (RFC 4787 REQ-5).
	idleTime = 2 * time.Minute
	// maxDatagram is the longest that UDP has.
	maxDatagram = 65535
)

// udpSocket is an endpoint of UDP. Each client has a socket towards its target.
type udpSocket struct {
	sessions
	conn  *net.UDPConn
	loops sync.WaitGroup

	clientsMu sync.Mutex
	clients   map[netip.AddrPort]*net.UDPConn
}

func listenUDP(e Endpoint, slots chan struct{}, log *slog.Logger) (socket, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(e.Listen))
	if err != nil {
		return nil, err
	}
	return &udpSocket{sessions: newSessions(e, slots, log), conn: c, clients: map[netip.AddrPort]*net.UDPConn{}}, nil
}

func (s *udpSocket) close() {
	_ = s.conn.Close()
	s.closeAll()
}

// serve forwards datagrams of clients. An ICMP error about an answer does not end it.
func (s *udpSocket) serve() {
	defer s.loops.Wait()
	buf := make([]byte, maxDatagram)
	for {
		n, client, err := s.conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil:
			s.forward(netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), buf[:n])
		}
	}
}

// forward sends a datagram to the client's target.
func (s *udpSocket) forward(client netip.AddrPort, datagram []byte) {
	defer limit.Recover(s.log, limit.Proxy, nil)
	if g := s.session(client); g != nil {
		_, _ = g.Write(datagram)
		_ = g.SetReadDeadline(time.Now().Add(idleTime))
	}
}

// session returns the socket of a client, a new one if it has none; nil if it is refused.
func (s *udpSocket) session(client netip.AddrPort) *net.UDPConn {
	s.clientsMu.Lock()
	defer s.clientsMu.Unlock()
	if g := s.clients[client]; g != nil {
		return g
	}
	to, ok := s.target(client.Addr())
	if !ok {
		return nil
	}
	g, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil
	}
	if !s.add(g, client.Addr(), to) {
		_ = g.Close()
		return nil
	}
	s.clients[client] = g
	_ = g.SetReadDeadline(time.Now().Add(idleTime))
	s.loops.Go(func() { s.answer(client, g) })
	return g
}

// answer sends the target's answers to the client, until the session is idle or its target
// was removed.
func (s *udpSocket) answer(client netip.AddrPort, g *net.UDPConn) {
	defer func() {
		s.clientsMu.Lock()
		defer s.clientsMu.Unlock()
		if s.clients[client] == g {
			delete(s.clients, client)
		}
		_ = g.Close()
		s.remove(g)
	}()
	defer limit.Recover(s.log, limit.Proxy, nil)
	buf := make([]byte, maxDatagram)
	for {
		n, err := g.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed), isTimeout(err):
			return
		case err != nil:
			continue // the target's port is closed at the moment
		}
		_, _ = s.conn.WriteToUDPAddrPort(buf[:n], client)
		_ = g.SetReadDeadline(time.Now().Add(idleTime))
	}
}
