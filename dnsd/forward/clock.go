package forward

import (
	"context"
	"maps"
	"slices"
	"time"
)

// tickTime is how exact the clock is.
const tickTime = 50 * time.Millisecond

// clock moves all flights and sweeps sockets while there are any, and rests
// when there are none. One timer for all costs less than one for each.
func (p *Pool) clock(ctx context.Context) {
	t := time.NewTicker(tickTime)
	defer t.Stop()
	for {
		p.ticking.Store(false)
		t.Stop()
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
		p.ticking.Store(true)
		t.Reset(tickTime)
		for busy := true; busy; {
			select {
			case now := <-t.C:
				busy = p.tick(now)
			case <-ctx.Done():
				return
			}
		}
	}
}

// tick reports whether there is something left to wait for.
func (p *Pool) tick(now time.Time) bool {
	left := p.flights.Load() > 0
	for _, f := range p.inTheAir() {
		f.tick(now)
	}
	for _, u := range p.everyUpstream() {
		left = u.datagrams.sweep(now) || left
	}
	return left
}

// inTheAir returns all flights. A resolver's lock is taken before the pool's,
// never within.
func (p *Pool) inTheAir() []*flight {
	p.mu.Lock()
	resolvers := slices.Collect(maps.Values(p.resolvers))
	ending := slices.Clone(p.ending)
	p.mu.Unlock()
	var all []*flight
	for _, r := range resolvers {
		all = r.appendFlights(all)
	}
	for _, r := range ending {
		before := len(all)
		if all = r.appendFlights(all); len(all) == before {
			p.ended(r)
		}
	}
	return all
}

// ended forgets a resolver whose last flight has landed.
func (p *Pool) ended(r *Resolver) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = slices.DeleteFunc(p.ending, func(o *Resolver) bool { return o == r })
}

func (r *Resolver) appendFlights(all []*flight) []*flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flights {
		all = append(all, f)
	}
	return all
}

func (p *Pool) everyUpstream() []*upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*upstream, 0, len(p.upstreams))
	for _, u := range p.upstreams {
		all = append(all, u)
	}
	return all
}

// triesTo returns the queries that wait for u.
func (f *flight) triesTo(u *upstream) []*try {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	tries := slices.Clone(f.tries)
	return slices.DeleteFunc(tries, func(t *try) bool { return t.u != u })
}
