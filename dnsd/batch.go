package dnsd

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/dnsd/wire"
)

const (
	// batchSize packets are read with one call, if so many wait, and their
	// replies sent with one more.
	batchSize = 16

	// maxDatagram is the longest query that is read over UDP; what is longer
	// is cut and so malformed. Queries with all their options stay far below.
	maxDatagram = 1500
)

// A batch reads and writes several packets with one system call each
// (recvmmsg, sendmmsg). Package net has no such call, and that of x/net
// allocates per packet. Under load nearly all the time of a query is the
// kernel's; a client that is woken once for sixteen replies costs a good part
// of it less. The calls are raw, as none of them waits: the runtime's monitor,
// which looks after those that may, took a seventh of a query's time.
type batch struct {
	conn    syscall.RawConn
	receive func(fd uintptr) bool // made once, as making them allocates
	flush   func(fd uintptr) bool
	look    func(fd uintptr)
	err     error

	waiting int // bytes, at the last look

	got          int // packets read
	queued, sent int
	*buffers     // nil while nothing is there to be read
}

// buffers are the memory of a batch. A socket has them while packets come, so that
// a thousand idle networks cost none.
type buffers struct {
	in      [batchSize]packet
	read    [batchSize]mmsghdr
	write   [batchSize]mmsghdr
	vectors [batchSize]unix.Iovec
}

var spare = sync.Pool{New: func() any { return newBuffers() }}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// A packet is one query with its sender, and room for the reply.
type packet struct {
	from   unix.RawSockaddrInet6 // or Inet4, which is shorter
	vector unix.Iovec
	data   [maxDatagram]byte
	reply  [wire.MaxPayload]byte
}

func newBatch(sock syscall.Conn) (*batch, error) {
	conn, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{conn: conn}
	b.receive, b.flush, b.look = b.recvmmsg, b.sendmmsg, b.memInfo
	return b, nil
}

func newBuffers() *buffers {
	b := &buffers{}
	for i := range b.in {
		p := &b.in[i]
		p.vector.Base = &p.data[0]
		p.vector.SetLen(len(p.data))
		b.read[i].hdr.Iov = &p.vector
		b.read[i].hdr.SetIovlen(1)
		b.read[i].hdr.Name = (*byte)(unsafe.Pointer(&p.from))
	}
	return b
}

// next waits for packets and returns how many there are. An error means that
// the socket is closed.
func (b *batch) next() (int, error) {
	if err := b.conn.Read(b.receive); err != nil {
		return 0, err
	}
	return b.got, b.err
}

// data returns the bytes of packet i.
func (b *batch) data(i int) []byte { return b.in[i].data[:b.read[i].len] }

// room returns the empty buffer for the reply to packet i.
func (b *batch) room(i int) []byte { return b.in[i].reply[:0] }

// from returns the sender of packet i.
func (b *batch) from(i int) netip.AddrPort {
	from := &b.in[i].from
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&from.Port))[:])
	if from.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	}
	addr := netip.AddrFrom16(from.Addr)
	if from.Scope_id != 0 {
		addr = addr.WithZone(strconv.Itoa(int(from.Scope_id)))
	}
	return netip.AddrPortFrom(addr, port)
}

// queue puts the reply to packet i among those that send will send.
func (b *batch) queue(i int, reply []byte) {
	v, w := &b.vectors[b.queued], &b.write[b.queued]
	v.Base = unsafe.SliceData(reply)
	v.SetLen(len(reply))
	w.hdr.Iov = v
	w.hdr.SetIovlen(1)
	w.hdr.Name, w.hdr.Namelen = b.read[i].hdr.Name, b.read[i].hdr.Namelen
	b.queued++
}

// send sends what is queued. What cannot be sent is lost, as UDP allows.
func (b *batch) send() {
	if b.queued > 0 {
		_ = b.conn.Write(b.flush)
	}
	b.queued, b.sent = 0, 0
}

// recvmmsg reports whether there was something to read.
func (b *batch) recvmmsg(fd uintptr) bool {
	if b.buffers == nil {
		if idle(fd) {
			return false
		}
		b.buffers = spare.Get().(*buffers)
	}
	for i := range b.read {
		b.read[i].hdr.Namelen = uint32(unsafe.Sizeof(b.in[i].from))
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.read)), batchSize, unix.MSG_DONTWAIT, 0, 0)
	b.got, b.err = 0, nil
	switch errno {
	case 0:
		b.got = int(n)
	case unix.EAGAIN:
		spare.Put(b.buffers)
		b.buffers = nil
		return false
	case unix.EBADF, unix.ENOTSOCK:
		b.err = errno
	} // others, as EINTR, are about one packet
	return true
}

// idle reports whether nothing waits on the socket. It takes nothing from it.
func idle(fd uintptr) bool {
	var b [1]byte
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno == unix.EAGAIN
}

// sendmmsg reports that it is done: all were sent, or cannot be. It never waits for
// room: replies to neighbours that are none would keep all others waiting, for seconds.
func (b *batch) sendmmsg(fd uintptr) bool {
	for b.sent < b.queued {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd,
			uintptr(unsafe.Pointer(&b.write[b.sent])), uintptr(b.queued-b.sent), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.sent += int(n)
		case unix.EAGAIN:
			return true
		case unix.EINTR:
		default: // this one's client is gone; the others' are not
			b.sent++
		}
	}
	return true
}
