package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	// perSocket queries share a socket, and so a port, at most, within
	// socketTime. A port for each query would cost twice the time of
	// the query; DNS 0x20 makes up for what a forger gains.
	perSocket  = 64
	socketTime = time.Second

	maxSockets     = 32 // to one upstream; the oldest is closed for a new one
	maxUnsolicited = 16 // packets on a socket, before its queries are sent over TCP: possible spoofing
)

// datagrams are the UDP sockets to one upstream: the last one sends, the others wait for
// replies.
type datagrams struct {
	mu   sync.Mutex
	open []*socket
}

// A socket is connected, so the kernel drops what comes from elsewhere, on a
// random port.
type socket struct {
	u      *upstream
	conn   *net.UDPConn
	opened time.Time

	mu          sync.Mutex
	pending     map[uint16]*try
	used        int
	unsolicited int
	retired     bool // sends no more; closed with its last reply
	closed      bool
}

// send sends a query, and settles it when the reply comes.
func (d *datagrams) send(t *try) error {
	s, id, err := d.add(t)
	if err != nil {
		return err
	}
	var room [wire.MinPayload]byte
	pkt := wire.AppendQuery(room[:0], id, t.f.key, !t.transport.plain)
	t.nameCase.Apply(pkt[wire.HeaderLen : wire.HeaderLen+len(t.f.key)-3])
	if _, err := s.conn.Write(pkt); err != nil {
		s.remove(id)
		s.fail(err)
		return err
	}
	return nil
}

// add gives a try an id on the socket that sends.
func (d *datagrams) add(t *try) (*socket, uint16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.open); n > 0 {
		if id, ok := d.open[n-1].add(t); ok {
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
	id, _ := s.add(t)
	return s, id, nil
}

func (u *upstream) dialUDP(now time.Time) (*socket, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(u.addr))
	if err != nil {
		return nil, err
	}
	return &socket{u: u, conn: conn, opened: now, pending: map[uint16]*try{}}, nil
}

// add returns false when the socket is retired.
func (s *socket) add(t *try) (id uint16, ok bool) {
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

// newID returns an unpredictable id, as wire.RandomCase does.
func newID() uint16 { return uint16(rand.Uint32()) }

func (s *socket) retireLocked(now time.Time) {
	s.retired = s.retired || s.used >= perSocket || now.Sub(s.opened) >= socketTime
	if s.retired && len(s.pending) == 0 {
		s.closeLocked()
	}
}

// remove ends the wait for id.
func (s *socket) remove(id uint16) {
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

// reply settles the try that a packet answers. One that answers none is
// late, or a forgery: the right one may still come.
func (s *socket) reply(pkt []byte) {
	defer limit.Recover(s.u.pool.log, limit.Forward, pkt)
	var t *try
	var id uint16
	var m *wire.Message
	err := wire.ErrMismatch
	if len(pkt) >= wire.HeaderLen {
		id = binary.BigEndian.Uint16(pkt)
		s.mu.Lock()
		t = s.pending[id]
		s.mu.Unlock()
	}
	if t != nil {
		m, err = parse(pkt, id, t.f.key)
	}
	switch {
	case errors.Is(err, wire.ErrMismatch):
		s.mu.Lock()
		s.unsolicited++
		tooMany := s.unsolicited == maxUnsolicited
		s.mu.Unlock()
		if tooMany {
			s.u.pool.log.Warn("many unsolicited replies (possible spoofing); switching to TCP", "upstream", s.u.endpoint)
			s.fail(errUnsolicited)
		}
		return
	case err == nil && !m.HasCase(t.nameCase):
		m, err = nil, errCase
	}
	s.remove(id)
	t.settle(m, err)
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

// sweep closes the sockets without pending queries, and reports whether some are left.
func (d *datagrams) sweep(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = slices.DeleteFunc(d.open, func(s *socket) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.retireLocked(now)
		if now.Sub(s.opened) >= socketTime+totalTime {
			s.pending = nil
			s.closeLocked()
		}
		return s.closed
	})
	return len(d.open) > 0
}

func (d *datagrams) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.open {
		s.close()
	}
	d.open = nil
}
