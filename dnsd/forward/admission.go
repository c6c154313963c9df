package forward

import (
	"container/heap"
	"container/list"
	"net/netip"
)

// Limits of pending queries.
const (
	maxInflight = 1000 // questions to upstreams, all networks together
	maxPending  = 4000 // clients' queries that wait for them
	maxShare    = 300  // limit of one port, and of one address; it shrinks as inflight grows
	minShare    = 16   // down to this
)

// A Client is the sender of a query. Capacity is divided among networks first, then
// among the ports of a network, then among the addresses behind a port: a guest can
// invent addresses and MACs, but no ports.
type Client struct {
	Network string
	Port    int // of the bridge, by interface index; AnyPort or NoPort
	Addr    netip.AddrPort
}

// Values of Client.Port that are not interface indexes.
const (
	AnyPort = 0  // ports cannot be told apart: addresses are limited only
	NoPort  = -1 // the address is not known behind any port: all such addresses count as one port
)

// usage counts the pending queries of a network, a port or an address. The root counts
// all of them.
type usage struct {
	parent  *usage
	key     any
	n       int
	index   int // in parent.heavy
	heavy   byUsage
	byKey   map[any]*usage
	waiters list.List // of an address, the oldest first
}

// byUsage is a heap with the largest usage first.
type byUsage []*usage

func (h byUsage) Len() int           { return len(h) }
func (h byUsage) Less(i, j int) bool { return h[i].n > h[j].n }
func (h byUsage) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *byUsage) Push(x any)        { u := x.(*usage); u.index = len(*h); *h = append(*h, u) }
func (h *byUsage) Pop() any {
	last := len(*h) - 1
	u := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	return u
}

// child returns the usage of a key, and makes it if there is none.
func (u *usage) child(key any) *usage {
	c := u.byKey[key]
	if c == nil {
		c = &usage{parent: u, key: key}
		if u.byKey == nil {
			u.byKey = map[any]*usage{}
		}
		u.byKey[key] = c
		heap.Push(&u.heavy, c)
	}
	return c
}

// add changes the count of u and of its parents, and deletes those that count nothing.
func (u *usage) add(n int) {
	for ; u != nil; u = u.parent {
		u.n += n
		switch p := u.parent; {
		case p == nil:
		case u.n > 0:
			heap.Fix(&p.heavy, u.index)
		default:
			heap.Remove(&p.heavy, u.index)
			delete(p.byKey, u.key)
		}
	}
}

// victim returns the query below u that is evicted for one of an address: the oldest
// of the address with most, on the port with most, in the network with most. It is nil
// unless that client has more than the new one would have then.
func (u *usage) victim(path []*usage) *waiter {
	for i, own := range path {
		heaviest := u.heavy[0]
		if heaviest.n > own.n+1 && heaviest != own {
			for len(heaviest.heavy) > 0 {
				heaviest = heaviest.heavy[0]
			}
			return heaviest.waiters.Front().Value.(*waiter)
		}
		if own.n == 0 || i == len(path)-1 {
			return nil
		}
		u = own
	}
	return nil
}

// admit counts a query as pending, if limits allow. A query that had to make room for it is
// returned as evicted: it is not counted any more, and has yet to be answered.
func (p *Pool) admit(w *waiter, isNew bool) (evicted *waiter, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	inflight := int(p.inflight.Load())
	share := min(max((maxInflight-inflight)/3, minShare), maxShare)
	network := p.usage.child(w.client.Network)
	port := network.child(w.client.Port)
	addr := port.child(w.client.Addr.Addr())
	full := false
	switch {
	case addr.n >= share:
		full = true
	case port.n >= share && w.client.Port != AnyPort:
		full = true
		evicted = port.victim([]*usage{addr})
	case p.usage.n >= maxPending || isNew && inflight >= maxInflight:
		full = true
		evicted = p.usage.victim([]*usage{network, port, addr})
	}
	if full && evicted == nil {
		addr.add(0) // deletes what was made above
		return nil, false
	}
	addr.add(1)
	w.usage, w.element = addr, addr.waiters.PushBack(w)
	if evicted != nil {
		p.leaveLocked(evicted)
	}
	return evicted, true
}

// leave ends the count of a query, if it is counted.
func (p *Pool) leave(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaveLocked(w)
}

func (p *Pool) leaveLocked(w *waiter) {
	if w.usage == nil {
		return
	}
	w.usage.waiters.Remove(w.element)
	w.usage.add(-1)
	w.usage, w.element = nil, nil
}
