package lease

import (
	"time"

	"github.com/vnetd/vnetd/internal/hostclock"
)

// minStep is the smallest difference between the wall clock and the time that
// has passed that counts as a step of the wall clock.
const minStep = time.Second

// A clock maps the times of leases to the journal's and back. Within the
// process a time carries Go's monotonic reading, and is compared by that; the
// journal has CLOCK_MONOTONIC, which restarts of the daemon do not interrupt.
// The wall clock only shows times to users, and bridges two boots.
//
// CLOCK_MONOTONIC stops while the host is suspended, and CLOCK_BOOTTIME does
// not. Guests are suspended with their host and do not count that time either:
// by CLOCK_BOOTTIME a lease would end before its client believes it does, and
// the address of a running guest could be given away. A client that was not
// suspended (behind a relay) ends its lease sooner than the server, which is
// harmless.
type clock struct {
	boot string
	base time.Time     // a moment, in whole milliseconds of the wall clock
	mono time.Duration // the same moment by CLOCK_MONOTONIC
}

func newClock(r hostclock.Reading) *clock {
	base := r.Now.Add(-time.Duration(r.Now.Nanosecond()) % time.Millisecond)
	return &clock{boot: r.Boot, base: base, mono: r.Mono}
}

// wall is the wall clock at base, as a duration since 1970.
func (c *clock) wall() time.Duration { return time.Duration(c.base.UnixMilli()) * time.Millisecond }

// step returns by how much the wall clock differs from what c expects.
func (c *clock) step(now time.Time) time.Duration {
	return now.Round(0).Sub(c.base.Round(0)) - now.Sub(c.base)
}

// exact returns t in whole milliseconds from base, with a monotonic reading.
// The zero time, which is never, stays.
func (c *clock) exact(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return c.base.Add(t.Sub(c.base).Round(time.Millisecond))
}

// stored returns a time as the journal has it.
func (c *clock) stored(t time.Time) time.Duration {
	return c.mono + t.Sub(c.base).Round(time.Millisecond)
}

// stamp returns the boot and the clocks at now, as a frame begins with them.
// A difference that is no step is left out, so that times read back are shown
// as they were.
func (c *clock) stamp(now time.Time) stamp {
	s := stamp{boot: c.boot, mono: c.stored(now)}
	s.wall = c.wall() - c.mono + s.mono
	if d := c.step(now); d.Abs() >= minStep {
		s.wall += d.Truncate(time.Millisecond)
	}
	return s
}

// A stamp is when a frame was written.
type stamp struct {
	boot       string
	mono, wall time.Duration // CLOCK_MONOTONIC, and since 1970; in whole milliseconds
}

// A bootClock is what is known from the files of one boot of the host.
type bootClock struct {
	id     string
	known  bool          // its frames have stamps; else their times are by the wall clock
	offset time.Duration // wall clock minus CLOCK_MONOTONIC, as of the latest stamp
	last   time.Duration // the latest stamp by CLOCK_MONOTONIC
}

// runs reports whether b is the boot that r was read in. A clock that is behind
// b's last stamp is another one: that of a time namespace.
func (b *bootClock) runs(r hostclock.Reading) bool {
	return b.known && b.id != "" && b.id == r.Boot && r.Mono >= b.last-minStep
}

// at returns which time of b's frames is now, by r.
//
// Within a boot CLOCK_MONOTONIC counts, whatever the wall clock is.
// Between two boots only the wall clock does. One that is behind the last
// stamp is wrong, and no time counts as passed: a board without a real-time
// clock, which boots in 1980, ends no lease. One that is ahead cannot be distinguished
// from a host that was off for so long.
func (b *bootClock) at(r hostclock.Reading) time.Duration {
	wall := time.Duration(r.Now.UnixMilli()) * time.Millisecond
	switch {
	case b.runs(r):
		return r.Mono
	case b.known:
		return max(wall-b.offset, b.last)
	}
	return wall
}
