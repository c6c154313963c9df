package dnsd

import (
	"hash/maphash"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxBacklog is how many bytes of packets may wait on a socket before clients are
	// throttled: two milliseconds of work or so. A client that waits for its answers never
	// gets there.
	maxBacklog = 256 << 10

	// window is the number of packets over which clients are counted, and windowTime the
	// longest time over which they are.
	window     = 512
	windowTime = 16 * time.Millisecond

	// leeway packets of a window are above every client's share.
	leeway = 16

	// burstPackets within burstWindow are a burst: 32 000 a second. A client that
	// waits for each answer does not get there.
	burstPackets = 64
	burstWindow  = 2 * time.Millisecond

	// coalesceTime is how long to wait for more packets. The kernel adds as much
	// (PR_SET_TIMERSLACK of prctl(2)).
	coalesceTime = 80 * time.Microsecond
)

// fairness throttles clients of a socket. It counts packets per client only while they come
// in bursts or a backlog grows; then packets of clients over their share of the window are
// dropped, which takes a fraction of the time of an answer, so that the queue drains and
// others' packets are not lost. A top talker is blocked by the kernel (toptalker.go).
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
		f.reset()
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

func (f *fairness) reset() { *f = fairness{seed: f.seed} }

// coalescing is interrupt-style coalescing (ethtool(8)): during a burst the socket is read
// with a delay, so that many packets share its system calls, and those of their replies, and
// wake their client once. Without a burst there is no delay.
type coalescing struct {
	since time.Time // the packets are counted
	count int
	on    bool
}

// after counts packets that were read, and reports whether there is a burst.
func (c *coalescing) after(packets int, now time.Time) bool {
	if c.count += packets; c.count >= burstPackets {
		c.on = now.Sub(c.since) <= burstWindow
		c.count, c.since = 0, now
	}
	return c.on
}

// waitForBatch waits for coalesceTime, and lets other goroutines run. The
// runtime's timers are no use: an idle processor waits in whole milliseconds.
func waitForBatch() {
	start := time.Now()
	runtime.Gosched()
	if left := coalesceTime - time.Since(start); left > 0 {
		ts := unix.NsecToTimespec(int64(left))
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
}
