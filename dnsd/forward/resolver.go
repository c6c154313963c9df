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
)

// A Rule sends the names at and below Domain to Server. "" is everything, and
// then the host's resolv.conf is not used. Several rules for one domain stand in
// for each other in their order; the longest domain wins.
type Rule struct {
	Domain string
	Server netip.AddrPort
	TLS    string // the name in the server's certificate; "" is without TLS
}

func (r Rule) endpoint() endpoint { return endpoint{addr: r.Server, name: r.TLS} }

// A Policy restricts the replies of a resolver.
type Policy struct {
	// NoPrivate refuses replies with private addresses (DNS rebinding),
	// unless a rule with a domain covers the question.
	NoPrivate bool
}

// A Verdict is the result of Ask.
type Verdict uint8

// The verdicts of Ask. With all but Accepted the caller answers itself.
const (
	Accepted   Verdict = iota // the reply comes later
	Busy                      // a limit of pending queries is reached
	NoUpstream                // there is no upstream that could be asked
	Looped                    // our own query came back
	Stopped                   // the pool does not run: do not reply
	Repeated                  // the same query of the client is pending, and that one is answered
)

// A Resolver answers by one set of rules. It is safe for many goroutines.
type Resolver struct {
	pool   *Pool
	id     string
	policy Policy
	users  int // guarded by pool.mu
	rules  map[string][]*upstream
	owner  atomic.Uint32 // of its entries in the cache

	mu       sync.Mutex
	inflight map[string]*inflight
}

func newResolver(p *Pool, id string, policy Policy) *Resolver {
	r := &Resolver{pool: p, id: id, policy: policy, users: 1, rules: map[string][]*upstream{}, inflight: map[string]*inflight{}}
	r.flush()
	return r
}

// flush drops the resolver's part of the cache, with the replies that are on their way.
func (r *Resolver) flush() { r.owner.Store(r.pool.owners.Add(1)) }

func (r *Resolver) addLocked(rule Rule) error {
	domain, err := wire.Name(rule.Domain)
	if err == nil && !rule.Server.IsValid() {
		err = errors.New("no server address")
	}
	if err != nil {
		return fmt.Errorf("forwarder for %q: %w", rule.Domain, err)
	}
	key := string(domain)
	r.rules[key] = append(r.rules[key], r.pool.upstreamsLocked([]endpoint{rule.endpoint()})...)
	return nil
}

const root = "\x00"

// Routed reports whether a rule has a domain that name, in wire form and
// lower case, is in.
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

// servers returns the upstreams for a name, whatever their health.
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

// Cached appends the reply to q if it is in the cache, and reports whether it was. It
// allocates nothing, unless the entry is refreshed ahead of its end.
func (r *Resolver) Cached(buf []byte, q *wire.Query, now time.Time) ([]byte, bool) {
	hit := r.pool.cache.Get(r.owner.Load(), q.Key(), now)
	switch {
	case hit.Message == nil:
		return buf, false
	case hit.Stale:
		return hit.Message.AppendStale(buf, q), true
	case hit.Refresh: // no client waits for it
		if f := r.refresh(q, now); f != nil {
			f.start(now)
		}
	}
	return hit.Message.AppendReply(buf, q, hit.Age), true
}

// refresh adds the query, unless it is in flight.
func (r *Resolver) refresh(q *wire.Query, now time.Time) (f *inflight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inflight[string(q.Key())] == nil {
		f, _ = r.newInflightLocked(q, now)
	}
	return f
}

// Ask sends a query upstream, or lets it wait for an equal one in flight. If it is
// Accepted, reply is called once, soon, perhaps from another
// goroutine and before Ask returns, with bytes that are valid only during the
// call; it must not block. When the pool stops, reply is called with nil: without a reply
// the client asks again, and the next daemon answers. q may be used again when Ask returns.
func (r *Resolver) Ask(q *wire.Query, client Client, reply func(msg []byte)) Verdict {
	if r.pool.isProbe(q.Lower()) {
		return Looped
	}
	w := &waiter{client: client, query: q.Clone(), reply: reply, r: r}
	defer func() { // also after a panic
		if w.inflight == nil {
			r.pool.leave(w)
		}
	}()
	added, evicted, asked, verdict := r.admit(q, w)
	if evicted != nil {
		evicted.evict()
	}
	if verdict != Accepted {
		return verdict
	}
	for _, u := range asked {
		r.pool.checkLoop(client.Addr.Addr(), u, q.Key())
	}
	if added != nil {
		added.start(time.Now())
	}
	return Accepted
}

// admit has a query wait for an equal one in flight, and returns the upstreams of that, or
// adds one. A retransmitted query does not wait again: the first is answered.
func (r *Resolver) admit(q *wire.Query, w *waiter) (added *inflight, evicted *waiter, asked []*upstream, verdict Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.inflight[string(q.Key())]
	if f != nil && slices.ContainsFunc(f.waiters, func(o *waiter) bool { return o.client.Addr == w.client.Addr && o.query.ID == q.ID }) {
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
		added, verdict = r.newInflightLocked(q, began, w)
		return added, evicted, nil, verdict
	}
	f.waiters, w.inflight = append(f.waiters, w), f
	for _, t := range f.tries {
		asked = append(asked, t.u)
	}
	return nil, evicted, asked, Accepted
}

// newInflightLocked adds a query in flight. One without waiters is added only while there
// is plenty of room; the others were admitted.
func (r *Resolver) newInflightLocked(q *wire.Query, now time.Time, waiters ...*waiter) (*inflight, Verdict) {
	p := r.pool
	list := p.order(r.servers(q.Lower()), now)
	switch {
	case len(list) == 0:
		return nil, NoUpstream
	case p.context().Err() != nil:
		return nil, Stopped
	case len(waiters) == 0 && p.crowded():
		return nil, Busy
	}
	p.inflight.Add(1)
	if !p.ticking.Load() {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	f := &inflight{
		r: r, key: slices.Clone(q.Key()), owner: r.owner.Load(), began: now,
		waiters: waiters, list: list, excluded: make([]bool, len(list)),
	}
	for _, w := range waiters {
		w.inflight = f
	}
	r.inflight[string(f.key)] = f
	return f, Accepted
}
