package forward

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Bounds on what is under way at once.
const (
	maxFlights = 1000 // questions to upstreams, all networks together
	maxWaiting = 4000 // clients' queries that wait for them
	maxClient  = 300  // of these from one address
)

// A Pool is what the resolvers of all networks share. Get one from NewPool.
type Pool struct {
	// Changed is called with the host's servers whenever resolv.conf names others;
	// nil is fine. Set it before Run.
	Changed func([]netip.AddrPort)

	log    *slog.Logger
	own    atomic.Pointer[map[netip.AddrPort]bool]
	host   atomic.Pointer[[]*upstream] // of resolv.conf
	probes probes
	locals locals

	mu        sync.Mutex
	base      context.Context // of Run: parent of all flights; nil when not running
	running   sync.WaitGroup
	flights   int
	waiting   int
	clients   map[netip.Addr]int
	upstreams map[netip.AddrPort]*upstream
	resolvers map[string]*Resolver
}

// NewPool returns a pool that answers nothing before Run.
func NewPool(log *slog.Logger) *Pool {
	p := &Pool{
		log:       log,
		clients:   map[netip.Addr]int{},
		upstreams: map[netip.AddrPort]*upstream{},
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
	next := p.upstreamsLocked(servers)
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

func (p *Pool) upstreamsLocked(servers []netip.AddrPort) []*upstream {
	list := make([]*upstream, 0, len(servers))
	for _, s := range servers {
		u := p.upstreams[s]
		if u == nil {
			u = &upstream{addr: s}
			p.upstreams[s] = u
		}
		if !slices.Contains(list, u) {
			list = append(list, u)
		}
	}
	return list
}

// Resolver returns the resolver for rules: the same one for equal rules. It
// must be given back with Release.
func (p *Pool) Resolver(rules []Rule) (*Resolver, error) {
	id := identity(rules)
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.resolvers[id]; r != nil {
		r.users++
		return r, nil
	}
	r := newResolver(p, id)
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

// Release gives a resolver back. The last user takes its cache along.
func (p *Pool) Release(r *Resolver) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.users--; r.users == 0 {
		delete(p.resolvers, r.id)
	}
}

// identity returns equal strings for rules of equal meaning. The order of
// servers for one domain has a meaning; that of domains has none.
func identity(rules []Rule) string {
	lines := map[string]string{}
	for _, r := range rules {
		domain := strings.ToLower(strings.TrimSuffix(r.Domain, "."))
		lines[domain] += " " + r.Server.String()
	}
	var all []string
	for domain, servers := range lines {
		all = append(all, domain+servers)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// Run follows resolvConf ("" is /etc/resolv.conf) and lets resolvers ask, until
// ctx ends. It returns when the last flight has landed.
func (p *Pool) Run(ctx context.Context, resolvConf string) error {
	p.mu.Lock()
	p.base = ctx
	p.mu.Unlock()
	err := p.follow(ctx, resolvConf)
	p.mu.Lock()
	p.base = nil
	p.mu.Unlock()
	p.running.Wait()
	return err
}

// spawn runs f with the context of Run, and reports whether it could.
func (p *Pool) spawnLocked(f func(ctx context.Context)) bool {
	if p.base == nil || p.base.Err() != nil {
		return false
	}
	ctx := p.base
	p.running.Go(func() { f(ctx) })
	return true
}

// enter counts one more waiting query of a client, and reports whether it is
// within bounds.
func (p *Pool) enter(client netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting >= maxWaiting || p.clients[client] >= maxClient {
		return false
	}
	p.waiting++
	p.clients[client]++
	return true
}

func (p *Pool) leave(client netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
	if p.clients[client]--; p.clients[client] <= 0 {
		delete(p.clients, client)
	}
}

// launch runs f as a flight if there is room for one more.
func (p *Pool) launch(f func(ctx context.Context)) Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flights >= maxFlights {
		return Busy
	}
	landed := func(ctx context.Context) {
		defer p.land()
		f(ctx)
	}
	if !p.spawnLocked(landed) {
		return Stopped
	}
	p.flights++
	return Accepted
}

func (p *Pool) land() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flights--
}
