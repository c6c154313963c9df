package dnsd

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// thick packets that come within thin are many: 32 000 a second. A client that
	// waits for each answer does not get there.
	thick = 64
	thin  = 2 * time.Millisecond

	// coalesceTime is how long is waited for more. The kernel adds as much
	// (PR_SET_TIMERSLACK of prctl(2)).
	coalesceTime = 80 * time.Microsecond
)

// coalescing is what a network card does with its interrupts (ethtool(8)): while
// packets come thick and fast, some time is let pass before each read, so that many
// share its system calls, and those of their replies, and wake their client once.
// Nobody waits while few come.
type coalescing struct {
	since time.Time // the packets are counted
	count int
	on    bool
}

// after counts packets that were read, and reports whether they come so fast that
// others are worth waiting for.
func (c *coalescing) after(packets int, now time.Time) bool {
	if c.count += packets; c.count >= thick {
		c.on = now.Sub(c.since) <= thin
		c.count, c.since = 0, now
	}
	return c.on
}

// letCome passes coalesceTime, with other goroutines' work if there is any. The
// runtime's own timers are no use: an idle processor waits in whole milliseconds.
func letCome() {
	start := time.Now()
	runtime.Gosched()
	if left := coalesceTime - time.Since(start); left > 0 {
		ts := unix.NsecToTimespec(int64(left))
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
}
