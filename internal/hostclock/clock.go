// Package hostclock reads the clocks that a restart of the daemon does not interrupt.
package hostclock

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Reading is the host's clocks at one moment.
type Reading struct {
	Boot string        // the kernel's id of the boot, in hexadecimal; "" if it has none
	Mono time.Duration // CLOCK_MONOTONIC, in whole milliseconds
	Now  time.Time     // the wall clock, with Go's monotonic reading
}

// Read reads the host's clocks. They are read again if the thread was interrupted
// meanwhile, so that the delay is not taken for a step of the wall clock.
func Read() Reading {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	r := Reading{Boot: strings.ReplaceAll(strings.TrimSpace(string(id)), "-", "")}
	for range 10 {
		var ts unix.Timespec
		r.Now = time.Now()
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
		r.Mono = time.Duration(ts.Nano()).Truncate(time.Millisecond)
		if time.Since(r.Now) < 10*time.Millisecond {
			break
		}
	}
	return r
}
