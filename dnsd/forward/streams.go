package forward

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	dialTime   = 2 * time.Second        // for a connection, TLS included
	writeTime  = 100 * time.Millisecond // for a query, which only a full send buffer delays
	streamIdle = 10 * time.Second       // after which a connection without queries is closed
	fewQueries = 16                     // on each connection, before another is opened
	maxQueries = 128                    // on each connection
	maxStreams = 8                      // to one upstream
)

// streams are the connections to one upstream, over TCP or TLS (RFC 7766, RFC
// 7858). Queries share them, and replies come in any order. Some servers
// answer one after the other: hence more than one.
type streams struct {
	mu   sync.Mutex
	open []*stream
	tls  *tls.Config // nil is TCP; made at the first connection
}

type stream struct {
	u *upstream

	mu      sync.Mutex
	conn    net.Conn // nil until connected
	out     [][]byte // queries to be sent then
	pending map[uint16]*try
	served  bool // at least one reply came
	closed  bool
}

// send sends a query, and settles it when the reply comes. It takes the connection with the
// fewest queries, or a new one.
func (d *streams) send(t *try) error {
	s, err := d.pick(t.u)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errGone
	}
	id := newID()
	for s.pending[id] != nil {
		id = newID()
	}
	s.pending[id] = t
	msg := wire.AppendQuery(make([]byte, 2, wire.MinPayload), id, t.f.key, !t.transport.plain)
	t.nameCase.Apply(msg[2+wire.HeaderLen : 2+wire.HeaderLen+len(t.f.key)-3])
	binary.BigEndian.PutUint16(msg, uint16(len(msg)-2))
	if s.conn == nil {
		s.out = append(s.out, msg)
		return nil
	}
	s.writeLocked(msg)
	return nil
}

func (d *streams) pick(u *upstream) (*stream, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var best *stream
	least := maxQueries
	for _, s := range d.open {
		s.mu.Lock()
		if n := len(s.pending); !s.closed && n < least {
			best, least = s, n
		}
		s.mu.Unlock()
	}
	if least < fewQueries || best != nil && len(d.open) >= maxStreams {
		return best, nil
	}
	if len(d.open) >= maxStreams {
		return nil, errBusy
	}
	s := &stream{u: u, pending: map[uint16]*try{}}
	if !u.pool.spawn(s.run) {
		return nil, net.ErrClosed
	}
	d.open = append(d.open, s)
	return s, nil
}

// writeLocked hardly waits: a server that reads so slowly that the kernel's buffers fill up
// is given up.
func (s *stream) writeLocked(msg []byte) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := s.conn.Write(msg); err != nil {
		_ = s.conn.Close() // ends run
	}
}

// run connects, and reads replies until the connection ends.
func (s *stream) run() {
	conn, err := s.u.dialStream()
	if err == nil {
		err = s.begin(conn)
		if err == nil {
			err = s.read(conn)
		}
		_ = conn.Close()
	}
	d := &s.u.streams
	d.mu.Lock()
	d.open = slices.DeleteFunc(d.open, func(o *stream) bool { return o == s })
	d.mu.Unlock()
	s.fail(err)
}

// begin sends the queries that wait for the connection.
func (s *stream) begin(conn net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.conn = conn
	for _, msg := range s.out {
		s.writeLocked(msg)
	}
	s.out = nil
	return nil
}

func (s *stream) read(conn net.Conn) error {
	r := bufio.NewReader(conn)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(streamIdle))
		var size [2]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return err
		}
		msg := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(r, msg); err != nil {
			return err
		}
		if err := s.reply(msg); err != nil {
			return err
		}
	}
}

// reply settles the try that a message answers. After an error the connection cannot be
// used any more.
func (s *stream) reply(msg []byte) error {
	defer limit.Recover(s.u.pool.log, limit.Forward, msg)
	if len(msg) < wire.HeaderLen {
		return wire.ErrMalformed
	}
	id := binary.BigEndian.Uint16(msg)
	s.mu.Lock()
	t := s.pending[id]
	delete(s.pending, id)
	s.served = true
	s.mu.Unlock()
	if t == nil {
		return wire.ErrMismatch
	}
	m, err := parse(msg, id, t.f.key)
	t.settle(m, err)
	return err
}

// fail closes the connection and settles all that wait on it. One that a server
// closed after it had answered does not count against its health (RFC 7766 §6.2.4).
func (s *stream) fail(err error) {
	s.mu.Lock()
	pending := s.pending
	s.pending, s.closed = nil, true
	if s.conn != nil {
		_ = s.conn.Close()
	}
	if s.served && errors.Is(err, io.EOF) {
		err = errGone
	}
	s.mu.Unlock()
	protocol := "TCP"
	if s.u.name != "" {
		protocol = "TLS"
	}
	for _, t := range pending {
		t.settle(nil, fmt.Errorf("over %s: %w", protocol, err))
	}
}

func (d *streams) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.open {
		s.mu.Lock()
		s.closed, s.pending = true, nil
		if s.conn != nil {
			_ = s.conn.Close()
		}
		s.mu.Unlock()
	}
}

// dialStream connects. Over TLS the server must have a certificate for its name, from an
// authority that the host trusts.
func (u *upstream) dialStream() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(u.pool.context(), dialTime)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.addr.String())
	if err != nil || u.name == "" {
		return conn, err
	}
	c := tls.Client(conn, u.streams.config(u.name))
	if err := c.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

func (d *streams) config(name string) *tls.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tls == nil {
		d.tls = &tls.Config{
			ServerName: name, MinVersion: tls.VersionTLS12, NextProtos: []string{"dot"},
			ClientSessionCache: tls.NewLRUClientSessionCache(maxStreams),
		}
	}
	return d.tls
}
