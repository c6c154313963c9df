package forward

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// started is the origin of times in atomic variables, by the monotonic clock.
var started = time.Now()

const (
	failThreshold = 2                // time-outs or errors in a row that mark an upstream down
	checkTime     = 2 * time.Second  // from then until it is checked with a query
	checkMax      = 30 * time.Second // the same, after many checks without an answer
	loopTime      = 30 * time.Second // for which one that loops is not asked
	lowerTime     = time.Hour        // for which one that does not preserve case gets lower case

	firstWait = time.Second // for an answer, before another upstream is asked too
	leastWait = 250 * time.Millisecond
	mostWait  = 1500 * time.Millisecond
)

// An endpoint is the address of an upstream, and the name in its certificate; "" is without
// TLS.
type endpoint struct {
	addr netip.AddrPort
	name string
}

func (e endpoint) String() string {
	if e.name == "" {
		return e.addr.String()
	}
	return e.addr.String() + " (" + e.name + ")"
}

// An upstream is a name server that queries are sent to: its health, and the sockets.
type upstream struct {
	endpoint
	pool *Pool

	mu        sync.Mutex
	rtt       time.Duration // smoothed; 0 is unknown
	inARow    int           // in a row
	checks    int           // while down, without an answer
	checkAt   time.Time
	loopUntil time.Time
	probed    time.Time

	asked, replied, failures atomic.Uint64

	lowerUntil atomic.Int64 // since started: no DNS 0x20
	datagrams  datagrams
	streams    streams
}

// answered records an answer, and reports whether that marks the upstream up.
func (u *upstream) answered(took time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.replied.Add(1)
	wasDown := u.inARow >= failThreshold
	u.inARow, u.checks = 0, 0
	if u.rtt == 0 {
		u.rtt = took
	}
	u.rtt += (took - u.rtt) / 8
	return wasDown
}

// failed records a time-out or an error, and reports whether that marks the upstream down.
func (u *upstream) failed(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failures.Add(1)
	u.inARow++
	if u.inARow == failThreshold {
		u.checkAt = now.Add(checkTime)
	}
	return u.inARow == failThreshold
}

func (u *upstream) down() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.inARow >= failThreshold
}

// checkDue reports whether an upstream that is down is to be checked now.
func (u *upstream) checkDue(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.inARow < failThreshold || now.Before(u.checkAt) {
		return false
	}
	u.checkAt = now.Add(min(checkTime<<min(u.checks, 5), checkMax))
	u.checks++
	return true
}

// wait is how long to wait for an answer before another one is asked too.
func (u *upstream) wait() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rtt == 0 {
		return firstWait
	}
	return min(max(4*u.rtt, leastWait), mostWait)
}

// order returns the upstreams in the order in which they are asked: those that are down
// come last; those that loop, and our own addresses, are left out.
func (p *Pool) order(servers []*upstream, now time.Time) []*upstream {
	list, last := make([]*upstream, 0, len(servers)), []*upstream(nil)
	for _, u := range servers {
		u.mu.Lock()
		loops, down := now.Before(u.loopUntil), u.inARow >= failThreshold
		u.mu.Unlock()
		switch {
		case loops || (*p.own.Load())[u.addr]:
		case down:
			last = append(last, u)
		default:
			list = append(list, u)
		}
	}
	return append(list, last...)
}
