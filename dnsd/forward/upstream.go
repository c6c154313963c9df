package forward

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	restTime = 20 * time.Second // a silent upstream is asked last
	loopTime = 30 * time.Second // a looping one not at all
	patience = 2                // failures in a row that make it silent
)

// An upstream is a name server that others run.
type upstream struct {
	addr netip.AddrPort

	mu        sync.Mutex
	failures  int // in a row
	restUntil time.Time
	loopUntil time.Time
	probed    time.Time
	tries     map[*flight]context.CancelFunc
}

// answered notes a sign of life, and reports whether it is news.
func (u *upstream) answered() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	rested := u.failures >= patience
	u.failures, u.restUntil = 0, time.Time{}
	return rested
}

// failed notes silence or an error, and reports whether that made it rest.
func (u *upstream) failed(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failures++
	if u.failures >= patience {
		u.restUntil = now.Add(restTime)
	}
	return u.failures == patience
}

func (u *upstream) rests(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return now.Before(u.restUntil)
}

func (u *upstream) loops(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return now.Before(u.loopUntil)
}

func (u *upstream) enter(f *flight, cancel context.CancelFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tries == nil {
		u.tries = map[*flight]context.CancelFunc{}
	}
	u.tries[f] = cancel
}

func (u *upstream) exit(f *flight) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.tries, f)
}

// abandon makes all flights leave an upstream that loops, and reports whether
// the loop is news.
func (u *upstream) abandon(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	news := !now.Before(u.loopUntil)
	u.loopUntil = now.Add(loopTime)
	for _, cancel := range u.tries {
		cancel()
	}
	return news
}

// order returns whom to ask in which order: those that rest come last, those
// that loop and our own addresses are left out.
func (p *Pool) order(servers []*upstream, now time.Time) []*upstream {
	list := make([]*upstream, 0, len(servers))
	var last []*upstream
	for _, u := range servers {
		switch {
		case !p.usable(u, now):
		case u.rests(now):
			last = append(last, u)
		default:
			list = append(list, u)
		}
	}
	return append(list, last...)
}

func (p *Pool) usable(u *upstream, now time.Time) bool {
	return !(*p.own.Load())[u.addr] && !u.loops(now)
}

func (p *Pool) anyUsable(servers []*upstream, now time.Time) bool {
	return slices.ContainsFunc(servers, func(u *upstream) bool { return p.usable(u, now) })
}
