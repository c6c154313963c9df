package dnsd

import (
	"hash/maphash"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// backlog is how many bytes of packets wait when it is time to be fair: two
	// milliseconds of work or so. A client that waits for its answers never
	// gets there.
	backlog = 256 << 10

	// window is for how many packets clients are counted, and windowTime the longest
	// that these may take to come.
	window     = 512
	windowTime = 16 * time.Millisecond

	// leeway packets of a window are anybody's.
	leeway = 16
)

// fairness sees to it that a client that floods a socket is answered only when
// nobody else waits. It looks at clients only while packets come fast or pile up;
// those that sent more than their share of a pile are passed over, which takes a
// fraction of the time of an answer, so that the queue drains and others' packets
// are not lost. A flooder beside others is for the kernel to drop.
type fairness struct {
	seed    maphash.Seed
	counts  [256]uint16 // packets by hash of the sender
	since   time.Time   // the first of them came
	clients int
	seen    int
}

// admit counts a packet, and reports whether its sender is within its share.
func (f *fairness) admit(from netip.Addr) bool {
	if f.seen == window {
		f.forget()
	}
	if f.seen == 0 {
		f.since = time.Now()
	}
	n := &f.counts[maphash.Comparable(f.seed, from)%uint64(len(f.counts))]
	if *n == 0 {
		f.clients++
	}
	*n++
	f.seen++
	return int(*n) <= f.seen/f.clients+leeway
}

// rests reports whether nothing is counted: the packets that were do not tell of now.
func (f *fairness) rests() bool {
	if f.seen > 0 && time.Since(f.since) > windowTime {
		f.forget()
	}
	return f.seen == 0
}

// forget begins anew: what was counted is not of now.
func (f *fairness) forget() { *f = fairness{seed: f.seed} }

// full reports whether a window has come, fast: whoever sent that is worth a look.
func (f *fairness) full() bool { return f.seen == window }

// piled reports whether more than backlog waits on the socket.
func (b *batch) piled() bool {
	if b.got < batchSize {
		return false
	}
	_ = b.conn.Control(b.look)
	return b.waiting > backlog
}

// memInfo reads how much waits on the socket: SO_MEMINFO, sock_diag(7).
func (b *batch) memInfo(fd uintptr) {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	b.waiting = 0
	if errno == 0 {
		b.waiting = int(info[0]) // SK_MEMINFO_RMEM_ALLOC
	}
}
