package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vnetd/vnetd/dnsd/cache"
)

// A Pool is what the resolvers of all networks share. Get one from NewPool.
type Pool struct {
	// Changed is called with the host's servers whenever resolv.conf names others;
	// nil is fine. Set it before Run.
	Changed func([]netip.AddrPort)

	log     *slog.Logger
	cache   *cache.Cache
	own     atomic.Pointer[map[netip.AddrPort]bool]
	host    atomic.Pointer[[]*upstream] // of resolv.conf
	flights atomic.Int32                // in the air
	owners  atomic.Uint32               // of what is cached, ever
	ticking atomic.Bool
	wake    chan struct{} // the clock has to tick
	probes  probes
	locals  locals

	mu        sync.Mutex
	base      context.Context // of Run; nil when not running
	running   sync.WaitGroup
	usage     usage // by pending queries
	upstreams map[place]*upstream
	resolvers map[string]*Resolver
	ending    []*Resolver // nobody's any more; flights of theirs may be in the air
}

// NewPool returns a pool that answers nothing before Run.
func NewPool(log *slog.Logger) *Pool {
	p := &Pool{
		log:       log,
		cache:     cache.New(cacheEntries, cacheBytes),
		wake:      make(chan struct{}, 1),
		upstreams: map[place]*upstream{},
		resolvers: map[string]*Resolver{},
	}
	p.own.Store(&map[netip.AddrPort]bool{})
	p.host.Store(&[]*upstream{})
	return p
}

// SetOwn says on which addresses we listen ourselves. They are never asked.
func (p *Pool) SetOwn(own []netip.AddrPort) {
	set := make(map[netip.AddrPort]bool, len(own))
	for _, a := range own {
		set[a] = true
	}
	p.own.Store(&set)
}

// SetHost replaces the host's servers and forgets what the old ones said: after
// a change of networks the same name may well mean something else. With equal
// servers it does nothing and returns false.
func (p *Pool) SetHost(servers []netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	places := make([]place, len(servers))
	for i, s := range servers {
		places[i] = place{addr: s}
	}
	next := p.upstreamsLocked(places)
	if slices.Equal(*p.host.Load(), next) {
		return false
	}
	p.host.Store(&next)
	for _, r := range p.resolvers {
		if r.usesHost() {
			r.forget()
		}
	}
	return true
}

func (p *Pool) upstreamsLocked(places []place) []*upstream {
	list := make([]*upstream, 0, len(places))
	for _, at := range places {
		u := p.upstreams[at]
		if u == nil {
			u = &upstream{place: at, pool: p}
			p.upstreams[at] = u
		}
		if !slices.Contains(list, u) {
			list = append(list, u)
		}
	}
	return list
}

// Resolver returns the resolver for rules: the same one for equal rules. It
// must be given back with Release.
func (p *Pool) Resolver(rules []Rule, policy Policy) (*Resolver, error) {
	id := identity(rules, policy)
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

// Release gives a resolver back. With the last user what it knew is forgotten.
func (p *Pool) Release(r *Resolver) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.users--; r.users == 0 {
		delete(p.resolvers, r.id)
		p.ending = append(p.ending, r)
	}
}

// identity returns equal strings for rules of equal meaning. The order of
// servers for one domain has a meaning; that of domains has none.
func identity(rules []Rule, policy Policy) string {
	lines := map[string]string{}
	for _, r := range rules {
		domain := strings.ToLower(strings.TrimSuffix(r.Domain, "."))
		lines[domain] += " " + r.place().String()
	}
	all := []string{fmt.Sprint(policy)}
	for domain, servers := range lines {
		all = append(all, domain+servers)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// Run follows resolvConf ("" is /etc/resolv.conf) and lets resolvers ask, until
// ctx ends. It calls ready as soon as they can, with the file read: what they are
// asked earlier is Stopped. It returns when all that it started has ended.
func (p *Pool) Run(ctx context.Context, resolvConf string, ready func()) error {
	p.mu.Lock()
	p.base = ctx
	p.mu.Unlock()
	p.spawn(func() { p.clock(ctx) })
	err := p.follow(ctx, resolvConf, ready)
	p.mu.Lock()
	p.base = nil
	p.mu.Unlock()
	for _, u := range p.everyUpstream() { // first: what takes off later fails at once
		u.datagrams.close()
		u.streams.close()
	}
	for _, f := range p.inTheAir() {
		f.abort()
	}
	p.running.Wait()
	return err
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

// takeOff counts one more flight. One that no client waits for takes off only while
// there is plenty of room; the others were admitted.
func (p *Pool) takeOff(awaited bool) Verdict {
	if p.context().Err() != nil {
		return Stopped
	}
	if !awaited && p.crowded() {
		return Busy
	}
	p.flights.Add(1)
	if !p.ticking.Load() {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	return Accepted
}

// crowded reports whether flights that no client waits for have to go.
func (p *Pool) crowded() bool { return p.flights.Load() >= maxFlights/2 }
