package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/internal/limit"
)

// What the cache of all resolvers together may hold.
const (
	cacheEntries = 100_000
	cacheBytes   = 32 << 20
)

// A Rule sends the names at and below Domain to Server. "" is everything, and
// then the host's resolv.conf is not used. Several rules for one domain stand in
// for each other, the first one while it answers; the longest domain wins.
type Rule struct {
	Domain string
	Server netip.AddrPort
	TLS    string // the name in the server's certificate; "" is without TLS
}

func (r Rule) place() place { return place{addr: r.Server, name: r.TLS} }

// A Policy says what a resolver does not let through.
type Policy struct {
	// NoPrivate refuses replies that name private addresses (DNS rebinding),
	// unless a rule with a domain covers the question.
	NoPrivate bool
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
	Repeated                // the same query of the client is pending, and that one is answered
)

// A Resolver answers by one set of rules. It is safe for many goroutines.
type Resolver struct {
	pool   *Pool
	id     string
	policy Policy
	users  int // guarded by pool.mu
	rules  map[string][]*upstream
	owner  atomic.Uint32 // of what it has in the cache; another one with other upstreams

	mu      sync.Mutex
	flights map[string]*flight
}

func newResolver(p *Pool, id string, policy Policy) *Resolver {
	r := &Resolver{
		pool: p, id: id, policy: policy, users: 1,
		rules:   map[string][]*upstream{},
		flights: map[string]*flight{},
	}
	r.forget()
	return r
}

// forget makes the resolver not know what it has in the cache. What is on its
// way is not found either.
func (r *Resolver) forget() { r.owner.Store(r.pool.owners.Add(1)) }

func (r *Resolver) addLocked(rule Rule) error {
	domain, err := wire.Name(rule.Domain)
	if err == nil && !rule.Server.IsValid() {
		err = errors.New("no server address")
	}
	if err != nil {
		return fmt.Errorf("forwarder for %q: %w", rule.Domain, err)
	}
	key := string(domain)
	r.rules[key] = append(r.rules[key], r.pool.upstreamsLocked([]place{rule.place()})...)
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

// Elsewhere reports whether a rule for a domain sends target to other servers than name.
func (r *Resolver) Elsewhere(name, target []byte) bool {
	return len(r.rules) > 0 && r.Routed(target) && !slices.Equal(r.servers(name), r.servers(target))
}

// Protects reports whether a reply for name must not have private addresses.
func (r *Resolver) Protects(name []byte) bool { return r.policy.NoPrivate && !r.Routed(name) }

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
// was. It allocates nothing, unless the reply is asked for again ahead of its end.
func (r *Resolver) Cached(buf []byte, q *wire.Query, now time.Time) ([]byte, bool) {
	hit := r.pool.cache.Get(r.owner.Load(), q.Key(), now)
	switch {
	case hit.Message == nil:
		return buf, false
	case hit.Stale:
		return hit.Message.AppendStale(buf, q), true
	case hit.Refresh:
		r.refresh(q, now)
	}
	return hit.Message.AppendReply(buf, q, hit.Age), true
}

// Ask sends a query upstream, or lets it wait with an equal one that is on its
// way. If it is Accepted, reply is called once, soon, perhaps from another
// goroutine and before Ask returns, with bytes that are valid only during the
// call; it must not block. When the pool stops reply is called with nil: silence
// makes the client ask once more, and whoever serves by then answers. q may be
// used again when Ask returns.
func (r *Resolver) Ask(q *wire.Query, client Client, reply func(msg []byte)) Verdict {
	if r.pool.caught(q.Lower()) {
		return Looped
	}
	w := &waiter{client: client, query: q.Clone(), reply: reply, r: r}
	defer func() { // also after a panic
		if w.flight == nil {
			r.pool.leave(w)
		}
	}()
	launched, evicted, asked, verdict := r.join(q, w)
	if evicted != nil {
		evicted.evict()
	}
	if verdict != Accepted {
		return verdict
	}
	for _, u := range asked {
		r.pool.suspect(client.Addr.Addr(), u, q.Key())
	}
	if launched != nil {
		launched.start(time.Now())
	}
	return Accepted
}

// join has a query wait with an equal one, and returns the upstreams of that, or launches a
// flight for it. A query that is sent once more does not wait again: the first is
// answered.
func (r *Resolver) join(q *wire.Query, w *waiter) (launched *flight, evicted *waiter, asked []*upstream, verdict Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[string(q.Key())]
	if f != nil && f.waitsFor(w.client.Addr, q.ID) {
		return nil, nil, nil, Repeated
	}
	evicted, ok := r.pool.admit(w, f == nil)
	switch {
	case !ok:
		return nil, nil, nil, Busy
	case f == nil:
		began := q.Since
		if began.IsZero() {
			began = time.Now()
		}
		launched, verdict = r.launchLocked(q, began, w)
		return launched, evicted, nil, verdict
	}
	f.waiters, w.flight = append(f.waiters, w), f
	return nil, evicted, f.askedLocked(), Accepted
}

// refresh asks again for what will go stale soon; no query waits for it.
func (r *Resolver) refresh(q *wire.Query, now time.Time) {
	if f := r.relaunch(q, now); f != nil {
		f.start(now)
	}
}

func (r *Resolver) relaunch(q *wire.Query, now time.Time) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flights[string(q.Key())] != nil {
		return nil
	}
	f, _ := r.launchLocked(q, now)
	return f
}

func (r *Resolver) launchLocked(q *wire.Query, now time.Time, w ...*waiter) (*flight, Verdict) {
	list := r.pool.order(r.servers(q.Lower()), now)
	if len(list) == 0 {
		return nil, Nobody
	}
	if verdict := r.pool.takeOff(len(w) > 0); verdict != Accepted {
		return nil, verdict
	}
	f := &flight{
		r: r, key: slices.Clone(q.Key()), owner: r.owner.Load(), began: now,
		waiters: w, list: list, spent: make([]bool, len(list)),
	}
	for _, w := range w {
		w.flight = f
	}
	r.flights[string(f.key)] = f
	return f, Accepted
}

// askedLocked returns the upstreams that are waited for.
func (f *flight) askedLocked() []*upstream {
	var list []*upstream
	for _, t := range f.tries {
		list = append(list, t.u)
	}
	return list
}

// judge returns the reply that clients get instead of m, if policy has a word
// to say.
func (r *Resolver) judge(key []byte, m *wire.Message) *wire.Message {
	name := key[:len(key)-3]
	if !m.Private() || !r.Protects(name) {
		return m
	}
	r.pool.log.Warn("reply names a private address: refused (DNS rebinding)", "question", limit.Text(wire.Text(name)))
	return wire.Blocked(key)
}
