package dnsd

import (
	"net/netip"
	"sync"
)

// Bounds on the TCP connections of one network.
const (
	maxConns       = 256
	maxClientConns = 32 // from one address, while there is room
	minClientConns = 4  // and when there is little
)

// conns are the open connections of a network.
type conns struct {
	mu      sync.Mutex
	closed  bool
	added   uint64
	open    map[*conn]uint64 // with how many were added before
	clients map[netip.Addr]int
}

// add reports whether there is room for one more connection. If there is none left,
// the client that has most open loses its oldest: many clients, or one with many
// addresses, cannot shut another out.
func (cs *conns) add(c *conn) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	client := c.client.Addr()
	room := maxConns - len(cs.open)
	share := min(max(room/4, minClientConns), maxClientConns)
	if cs.closed || cs.clients[client] >= share {
		return false
	}
	if room == 0 {
		cs.end(cs.oldest())
	}
	cs.open[c] = cs.added
	cs.added++
	cs.clients[client]++
	return true
}

// oldest is the oldest connection of the client that has most.
func (cs *conns) oldest() (out *conn) {
	for c, n := range cs.open {
		switch {
		case out == nil, cs.of(c) > cs.of(out), cs.of(c) == cs.of(out) && n < cs.open[out]:
			out = c
		}
	}
	return out
}

func (cs *conns) of(c *conn) int { return cs.clients[c.client.Addr()] }

// end closes a connection, and forgets it at once.
func (cs *conns) end(c *conn) {
	_ = c.sock.Close()
	cs.forget(c)
}

func (cs *conns) remove(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.forget(c)
}

func (cs *conns) forget(c *conn) {
	if _, ok := cs.open[c]; !ok {
		return
	}
	delete(cs.open, c)
	client := c.client.Addr()
	if cs.clients[client]--; cs.clients[client] <= 0 {
		delete(cs.clients, client)
	}
}

// closeAll ends all connections, and those that would still come.
func (cs *conns) closeAll() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	for c := range cs.open {
		_ = c.sock.Close()
	}
}
