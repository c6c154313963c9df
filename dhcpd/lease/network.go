package lease

import (
	"cmp"
	"container/heap"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Network is the live view of one network's leases. All methods may be
// called from any goroutine; none waits for the disk. A Network stays valid for
// the life of its table; after [Table.Forget] it is empty.
type Network struct {
	name string

	mu          sync.RWMutex
	byClient    map[Client]*entry
	byAddr      map[netip.Addr]*entry
	byName      *names
	six         map[MAC][]*entry // active leases of IPv6, by MAC
	ending      expiries         // active leases that expire some day, the next one first
	ended       [2]entryList     // the others of IPv4 and IPv6, the one that ended first in front
	unpublished []Lease          // expired, and not published yet
	count6      int              // leases of IPv6

	ports  map[int32]bool // the links of the network's bridge, as of SetPorts
	unseen bool           // a lease is of a link that was not in SetPorts
}

// entry is a lease with its places in the indexes. Its Address and Client
// never change; a client that moves gets a new entry.
type entry struct {
	Lease
	nameLink
	live       bool   // active at the last check
	stored     bool   // the journal has it
	absent     bool   // the port that it was bound by is gone
	place      int32  // in ending, or -1
	stamp      uint64 // which Bind wrote it last
	prev, next *entry // in ended
}

func (n *Network) clear() {
	n.byClient = map[Client]*entry{}
	n.byAddr = map[netip.Addr]*entry{}
	n.byName = &names{held: map[string]*entry{}, waiting: map[string]*entryList{}}
	n.six = map[MAC][]*entry{}
	n.ending = nil
	n.ended = [2]entryList{}
	n.unpublished = nil
	n.count6 = 0
}

// ByMAC returns the client's lease of IPv4, which may have ended.
func (n *Network) ByMAC(mac MAC) (Lease, bool) { return n.ByClient(Client{MAC: mac}) }

// ByClient returns the client's lease, which may have ended.
func (n *Network) ByClient(c Client) (Lease, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byClient[c].lease()
}

// ByAddr returns the last lease of the address, which may have ended.
func (n *Network) ByAddr(addr netip.Addr) (Lease, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byAddr[addr].lease()
}

func (e *entry) lease() (Lease, bool) {
	if e == nil {
		return Lease{}, false
	}
	return e.Lease, true
}

// Addrs returns the addresses, of both families, of the live leases with this
// hostname, a lower-case label, or nil. The slice must not be changed. It
// allocates nothing.
func (n *Network) Addrs(hostname string) []netip.Addr {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byName.held[hostname].liveAddrs(time.Now())
}

// Held returns the addresses of a MAC's leases in force at now, of both families. It
// costs the same however many leases there are.
func (n *Network) Held(mac MAC, now time.Time) (out []netip.Addr) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if e := n.byClient[Client{MAC: mac}]; e != nil && e.live && e.Live(now) {
		out = append(out, e.Address)
	}
	for _, e := range n.six[mac] {
		if e.Live(now) {
			out = append(out, e.Address)
		}
	}
	return out
}

// Name returns the hostname of the live lease of addr. It allocates nothing.
func (n *Network) Name(addr netip.Addr) (string, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	e := n.byAddr[addr]
	if e == nil || e.Hostname == "" || !e.live || !e.Live(time.Now()) {
		return "", false
	}
	return e.Hostname, true
}

// Holder returns the client that keeps this hostname from others: it has an active
// lease with the name, and its port is up as far as is known.
func (n *Network) Holder(hostname string, now time.Time) (MAC, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for e := n.byName.held[hostname]; e != nil; e = e.sameName {
		if !e.absent && e.Live(now) {
			return e.MAC, true
		}
	}
	return MAC{}, false
}

// setPorts sets the ports of the network's bridge, as of a time when no later
// lease was bound than mark.
func (n *Network) setPorts(ports map[int32]bool, mark uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.unseen && maps.Equal(n.ports, ports) {
		return
	}
	n.ports, n.unseen = ports, false
	names := map[string]bool{} // that may pass to another guest now
	for _, e := range n.byClient {
		absent := e.onLink() && !ports[e.Port]
		if absent && e.stamp > mark {
			n.unseen = true
			continue
		}
		if absent != e.absent && e.live {
			names[e.Hostname], names[e.Wanted] = true, true
		}
		e.absent = absent
	}
	for name := range names {
		n.byName.pass(name)
	}
}

// renamedLocked returns the leases that got the hostname which they waited for since it was
// last called.
func (n *Network) renamedLocked() []Lease {
	if len(n.byName.passed) == 0 {
		return nil
	}
	var out []Lease
	for _, e := range n.byName.passed {
		if e.live && e.Hostname == e.Wanted {
			out = append(out, e.Lease)
		}
	}
	n.byName.passed = nil
	return out
}

// Count6 returns how many leases of IPv6 are remembered, also ended ones.
func (n *Network) Count6() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.count6
}

// count returns how many leases are remembered, also ended ones.
func (n *Network) count() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.byClient)
}

// Each calls yield with every lease, also those that ended, in no order,
// until it returns false. yield must not call the network.
func (n *Network) Each(yield func(*Lease) bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, e := range n.byClient {
		l := e.Lease
		if !yield(&l) {
			return
		}
	}
}

