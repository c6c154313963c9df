// Package batchio reads and writes many packets of a socket with one system call each
// (recvmmsg(2), sendmmsg(2)). Package net has no such call, and that of x/net allocates per
// packet. Under load nearly all the time of a packet is the kernel's, and a peer that is woken
// once for many replies saves a good part of it, too.
//
// The system calls are raw, as none of them waits: the runtime's monitor, which watches those
// that may, took a seventh of the time.
package batchio

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// buffers are the memory of one batch.
type buffers struct {
	read    []mmsghdr
	from    []unix.RawSockaddrInet6 // or Inet4, which is shorter
	vectors []unix.Iovec
	data    []byte
	room    []byte

	write   []mmsghdr
	replies []unix.Iovec
}

// A Pool has the memory of Readers with packets to read, so that idle sockets cost none.
type Pool struct {
	count, size, room int
	spare             sync.Pool
}

// NewPool returns a pool for batches of count packets of at most size bytes, each with room
// for a reply. Longer packets are cut.
func NewPool(count, size, room int) *Pool {
	p := &Pool{count: count, size: size, room: room}
	p.spare.New = func() any {
		b := &buffers{
			read: make([]mmsghdr, count), from: make([]unix.RawSockaddrInet6, count), vectors: make([]unix.Iovec, count),
			data: make([]byte, count*size), room: make([]byte, count*room),
			write: make([]mmsghdr, count), replies: make([]unix.Iovec, count),
		}
		for i := range b.read {
			b.vectors[i].Base = &b.data[i*size]
			b.vectors[i].SetLen(size)
			b.read[i].hdr.Iov, b.read[i].hdr.Name = &b.vectors[i], (*byte)(unsafe.Pointer(&b.from[i]))
			b.read[i].hdr.SetIovlen(1)
		}
		return b
	}
	return p
}

// A Reader reads the packets of a socket, and sends replies. One goroutine may use it.
type Reader struct {
	conn     syscall.RawConn
	pool     *Pool
	*buffers // nil while there is nothing to read

	recv, send func(fd uintptr) bool // made once, as making them allocates
	look       func(fd uintptr)
	wait       bool
	got        int
	queued     int
	backlog    int
	err        error
}

// NewReader returns a reader of a socket.
func NewReader(sock syscall.Conn, pool *Pool) (*Reader, error) {
	conn, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &Reader{conn: conn, pool: pool}
	r.recv, r.send, r.look = r.recvmmsg, r.sendmmsg, r.memInfo
	return r, nil
}

// Read reads a batch, and returns the number of packets. With wait it waits for the first. An
// error that is a unix.Errno is that of the system call.
func (r *Reader) Read(wait bool) (int, error) {
	r.wait = wait
	if err := r.conn.Read(r.recv); err != nil {
		return 0, err
	}
	return r.got, r.err
}

// recvmmsg reports whether Read is to return.
func (r *Reader) recvmmsg(fd uintptr) bool {
	if r.buffers == nil {
		r.buffers = r.pool.spare.Get().(*buffers)
	}
	for i := range r.read {
		r.read[i].hdr.Namelen = uint32(unsafe.Sizeof(r.from[i]))
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.read[0])), uintptr(len(r.read)), unix.MSG_DONTWAIT, 0, 0)
	r.got, r.err = 0, nil
	switch errno {
	case 0:
		r.got = int(n)
	case unix.EAGAIN:
		r.pool.spare.Put(r.buffers)
		r.buffers = nil
		return !r.wait
	case unix.EINTR:
	default:
		r.err = errno
	}
	return true
}

// Data returns packet i of the batch, until the next Read.
func (r *Reader) Data(i int) []byte { return r.data[i*r.pool.size:][:r.read[i].len] }

// Room returns the empty buffer for the reply to packet i.
func (r *Reader) Room(i int) []byte { return r.room[i*r.pool.room:][:0:r.pool.room] }

