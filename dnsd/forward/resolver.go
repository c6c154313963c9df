package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/dnsd/cache"
	"github.com/vnetd/vnetd/dnsd/wire"
)

// What one resolver's cache may hold.
const (
	cacheEntries = 10_000
	cacheBytes   = 8 << 20
)

// A Rule sends the names at and below Domain to Server. "" is everything, and
// then the host's resolv.conf is not used. Several rules for one domain are
// tried in their order; the longest domain wins.
type Rule struct {
	Domain string
	Server netip.AddrPort
}

// A Verdict says what Ask did with a query.
type Verdict uint8

// The verdicts of Ask. With all but Accepted the caller answers itself.
const (
	Accepted Verdict = iota // the reply comes later
	Busy                    // too much under way, or too much of this client
	Nobody                  // no upstream that could be asked
	Looped                  // our own query, come back
	Stopped                 // the pool does not run: say nothing
)

// A Resolver answers by one set of rules. It is safe for many goroutines.
type Resolver struct {
	pool  *Pool
	id    string
	users int // guarded by pool.mu
	rules map[string][]*upstream
	cache *cache.Cache
	epoch atomic.Uint32 // counts changes of upstreams

	mu      sync.Mutex
	flights map[string]*flight
}

func newResolver(p *Pool, id string) *Resolver {
	return &Resolver{
		pool: p, id: id, users: 1,
		rules:   map[string][]*upstream{},
		cache:   cache.New(cacheEntries, cacheBytes),
		flights: map[string]*flight{},
	}
}

func (r *Resolver) addLocked(rule Rule) error {
	domain, err := wire.Name(rule.Domain)
	if err == nil && !rule.Server.IsValid() {
		err = errors.New("no server address")
	}
	if err != nil {
		return fmt.Errorf("forwarder for %q: %w", rule.Domain, err)
	}
	key := string(domain)
	r.rules[key] = append(r.rules[key], r.pool.upstreamsLocked([]netip.AddrPort{rule.Server})...)
	return nil
}

const root = "\x00"

func (r *Resolver) usesHost() bool { return r.rules[root] == nil }

// Routed reports whether a rule names a domain that name, in wire form and
// small letters, is in.
func (r *Resolver) Routed(name []byte) bool {
	for ; name[0] != 0; name = name[1+name[0]:] {
		if _, ok := r.rules[string(name)]; ok {
			return true
		}
	}
	return false
}

// servers returns whom to ask for a name, before health and loops are looked at.
func (r *Resolver) servers(name []byte) []*upstream {
	for len(r.rules) > 0 {
		if list, ok := r.rules[string(name)]; ok {
			return list
		}
		if name[0] == 0 {
			break
		}
		name = name[1+name[0]:]
	}
	return *r.pool.host.Load()
}

// Cached appends the reply to q if it is in the cache, and reports whether it
// was. It allocates nothing.
func (r *Resolver) Cached(buf []byte, q *wire.Query, now time.Time) ([]byte, bool) {
	m, age := r.cache.Get(q.Key(), now)
	if m == nil {
		return buf, false
	}
	return m.AppendReply(buf, q, age), true
}

// Ask sends a query upstream, or lets it wait with an equal one that is on its
// way. If it is Accepted, reply is called once, later, from another goroutine,
// with bytes that are valid only during the call; it must not block. When the
// pool stops reply is called with nil: silence makes the client ask once more,
// and whoever serves by then answers. q may be used again when Ask returns.
func (r *Resolver) Ask(q *wire.Query, client netip.AddrPort, reply func(msg []byte)) Verdict {
	if r.pool.caught(q.Lower()) {
		return Looped
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[string(q.Key())]
	if f != nil && f.waitsFor(client, q.ID) {
		return Accepted // sent once more; the first is answered
	}
	if f == nil && !r.pool.anyUsable(r.servers(q.Lower()), time.Now()) {
		return Nobody
	}
	if !r.pool.enter(client.Addr()) {
		return Busy
	}
	w := waiter{client: client, query: q.Clone(), reply: reply}
	switch {
	case f != nil:
		f.waiters = append(f.waiters, w)
		r.pool.suspect(client.Addr(), f.asking.Load(), f.key)
	default:
		if verdict := r.launchLocked(w); verdict != Accepted {
			r.pool.leave(client.Addr())
			return verdict
		}
	}
	return Accepted
}

func (r *Resolver) launchLocked(w waiter) Verdict {
	f := &flight{r: r, key: append([]byte(nil), w.query.Key()...), epoch: r.epoch.Load(), waiters: []waiter{w}}
	verdict := r.pool.launch(f.run)
	if verdict == Accepted {
		r.flights[string(f.key)] = f
	}
	return verdict
}

// forget drops the cache, and what is on its way is not kept either.
func (r *Resolver) forget() {
	r.epoch.Add(1)
	r.cache.Clear()
}
