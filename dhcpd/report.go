package dhcpd

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

const (
	reportEvery  = time.Minute
	exhaustedFor = 10 * time.Minute // since the last request that got no address
)

// An ExhaustedPool is a subnet that had no address for a client.
type ExhaustedPool struct {
	Network string
	Subnet  netip.Prefix
	Size    uint64    // addresses in its ranges
	Since   time.Time // of the first request that got no address
}

// String returns the log message.
func (p ExhaustedPool) String() string {
	return fmt.Sprintf("DHCP pool %s of network %s is exhausted: a request got none of its %d addresses; extend dhcp.ranges or shorten dhcp.leaseTime",
		p.Subnet, p.Network, p.Size)
}

// exhaustedPools may be used from any goroutine.
type exhaustedPools struct {
	report func(ExhaustedPool) // nil: there is no listener
	log    *slog.Logger

	mu  sync.Mutex
	all map[poolKey]*exhaustedPool
}

type poolKey struct {
	network string
	subnet  netip.Prefix
}

type exhaustedPool struct {
	ExhaustedPool
	last, reported time.Time
}

// note notes that a request got no address of subnets, and reports it once a minute.
func (e *exhaustedPools) note(network string, subnets []*pool.Subnet, now time.Time) {
	var due []ExhaustedPool
	e.mu.Lock()
	for _, s := range subnets {
		if s.Size() == 0 {
			continue
		}
		key := poolKey{network, s.Prefix}
		p := e.all[key]
		if p == nil {
			p = &exhaustedPool{ExhaustedPool: ExhaustedPool{network, s.Prefix, s.Size(), now}}
			e.all[key] = p
		}
		p.last, p.Size = now, s.Size()
		if p.reported.IsZero() || now.Sub(p.reported) >= reportEvery {
			p.reported = now
			due = append(due, p.ExhaustedPool)
		}
	}
	e.mu.Unlock()
	for _, p := range due {
		e.log.Warn(p.String(), "network", network)
		if e.report != nil {
			e.report(p)
		}
	}
}

// bound notes that a client got a new address of a subnet. The minute between two reports
// still counts.
func (e *exhaustedPools) bound(network string, subnet netip.Prefix) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.all[poolKey{network, subnet}]; p != nil {
		p.last = time.Time{}
	}
}

// Exhausted returns the pools that are exhausted, sorted by network and subnet: those that
// had no address for a request in the last ten minutes, and have bound no new one since.
func (s *Server) Exhausted() []ExhaustedPool {
	e, now := &s.exhausted, time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []ExhaustedPool
	for _, p := range e.all {
		if now.Sub(p.last) < exhaustedFor {
			out = append(out, p.ExhaustedPool)
		}
	}
	slices.SortFunc(out, func(a, b ExhaustedPool) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), a.Subnet.Addr().Compare(b.Subnet.Addr()))
	})
	return out
}

// OnExhausted has f called when a pool has no address for a request, once a minute for
// each pool at most. Call it before Set; f must not wait.
func (s *Server) OnExhausted(f func(ExhaustedPool)) { s.exhausted.report = f }

// A ReservationInUse is a reserved address that its client cannot have for the time being.
type ReservationInUse struct {
	Network string
	Address netip.Addr // reserved
	Client  string     // MAC of the client that it is reserved for
	Given   netip.Addr // to the client
	Holder  lease.MAC  // of the client that has it
}

// String returns the log message.
func (r ReservationInUse) String() string {
	return fmt.Sprintf("%s in network %s is reserved for %s, but leased to %s: %s got %s until %s renews its lease and is refused; to end that lease now: vnetctl lease release %s %s",
		r.Address, r.Network, r.Client, r.Holder, r.Client, r.Given, r.Holder, r.Network, r.Address)
}

// reservationsInUse reports reservations in use, each once a minute.
type reservationsInUse struct {
	report func(ReservationInUse) // nil: there is no listener
	log    *slog.Logger
	leases *lease.Table

	mu       sync.Mutex
	reported map[reserved]time.Time
}

type reserved struct {
	network string
	addr    netip.Addr
}

func (r *reservationsInUse) note(network string, addr netip.Addr, client string, given netip.Addr, now time.Time) {
	r.mu.Lock()
	// Few: they are in the definition.
	maps.DeleteFunc(r.reported, func(_ reserved, last time.Time) bool { return now.Sub(last) >= reportEvery })
	key := reserved{network, addr}
	_, recently := r.reported[key]
	if !recently {
		r.reported[key] = now
	}
	r.mu.Unlock()
	if recently {
		return
	}
	l, _ := r.leases.Network(network).ByAddr(addr)
	in := ReservationInUse{network, addr, client, given, l.MAC}
	r.log.Warn(in.String(), "network", network)
	if r.report != nil {
		r.report(in)
	}
}

// OnReservationInUse has f called when a client does not get the address that is reserved for
// it, because it is leased to another client, once a minute for each address at most. Call it
// before Set; f must not wait.
func (s *Server) OnReservationInUse(f func(ReservationInUse)) { s.inUse.report = f }

// An Event is a kind of message, the reply to it and the reason. The number of kinds does not
// depend on what guests send.
type Event struct {
	Family  int    // 4 or 6
	Message string // DISCOVER, SOLICIT, ...; "other" if it is none that clients send
	Reply   string // OFFER, ADVERTISE, ...; "none"
	Why     string
}

const (
	noMessage   = "other"
	noReply     = "none"
	malformed   = "malformed"
	rateLimited = "rate limit of the port"
)

// Count is how often an event happened since the network is served.
type Count struct {
	Event
	Times uint64
}

// counters are those of a network.
type counters struct {
	mu     sync.Mutex
	counts map[Event]uint64
}

func (c *counters) add(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[e]++
}

// Counts returns the events of each network that is served, in a fixed order.
func (s *Server) Counts() map[string][]Count {
	s.mu.Lock()
	all := maps.Clone(s.counters)
	s.mu.Unlock()
	out := map[string][]Count{}
	for network, c := range all {
		c.mu.Lock()
		for e, n := range c.counts {
			out[network] = append(out[network], Count{e, n})
		}
		c.mu.Unlock()
		slices.SortFunc(out[network], func(a, b Count) int {
			return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Reply, b.Reply), cmp.Compare(a.Why, b.Why))
		})
	}
	return out
}