// From returns the sender of packet i, of an IP socket.
func (r *Reader) From(i int) netip.AddrPort {
	from := &r.from[i]
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

// Reply queues the reply to packet i; there is at most one.
func (r *Reader) Reply(i int, reply []byte) {
	w := &r.write[r.queued]
	w.set(&r.replies[r.queued], reply)
	w.hdr.Name, w.hdr.Namelen = r.read[i].hdr.Name, r.read[i].hdr.Namelen
	r.queued++
}

func (m *mmsghdr) set(v *unix.Iovec, b []byte) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
	m.hdr.Iov = v
	m.hdr.SetIovlen(1)
}

// Flush sends the queued replies. Those that cannot be sent are dropped.
func (r *Reader) Flush() {
	if r.queued > 0 {
		_ = r.conn.Write(r.send)
	}
	r.queued = 0
}

// sendmmsg never waits for room: replies to unresolved neighbours would block all others, for
// seconds.
func (r *Reader) sendmmsg(fd uintptr) bool {
	for sent := 0; sent < r.queued; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&r.write[sent])), uintptr(r.queued-sent), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			sent += int(n)
		case unix.EAGAIN:
			return true
		case unix.EINTR:
		default: // of the first: its client is gone
			sent++
		}
	}
	return true
}

// Backlog returns how many bytes wait on the socket: SO_MEMINFO, sock_diag(7).
func (r *Reader) Backlog() int {
	_ = r.conn.Control(r.look)
	return r.backlog
}

func (r *Reader) memInfo(fd uintptr) {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	r.backlog = 0
	if errno == 0 {
		r.backlog = int(info[0]) // SK_MEMINFO_RMEM_ALLOC
	}
}

// A Queue sends packets of many goroutines, those that wait in batches.
type Queue struct {
	conn    syscall.RawConn
	max     int
	pending chan struct{} // capacity 1: there is something to send

	mu      sync.Mutex
	waiting [][]byte

	// Of Run alone.
	send    func(fd uintptr) bool
	sending [][]byte
	headers []mmsghdr
	vectors []unix.Iovec
}

// NewQueue returns a queue of at most limit packets, which are sent in batches of count. The
// socket must be bound to an interface and a protocol.
func NewQueue(sock syscall.Conn, count, limit int) (*Queue, error) {
	conn, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	q := &Queue{conn: conn, max: limit, pending: make(chan struct{}, 1), headers: make([]mmsghdr, count), vectors: make([]unix.Iovec, count)}
	q.send = q.sendmmsg
	return q, nil
}

// Put queues a packet, without waiting. It is dropped when the queue is full.
func (q *Queue) Put(packet []byte) {
	q.mu.Lock()
	if len(q.waiting) < q.max {
		q.waiting = append(q.waiting, packet)
	}
	q.mu.Unlock()
	select {
	case q.pending <- struct{}{}:
	default:
	}
}

// Run sends until closed.
func (q *Queue) Run(closed <-chan struct{}) {
	for {
		select {
		case <-closed:
			return
		case <-q.pending:
		}
		q.mu.Lock()
		all := q.waiting
		q.waiting = q.sending[:0]
		q.mu.Unlock()
		for q.sending = all; len(q.sending) > 0; {
			if q.conn.Write(q.send) != nil {
				return // closed
			}
		}
		clear(all)
		q.sending = all
	}
}

// sendmmsg removes what it sent from sending, and reports whether the socket had room. What
// cannot be sent is dropped: the interface is down, or there is no memory.
func (q *Queue) sendmmsg(fd uintptr) bool {
	n := min(len(q.sending), len(q.headers))
	for i := range n {
		q.headers[i].set(&q.vectors[i], q.sending[i])
	}
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&q.headers[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		q.sending = q.sending[sent:]
	case unix.EAGAIN:
		return false
	case unix.EINTR:
	default:
		q.sending = q.sending[1:]
	}
	return true
}
