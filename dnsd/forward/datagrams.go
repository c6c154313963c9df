package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	// perSocket queries share a socket, and so a port, at most, within
	// socketTime. A port of its own for each query would cost twice the time of
	// the query; what a forger gains by many is made up for by the letters.
	perSocket  = 64
	socketTime = time.Second

	maxSockets = 32 // to one upstream; the oldest gives way
	maxMisses  = 16 // packets that answer nothing, before a socket is given up: somebody guesses
)

// datagrams are the UDP sockets to one upstream: one that sends, and those that
// still wait for replies.
type datagrams struct {
	mu   sync.Mutex
	open []*socket // the last one sends
}

// A socket is connected, so the kernel drops what comes from elsewhere, on a
// random port.
type socket struct {
	u      *upstream
	conn   *net.UDPConn
	opened time.Time

	mu      sync.Mutex
	pending map[uint16]*try
	used    int
	misses  int
	retired bool // sends no more; closed with its last reply
	closed  bool
}

// send sends a query, and settles it when the reply comes.
func (d *datagrams) send(t *try) error {
	s, id, err := d.enter(t)
	if err != nil {
		return err
	}
	var room [wire.MinPayload]byte
	pkt := wire.AppendQuery(room[:0], id, t.f.key, !t.way.plain)
	t.letters.Apply(pkt[wire.HeaderLen : wire.HeaderLen+len(t.f.key)-3])
	if _, err := s.conn.Write(pkt); err != nil {
		s.leave(id)
		s.fail(err)
		return err
	}
	return nil
}

// enter gives a try an id on the socket that sends.
func (d *datagrams) enter(t *try) (*socket, uint16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.open); n > 0 {
		if id, ok := d.open[n-1].enter(t); ok {
			return d.open[n-1], id, nil
		}
	}
	s, err := t.u.dialUDP(t.sent)
	if err != nil {
		return nil, 0, err
	}
	if !t.u.pool.spawn(s.read) {
		_ = s.conn.Close()
		return nil, 0, net.ErrClosed
	}
	d.open = append(d.open, s)
	if len(d.open) > maxSockets {
		d.open[0].close()
		d.open = d.open[1:]
	}
	id, _ := s.enter(t)
	return s, id, nil
}

func (u *upstream) dialUDP(now time.Time) (*socket, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(u.addr))
	if err != nil {
		return nil, err
	}
	return &socket{u: u, conn: conn, opened: now, pending: map[uint16]*try{}}, nil
}

// enter reports false when the socket is used up.
func (s *socket) enter(t *try) (id uint16, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retireLocked(t.sent)
	if s.retired {
		return 0, false
	}
	s.used++
	id = newID()
	for s.pending[id] != nil {
		id = newID()
	}
	s.pending[id] = t
	return id, true
}

// newID is unpredictable, as wire.RandomLetters is.
func newID() uint16 { return uint16(rand.Uint32()) }

func (s *socket) retireLocked(now time.Time) {
	s.retired = s.retired || s.used >= perSocket || now.Sub(s.opened) >= socketTime
	if s.retired && len(s.pending) == 0 {
		s.closeLocked()
	}
}

// leave ends the wait for id.
func (s *socket) leave(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, id)
	s.retireLocked(s.opened)
}

// read takes replies until the socket is closed.
func (s *socket) read() {
	var buf [4096]byte
	for {
		n, err := s.conn.Read(buf[:])
		if err != nil {
			s.fail(err)
			return
		}
		s.reply(buf[:n])
	}
}

// reply settles the try that a packet answers. A packet that answers none is
// late, or a forgery: the right one may still come.
func (s *socket) reply(pkt []byte) {
	defer limit.Recover(s.u.pool.log, limit.Forward, pkt)
	t, id := s.find(pkt)
	if t == nil {
		s.miss()
		return
	}
	m, err := parse(pkt, id, t.f.key)
	switch {
	case errors.Is(err, wire.ErrMismatch):
		s.miss()
		return
	case err == nil && !m.In(t.letters):
		m, err = nil, errLetters
	}
	s.leave(id)
	t.settle(m, err)
}

func (s *socket) find(pkt []byte) (*try, uint16) {
	if len(pkt) < wire.HeaderLen {
		return nil, 0
	}
	id := binary.BigEndian.Uint16(pkt)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending[id], id
}

// miss counts what answers nothing. After too much of it the socket's queries
// go over TCP.
func (s *socket) miss() {
	s.mu.Lock()
	s.misses++
	given := s.misses == maxMisses
	s.mu.Unlock()
	if given {
		s.u.pool.log.Warn("many replies that answer nothing: asked over TCP", "upstream", s.u.place)
		s.fail(errGuesses)
	}
}

// fail closes the socket and settles all that wait on it.
func (s *socket) fail(err error) {
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.closeLocked()
	s.mu.Unlock()
	for _, t := range pending {
		t.settle(nil, fmt.Errorf("over UDP: %w", err))
	}
}

func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = nil
	s.closeLocked()
}

func (s *socket) closeLocked() {
	s.retired = true
	if !s.closed {
		s.closed = true
		_ = s.conn.Close()
	}
}

// sweep closes what nobody waits for any more, and reports whether sockets are
// left.
func (d *datagrams) sweep(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.open[:0]
	for _, s := range d.open {
		if !s.sweep(now) {
			left = append(left, s)
		}
	}
	clear(d.open[len(left):])
	d.open = left
	return len(left) > 0
}

// sweep reports whether the socket is closed.
func (s *socket) sweep(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retireLocked(now)
	if now.Sub(s.opened) >= socketTime+totalTime {
		s.pending = nil
		s.closeLocked()
	}
	return s.closed
}

func (d *datagrams) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.open {
		s.close()
	}
	d.open = nil
}