// Leases returns the leases in force at now, sorted by address.
func (n *Network) Leases(now time.Time) []Lease {
	var all []Lease
	n.Each(func(l *Lease) bool {
		if l.Live(now) {
			all = append(all, *l)
		}
		return true
	})
	slices.SortFunc(all, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return all
}

// Oldest returns the lease of IPv4 or IPv6 that at now has ended for the longest time,
// and moves it behind all others, so that the next call returns the next one.
func (n *Network) Oldest(ipv6 bool, now time.Time) (Lease, bool) {
	family := 0
	if ipv6 {
		family = 1
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expireLocked(now)
	list := &n.ended[family]
	e := list.front
	if e == nil {
		return Lease{}, false
	}
	list.remove(e)
	list.push(e)
	return e.Lease, true
}

// Drop removes a lease that ended, in memory only: after a restart it may
// be there again. An active lease stays.
func (n *Network) Drop(addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.byAddr[addr]; e != nil && !e.live {
		n.removeLocked(e)
	}
}

// putLocked makes l the lease of its client and of its address, in place of those they had.
// It reports whether the client already held the address, and returns the active lease of
// another client that lost it.
func (n *Network) putLocked(l Lease, stamp uint64, live bool) (renewed bool, evicted *Lease) {
	l.Network = n.name
	if l.Wanted == "" {
		l.Wanted = l.Hostname
	}
	if other := n.byAddr[l.Address]; other != nil && other.Client() != l.Client() {
		if other.live {
			evicted = &other.Lease
		}
		n.removeLocked(other)
		defer n.byName.pass(other.Hostname)
	}
	e := n.byClient[l.Client()]
	if e != nil {
		defer n.byName.pass(e.Hostname) // if it has another one by then
	}
	if e != nil && e.Address != l.Address {
		n.removeLocked(e)
		e = nil
	}
	if e == nil {
		e = &entry{place: -1}
		n.byClient[l.Client()], n.byAddr[l.Address] = e, e
		n.count6 += l.family()
	} else {
		renewed = e.live
		e.stored = e.stored && e.live
		n.unlinkLocked(e)
	}
	e.Lease, e.stamp, e.absent = l, stamp, l.onLink() && l.Port < 0
	n.unseen = n.unseen || l.onLink() && !n.ports[l.Port]
	if live {
		e.live = true
		if !e.Expires.IsZero() {
			heap.Push(&n.ending, e)
		}
		n.byName.add(e)
		if e.family() == 1 {
			n.six[e.MAC] = append(n.six[e.MAC], e)
		}
	} else {
		n.ended[e.family()].push(e)
	}
	return renewed, evicted
}

// unlinkLocked removes a lease from the indexes of active, or of ended, leases.
func (n *Network) unlinkLocked(e *entry) {
	if !e.live {
		n.ended[e.family()].remove(e)
		return
	}
	e.live = false
	if e.place >= 0 {
		heap.Remove(&n.ending, int(e.place))
	}
	n.byName.remove(e)
	if e.family() == 1 {
		if n.six[e.MAC] = slices.DeleteFunc(n.six[e.MAC], func(o *entry) bool { return o == e }); len(n.six[e.MAC]) == 0 {
			delete(n.six, e.MAC)
		}
	}
}

func (n *Network) removeLocked(e *entry) {
	n.unlinkLocked(e)
	delete(n.byClient, e.Client())
	delete(n.byAddr, e.Address)
	n.count6 -= e.family()
}

// endLocked ends the client's lease of addr at the given time. It returns the
// lease as it was, or nil if the client holds no such lease.
func (n *Network) endLocked(c Client, addr netip.Addr, at time.Time) *Lease {
	e := n.byClient[c]
	if e == nil || e.Address != addr || !e.live {
		return nil
	}
	n.unlinkLocked(e)
	n.byName.pass(e.Hostname)
	l := e.Lease
	if e.Expires = at; at.IsZero() {
		e.Expires = time.UnixMilli(0) // zero is never
	}
	n.ended[e.family()].push(e)
	return &l
}

// expireLocked ends the leases that have expired.
func (n *Network) expireLocked(now time.Time) {
	for len(n.ending) > 0 && !n.ending[0].Live(now) {
		e := n.ending[0]
		n.unpublished = append(n.unpublished, e.Lease)
		n.unlinkLocked(e)
		n.byName.pass(e.Hostname)
		n.ended[e.family()].push(e)
	}
}

// settle ends a replay, in which all leases were active unless a record ended them:
// here gives each its times, and those that have expired at now end.
func (n *Network) settle(here func(*entry), now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.byClient {
		here(e)
	}
	heap.Init(&n.ending)
	n.byName.refresh()
	n.expireLocked(now)
	n.unpublished, n.byName.passed = nil, nil
	for i := range n.ended {
		n.ended[i].sort()
	}
}

// entryList is a list through the entries' own links: no allocation, and
// removal from the middle.
type entryList struct{ front, back *entry }

func (l *entryList) push(e *entry) {
	e.prev, e.next = l.back, nil
	if l.back == nil {
		l.front = e
	} else {
		l.back.next = e
	}
	l.back = e
}

func (l *entryList) sort() {
	var all []*entry
	for e := l.front; e != nil; e = e.next {
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b *entry) int {
		return cmp.Or(a.Expires.Compare(b.Expires), a.Address.Compare(b.Address))
	})
	*l = entryList{}
	for _, e := range all {
		l.push(e)
	}
}

func (l *entryList) remove(e *entry) {
	if e.prev == nil {
		l.front = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.back = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

// expiries is a heap.Interface, the lease that ends next in front.
type expiries []*entry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].Expires.Before(h[j].Expires) }

func (h expiries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = int32(i), int32(j)
}

func (h *expiries) Push(x any) {
	e := x.(*entry)
	e.place = int32(len(*h))
	*h = append(*h, e)
}

func (h *expiries) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.place = -1
	return e
}
