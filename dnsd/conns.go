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
	open    map[*conn]bool
	clients map[netip.Addr]int
}

// add reports whether there is room for one more connection.
func (cs *conns) add(c *conn) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	client := c.client.Addr()
	room := maxConns - len(cs.open)
	share := min(max(room/4, minClientConns), maxClientConns)
	if cs.closed || room == 0 || cs.clients[client] >= share {
		return false
	}
	cs.open[c] = true
	cs.clients[client]++
	return true
}

func (cs *conns) remove(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
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
