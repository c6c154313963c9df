package dnsd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

const (
	maxQuery  = 4096             // bytes: longer ones end the connection
	idleTime  = 10 * time.Second // for a whole query to arrive, however slowly
	writeTime = 5 * time.Second  // for a reply

	maxDirect  = 16  // queries of one connection that are read, or have an answer to be written
	maxPending = 128 // and that wait for upstreams

	// Of one network, see limit.Conns.
	maxConns       = 256
	maxClientConns = 32
	minClientConns = 4
)

// serveTCP answers until the listener is closed.
func (n *network) serveTCP(l *net.TCPListener, loops *sync.WaitGroup) {
	for {
		sock, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or the client has closed it
			time.Sleep(10 * time.Millisecond)
			continue
		}
		client := sock.RemoteAddr().(*net.TCPAddr).AddrPort()
		c := &conn{
			n: n, sock: sock, client: netip.AddrPortFrom(client.Addr().Unmap(), client.Port()),
			direct: make(slots, maxDirect), pending: make(slots, maxPending), replies: make(chan reply, maxDirect+maxPending),
		}
		if !n.conns.Add(sock, c.client.Addr()) {
			_ = sock.Close()
			continue
		}
		loops.Go(c.serve)
	}
}

// A conn is a client's connection. One goroutine reads, one writes. A query holds a slot
// from before it is read until its reply is written, or until it is pending upstream,
// which takes a slot of another kind: so there is always room in replies, and local and
// cached answers pass pending ones (RFC 7766 §6.2.1.1).
type conn struct {
	n       *network
	sock    *net.TCPConn
	client  netip.AddrPort
	direct  slots
	pending slots
	replies chan reply
}

type slots chan struct{}

// A reply is a message with its length in front, and the slots of which it frees one when it
// is written.
type reply struct {
	msg  []byte
	held slots
}

func (c *conn) serve() {
	defer c.n.conns.Remove(c.sock)
	var writer sync.WaitGroup
	writer.Go(c.write)
	c.read()
	for range maxDirect { // queries that were read are still answered
		c.direct <- struct{}{}
	}
	for range maxPending {
		c.pending <- struct{}{}
	}
	close(c.replies)
	writer.Wait()
	_ = c.sock.Close()
}

// read reads queries until the client closes the connection, idles or sends a malformed one.
func (c *conn) read() {
	var q wire.Query
	in, r := make([]byte, maxQuery), bufio.NewReader(c.sock)
	for {
		c.direct <- struct{}{}
		pkt, err := c.message(r, in)
		if err != nil || !c.packet(pkt, &q) {
			<-c.direct
			return
		}
	}
}

func (c *conn) message(r *bufio.Reader, in []byte) ([]byte, error) {
	// One deadline for the whole message: single bytes do not extend it.
	if err := c.sock.SetReadDeadline(time.Now().Add(c.n.idle)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r, in[:2]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(in))
	if size < wire.HeaderLen || size > len(in) {
		return nil, errors.New("length is no query's")
	}
	_, err := io.ReadFull(r, in[:size])
	return in[:size], err
}

// packet answers, now or later, and reports whether it does.
func (c *conn) packet(pkt []byte, q *wire.Query) (ok bool) {
	defer limit.Recover(c.n.log, limit.DNS, pkt)
	svc := c.n.service.Load()
	out, ask := svc.packet(make([]byte, 2, 512), pkt, q, wire.MaxMessage)
	if ask {
		wait := false
		c.pending <- struct{}{}
		defer func() { // also after a panic
			if !wait {
				<-c.pending
			}
		}()
		out, wait = svc.ask(out, q, c.n.clients.client(c.client, time.Now()), func(msg []byte) {
			if msg == nil {
				<-c.pending
				return
			}
			c.reply(append(make([]byte, 2, 2+len(msg)), msg...), c.pending)
		})
		if wait {
			<-c.direct
			return true
		}
	}
	if len(out) == 2 {
		return false
	}
	c.reply(out, c.direct)
	return true
}

func (c *conn) reply(msg []byte, held slots) {
	c.n.counts.reply(msg[2:])
	binary.BigEndian.PutUint16(msg, uint16(len(msg)-2))
	c.replies <- reply{msg, held}
}

// write sends replies until there are no more. After an error it still receives them, so
// that no query waits for a slot.
func (c *conn) write() {
	var err error
	for r := range c.replies {
		if err == nil {
			_ = c.sock.SetWriteDeadline(time.Now().Add(writeTime))
			if _, err = c.sock.Write(r.msg); err != nil {
				_ = c.sock.Close() // ends read
			}
		}
		<-r.held
	}
}
