package limit

import (
	"io"
	"net/netip"
	"sync"
)

// Conns limits the open connections of a server, in all and for each client. The limit of a
// client is a quarter of the free ones, between MinClient and MaxClient.
type Conns struct {
	Max, MaxClient, MinClient int

	// OnlyIdle protects busy connections. Without it, no connection is evicted for the limit
	// of its own client.
	OnlyIdle bool

	mu      sync.Mutex
	closed  bool
	added   uint64
	open    map[io.Closer]*conn
	clients map[netip.Addr]int
}

type conn struct {
	client netip.Addr
	number uint64 // of the connections added before
	busy   bool
}

// Add adds a connection, and returns false when a limit is reached. At Max, the oldest
// connection of the client with most is closed for it: many clients, or one with many
// addresses, cannot lock another out.
func (cs *Conns) Add(c io.Closer, client netip.Addr) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	free := cs.Max - len(cs.open)
	own := cs.clients[client] >= min(max(free/4, cs.MinClient), cs.MaxClient)
	if cs.closed || own && !cs.OnlyIdle {
		return false
	}
	if own || free <= 0 {
		var victim io.Closer
		for o, of := range cs.open {
			if cs.OnlyIdle && of.busy || own && of.client != client {
				continue
			}
			if victim != nil {
				than := cs.open[victim]
				if n, most := cs.clients[of.client], cs.clients[than.client]; n < most || n == most && of.number > than.number {
					continue
				}
			}
			victim = o
		}
		if victim == nil {
			return false
		}
		_ = victim.Close()
		cs.removeLocked(victim)
	}
	if cs.open == nil {
		cs.open, cs.clients = map[io.Closer]*conn{}, map[netip.Addr]int{}
	}
	cs.open[c] = &conn{client: client, number: cs.added}
	cs.added++
	cs.clients[client]++
	return true
}

// SetBusy marks a connection that has a request, or not.
func (cs *Conns) SetBusy(c io.Closer, busy bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if of := cs.open[c]; of != nil {
		of.busy = busy
	}
}

// Remove ends the count of a connection, if it is counted.
func (cs *Conns) Remove(c io.Closer) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.removeLocked(c)
}

func (cs *Conns) removeLocked(c io.Closer) {
	of := cs.open[c]
	if of == nil {
		return
	}
	delete(cs.open, c)
	if cs.clients[of.client]--; cs.clients[of.client] <= 0 {
		delete(cs.clients, of.client)
	}
}

// Len returns the number of connections, and that of a client.
func (cs *Conns) Len(client netip.Addr) (all, own int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open), cs.clients[client]
}

// CloseAll closes all connections. No more are added.
func (cs *Conns) CloseAll() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	for c := range cs.open {
		_ = c.Close()
	}
}
