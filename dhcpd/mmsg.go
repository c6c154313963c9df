package dhcpd

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize frames are read or written with one system call, if so many
	// wait: what all guests of a host send when it boots, or one in a loop.
	batchSize = 32

	// maxRequest is the longest frame that is read: requests are shorter than
	// an Ethernet frame. What is longer is cut, and so malformed.
	maxRequest = 1514

	// maxUnsent bounds the replies that wait for the socket.
	maxUnsent = 4096

	// receiveBuffer holds the first packets of a thousand guests that boot at
	// once, of which the kernel counts 1.3 KiB each; its default holds 160.
	receiveBuffer = 4 << 20
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func (m *mmsghdr) point(v *unix.Iovec, b []byte) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
	m.hdr.Iov = v
	m.hdr.SetIovlen(1)
}

// An inbox reads several frames with one system call (recvmmsg). mdlayher's
// packet.Conn has no such call, and allocates an address for each frame: half
// of what an exchange cost. The call is raw, as it never waits: the runtime need not
// look after it. One goroutine may use it.
type inbox struct {
	conn    syscall.RawConn
	receive func(fd uintptr) bool // made once, as making it allocates
	wait    bool
	got     int
	err     error
	batch   *batch // nil while the socket has nothing
}

// A batch is room for what is read at once, 50 KiB. Only inboxes with something
// to read have one: most networks of a host are silent.
type batch struct {
	headers [batchSize]mmsghdr
	vectors [batchSize]unix.Iovec
	frames  [batchSize][maxRequest]byte
}

var batches = sync.Pool{New: func() any {
	b := new(batch)
	for i := range batchSize {
		b.headers[i].point(&b.vectors[i], b.frames[i][:])
	}
	return b
}}

func newInbox(sock syscall.Conn) (*inbox, error) {
	conn, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	// Beyond the limit for all, since this process may; else the default will do.
	_ = conn.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	})
	b := &inbox{conn: conn}
	b.receive = b.recvmmsg
	return b, nil
}

// next returns how many frames there are; it may wait for the first.
func (b *inbox) next(wait bool) (int, error) {
	b.wait = wait
	if err := b.conn.Read(b.receive); err != nil {
		return 0, err
	}
	return b.got, b.err
}

// frame returns one of them, until next is called again.
func (b *inbox) frame(i int) []byte { return b.batch.frames[i][:b.batch.headers[i].len] }

// recvmmsg reports whether there was something to read, or need not be.
func (b *inbox) recvmmsg(fd uintptr) bool {
	if b.batch == nil {
		b.batch = batches.Get().(*batch)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.batch.headers)), batchSize, unix.MSG_DONTWAIT, 0, 0)
	b.got, b.err = 0, nil
	switch errno {
	case 0:
		b.got = int(n)
	case unix.EAGAIN:
		batches.Put(b.batch)
		b.batch = nil
		return !b.wait
	case unix.EINTR:
	default:
		b.err = errno
	}
	return true
}

// An outbox sends frames, as many with one system call as wait (sendmmsg). Many
// wait whenever a batch of leases has reached the disk.
type outbox struct {
	conn syscall.RawConn
	some chan struct{} // room for one: there is something to send

	mu      sync.Mutex
	waiting [][]byte

	// Of run alone.
	flush   func(fd uintptr) bool
	sending [][]byte
	headers [batchSize]mmsghdr
	vectors [batchSize]unix.Iovec
}

// newOutbox needs a socket that is bound to an interface and a protocol.
func newOutbox(sock syscall.Conn) (*outbox, error) {
	conn, err := sock.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &outbox{conn: conn, some: make(chan struct{}, 1)}
	b.flush = b.sendmmsg
	return b, nil
}

// put queues a frame and does not wait. When too many wait it is lost, as a
// network may lose it: clients repeat themselves.
func (b *outbox) put(frame []byte) {
	b.mu.Lock()
	if len(b.waiting) < maxUnsent {
		b.waiting = append(b.waiting, frame)
	}
	b.mu.Unlock()
	select {
	case b.some <- struct{}{}:
	default:
	}
}

// run sends until closed.
func (b *outbox) run(closed <-chan struct{}) {
	for {
		select {
		case <-closed:
			return
		case <-b.some:
		}
		b.mu.Lock()
		all := b.waiting
		b.waiting = b.sending[:0]
		b.mu.Unlock()
		for b.sending = all; len(b.sending) > 0; {
			if b.conn.Write(b.flush) != nil {
				return // closed
			}
		}
		clear(all)
		b.sending = all
	}
}

// sendmmsg takes what it sent from the front of sending, and reports whether
// the socket had room. What cannot be sent is lost: the interface is down, or
// there is no memory.
func (b *outbox) sendmmsg(fd uintptr) bool {
	n := min(len(b.sending), batchSize)
	for i := range n {
		b.headers[i].point(&b.vectors[i], b.sending[i])
	}
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.headers)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		b.sending = b.sending[sent:]
	case unix.EAGAIN:
		return false
	case unix.EINTR:
	default:
		b.sending = b.sending[1:]
	}
	return true
}
