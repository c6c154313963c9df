package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/dnsd/cache"
)

// Bounds of the cache of all resolvers.
const (
	cacheEntries = 100_000
	cacheBytes   = 32 << 20
)

// A Pool is what the resolvers of all networks share. Get one from NewPool.
type Pool struct {
	// Changed is called with the host's servers whenever those in resolv.conf change;
	// nil is fine. Set it before Run.
	Changed func([]netip.AddrPort)

	log      *slog.Logger
	cache    *cache.Cache
	own      atomic.Pointer[map[netip.AddrPort]bool] // addresses that we listen on
	host     atomic.Pointer[[]*upstream]             // of resolv.conf
	inflight atomic.Int32                            // queries
	owners   atomic.Uint32                           // the last one of cache entries
	ticking  atomic.Bool
	wake     chan struct{} // starts the ticker
	probes   probes
	locals   locals

	mu        sync.Mutex
	base      context.Context // of Run; nil when not running
	running   sync.WaitGroup
	usage     usage // by pending queries
	upstreams map[endpoint]*upstream
	resolvers map[string]*Resolver
	released  []*Resolver // without user; queries of theirs may be in flight
}

// NewPool returns a pool that answers nothing before Run.
func NewPool(log *slog.Logger) *Pool {
	p := &Pool{
		log:       log,
		cache:     cache.New(cacheEntries, cacheBytes),
		wake:      make(chan struct{}, 1),
		upstreams: map[endpoint]*upstream{},
		resolvers: map[string]*Resolver{},
	}
	p.own.Store(&map[netip.AddrPort]bool{})
	p.host.Store(&[]*upstream{})
	return p
}

// SetOwn sets the addresses on which we listen. They are never asked.
func (p *Pool) SetOwn(own []netip.AddrPort) {
	set := make(map[netip.AddrPort]bool, len(own))
	for _, a := range own {
		set[a] = true
	}
	p.own.Store(&set)
}

// SetHost replaces the host's servers, and drops what the cache has from the old ones:
// after a change of networks the same name may mean something else. With equal servers it
// does nothing and returns false.
func (p *Pool) SetHost(servers []netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	endpoints := make([]endpoint, len(servers))
	for i, s := range servers {
		endpoints[i] = endpoint{addr: s}
	}
	next := p.upstreamsLocked(endpoints)
	if slices.Equal(*p.host.Load(), next) {
		return false
	}
	p.host.Store(&next)
	for _, r := range p.resolvers {
		if r.rules[root] == nil {
			r.flush()
		}
	}
	return true
}

func (p *Pool) upstreamsLocked(endpoints []endpoint) []*upstream {
	list := make([]*upstream, 0, len(endpoints))
	for _, at := range endpoints {
		u := p.upstreams[at]
		if u == nil {
			u = &upstream{endpoint: at, pool: p}
			p.upstreams[at] = u
		}
		if !slices.Contains(list, u) {
			list = append(list, u)
		}
	}
	return list
}

// Resolver returns the resolver for rules: the same one for equal rules. The order of
// servers for one domain matters; that of domains does not. It must be given back with
// Release.
func (p *Pool) Resolver(rules []Rule, policy Policy) (*Resolver, error) {
	domains := map[string]string{}
	for _, r := range rules {
		domains[strings.ToLower(strings.TrimSuffix(r.Domain, "."))] += " " + r.endpoint().String()
	}
	lines := []string{fmt.Sprint(policy)}
	for domain, servers := range domains {
		lines = append(lines, domain+servers)
	}
	slices.Sort(lines)
	id := strings.Join(lines, "\n")
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.resolvers[id]; r != nil {
		r.users++
		return r, nil
	}
	r := newResolver(p, id, policy)
	var errs []error
	for _, rule := range rules {
		errs = append(errs, r.addLocked(rule))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.resolvers[id] = r
	return r, nil
}

// Release gives a resolver back. With the last user its part of the cache is dropped.
func (p *Pool) Release(r *Resolver) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.users--; r.users == 0 {
		delete(p.resolvers, r.id)
		p.released = append(p.released, r)
	}
}

// Run follows resolvConf ("" is /etc/resolv.conf) and lets resolvers ask, until
// ctx ends. It calls ready as soon as they can, with the file read: what they are
// asked earlier is Stopped. It returns when all that it started has ended.
func (p *Pool) Run(ctx context.Context, resolvConf string, ready func()) error {
	p.mu.Lock()
	p.base = ctx
	p.mu.Unlock()
	p.spawn(func() { p.tickUntilDone(ctx) })
	p.followResolvConf(ctx, resolvConf, ready)
	p.mu.Lock()
	p.base = nil
	p.mu.Unlock()
	for _, u := range p.allUpstreams() { // before the queries: what is sent from here on fails
		u.datagrams.close()
		u.streams.close()
	}
	for _, q := range p.allInflight() {
		q.abort()
	}
	p.running.Wait()
	return nil
}

// spawn runs f while Run does, and reports whether it could.
func (p *Pool) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.base == nil || p.base.Err() != nil {
		return false
	}
	p.running.Go(f)
	return true
}

// context returns that of Run.
func (p *Pool) context() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.base == nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx
	}
	return p.base
}

// crowded reports whether queries in flight that no client waits for have to end.
func (p *Pool) crowded() bool { return p.inflight.Load() >= maxInflight/2 }

// tickTime is the resolution of time-outs.
const tickTime = 50 * time.Millisecond

// tickUntilDone moves all queries in flight and sweeps sockets while there are any, and
// stops the ticker when there are none. One timer for all costs less than one for each.
func (p *Pool) tickUntilDone(ctx context.Context) {
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
				busy = p.inflight.Load() > 0
				for _, q := range p.allInflight() {
					q.tick(now)
				}
				for _, u := range p.allUpstreams() {
					busy = u.datagrams.sweep(now) || busy
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// allInflight returns all queries in flight, and deletes released resolvers without any.
// A resolver's lock is taken before the pool's, never within.
func (p *Pool) allInflight() []*inflight {
	p.mu.Lock()
	resolvers := slices.Concat(slices.Collect(maps.Values(p.resolvers)), p.released)
	used := len(p.resolvers)
	p.mu.Unlock()
	var all []*inflight
	for i, r := range resolvers {
		r.mu.Lock()
		n := len(r.inflight)
		all = slices.AppendSeq(all, maps.Values(r.inflight))
		r.mu.Unlock()
		if i >= used && n == 0 {
			p.mu.Lock()
			p.released = slices.DeleteFunc(p.released, func(o *Resolver) bool { return o == r })
			p.mu.Unlock()
		}
	}
	return all
}

func (p *Pool) allUpstreams() []*upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.upstreams))
}

// Counts are the counters of one upstream.
type Counts struct {
	Upstream string // address and port, and its TLS name
	Asked    uint64
	Replied  uint64
	Failed   uint64 // timed out, or an error
	Up       bool   // false: marked down, asked last
}

// Counts returns those of the upstreams that are in use, sorted.
func (p *Pool) Counts() []Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Counts, 0, len(p.upstreams))
	for at, u := range p.upstreams {
		out = append(out, Counts{
			Upstream: at.String(), Asked: u.asked.Load(), Replied: u.replied.Load(), Failed: u.failures.Load(), Up: !u.down(),
		})
	}
	slices.SortFunc(out, func(a, b Counts) int { return strings.Compare(a.Upstream, b.Upstream) })
	return out
}

// Cache returns the size of the cache.
func (p *Pool) Cache() cache.Size { return p.cache.Size() }
