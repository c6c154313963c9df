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
	// idleTime is how long a caller is remembered (RFC 4787 REQ-5).
	idleTime = 2 * time.Minute
	// maxDatagram is the largest that UDP has.
	maxDatagram = 65535
)

// udpSocket is an endpoint of UDP. Each caller has a socket towards its target.
type udpSocket struct {
	calls
	conn  *net.UDPConn
	loops sync.WaitGroup

	peersMu sync.Mutex
	peers   map[netip.AddrPort]*net.UDPConn
}

func listenUDP(e Endpoint, room chan struct{}, log *slog.Logger) (socket, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(e.Listen))
	if err != nil {
		return nil, err
	}
	return &udpSocket{calls: newCalls(e, room, log), conn: c, peers: map[netip.AddrPort]*net.UDPConn{}}, nil
}

func (s *udpSocket) close() {
	_ = s.conn.Close()
	s.endAll()
}

// serve sends on what callers send. An ICMP error about an answer is no end.
func (s *udpSocket) serve() {
	defer s.loops.Wait()
	buf := make([]byte, maxDatagram)
	for {
		n, peer, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.pass(netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), buf[:n])
	}
}

// pass sends a caller's datagram to its target.
func (s *udpSocket) pass(peer netip.AddrPort, datagram []byte) {
	defer limit.Recover(s.log, limit.Proxy, nil)
	if g := s.call(peer); g != nil {
		_, _ = g.Write(datagram)
		_ = g.SetReadDeadline(time.Now().Add(idleTime))
	}
}

// call returns the socket of a caller, a new one if it has none; nil if it cannot
// have one.
func (s *udpSocket) call(peer netip.AddrPort) *net.UDPConn {
	s.peersMu.Lock()
	defer s.peersMu.Unlock()
	if g := s.peers[peer]; g != nil {
		return g
	}
	to, ok := s.target(peer.Addr())
	if !ok {
		return nil
	}
	g, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil
	}
	if !s.add(g, peer.Addr(), to) {
		_ = g.Close()
		return nil
	}
	s.peers[peer] = g
	_ = g.SetReadDeadline(time.Now().Add(idleTime))
	s.loops.Go(func() { s.answer(peer, g) })
	return g
}

// answer sends back what the target answers, until nobody has sent anything for a
// while, or the target is none any more.
func (s *udpSocket) answer(peer netip.AddrPort, g *net.UDPConn) {
	defer s.forget(peer, g)
	defer limit.Recover(s.log, limit.Proxy, nil)
	buf := make([]byte, maxDatagram)
	for {
		n, err := g.Read(buf)
		var timeout net.Error
		switch {
		case errors.Is(err, net.ErrClosed), errors.As(err, &timeout) && timeout.Timeout():
			return
		case err != nil:
			continue // the target's port is closed at the moment
		}
		_, _ = s.conn.WriteToUDPAddrPort(buf[:n], peer)
		_ = g.SetReadDeadline(time.Now().Add(idleTime))
	}
}

func (s *udpSocket) forget(peer netip.AddrPort, g *net.UDPConn) {
	s.peersMu.Lock()
	defer s.peersMu.Unlock()
	if s.peers[peer] == g {
		delete(s.peers, peer)
	}
	_ = g.Close()
	s.remove(g)
}
