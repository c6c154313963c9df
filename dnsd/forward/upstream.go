package forward

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// started is what times are counted from, by the monotonic clock.
var started = time.Now()

const (
	patience  = 2                // silences or errors in a row that make an upstream rest
	checkTime = 2 * time.Second  // from when it rests until it is asked beside another
	checkMax  = 30 * time.Second // the same, after many checks without an answer
	loopTime  = 30 * time.Second // for which one that loops is not asked at all
	lowerTime = time.Hour        // for which one that changes letters gets them small

	firstWait = time.Second // for an answer, before another upstream is asked too
	leastWait = 250 * time.Millisecond
	mostWait  = 1500 * time.Millisecond
)

// A place is where an upstream listens, and under which name it proves who it
// is; "" is without TLS.
type place struct {
	addr netip.AddrPort
	name string
}

func (p place) String() string {
	if p.name == "" {
		return p.addr.String()
	}
	return p.addr.String() + " (" + p.name + ")"
}

// An upstream is a name server that others run: its health, and the sockets to
// it.
type upstream struct {
	place
	pool *Pool

	mu        sync.Mutex
	rtt       time.Duration // smoothed; 0 is unknown
	failures  int           // in a row
	checks    int           // of one that rests, without an answer
	checkAt   time.Time
	loopUntil time.Time
	probed    time.Time

	asked, replied, silent atomic.Uint64 // how often, ever

	lower     atomic.Int64 // until when, since started, letters are not varied
	datagrams datagrams
	streams   streams
}

// answered notes a sign of life, and reports whether it is news.
func (u *upstream) answered(took time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.replied.Add(1)
	rested := u.failures >= patience
	u.failures, u.checks = 0, 0
	if u.rtt == 0 {
		u.rtt = took
	}
	u.rtt += (took - u.rtt) / 8
	return rested
}

// failed notes silence or an error, and reports whether that made it rest.
func (u *upstream) failed(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.silent.Add(1)
	u.failures++
	if u.failures == patience {
		u.checkAt = now.Add(checkTime)
	}
	return u.failures == patience
}

func (u *upstream) rests() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failures >= patience
}

// check reports whether to see if one that rests is back.
func (u *upstream) check(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failures < patience || now.Before(u.checkAt) {
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

func (u *upstream) loops(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return now.Before(u.loopUntil)
}

// looped notes a proved loop, and reports whether it is news.
func (u *upstream) looped(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	news := !now.Before(u.loopUntil)
	u.loopUntil = now.Add(loopTime)
	return news
}

// letters returns the letters of the next query.
func (u *upstream) letters(now time.Time) wire.Letters {
	if until := u.lower.Load(); until != 0 && int64(now.Sub(started)) < until {
		return wire.SmallLetters
	}
	return wire.RandomLetters()
}

// order returns whom to ask in which order: those that rest come last, those
// that loop and our own addresses are left out.
func (p *Pool) order(servers []*upstream, now time.Time) []*upstream {
	list := make([]*upstream, 0, len(servers))
	for _, u := range servers {
		if p.usable(u, now) && !u.rests() {
			list = append(list, u)
		}
	}
	if len(list) == len(servers) {
		return list
	}
	for _, u := range servers {
		if p.usable(u, now) && !slices.Contains(list, u) {
			list = append(list, u)
		}
	}
	return list
}

func (p *Pool) usable(u *upstream, now time.Time) bool {
	return !(*p.own.Load())[u.addr] && !u.loops(now)
}
