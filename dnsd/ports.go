package dnsd

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/forward"
)

// Ports looks up the bridge port of a client: a UDP socket exposes neither
// the port nor the MAC.
type Ports interface {
	// Neighbours returns the MACs of a link's neighbours, by address.
	Neighbours(link int) map[netip.Addr][6]byte

	// Port returns the index of the port behind which a bridge has learned mac; false if
	// it has not.
	Port(bridge int, mac [6]byte) (index int, ok bool)
}

const (
	portLife       = 10 * time.Second       // of a cached port: a guest may move
	neighboursLife = 250 * time.Millisecond // of the cached neighbour table, while unknown addresses send queries
	maxPorts       = 4096                   // cached ports of a network
)

// clientPorts maps the addresses of one network to ports. Its cost is bounded whatever
// addresses guests invent: the neighbour table is read four times a second at most.
type clientPorts struct {
	network string

	mu         sync.Mutex
	ports      Ports // nil: ports cannot be looked up
	bridge     int   // index; 0: there is none
	own        []netip.Addr
	known      map[netip.Addr]int
	since      time.Time // the oldest in known
	neighbours map[netip.Addr][6]byte
	read       time.Time
}

// set changes the bridge on which clients are looked up, and drops what was cached of
// another.
func (c *clientPorts) set(ports Ports, bridge int, own []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ports != c.ports || bridge != c.bridge {
		c.known, c.neighbours, c.read = nil, nil, time.Time{}
	}
	c.ports, c.bridge, c.own = ports, bridge, own
}

// client returns the identity of a sender.
func (c *clientPorts) client(from netip.AddrPort, now time.Time) forward.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return forward.Client{Network: c.network, Port: c.portLocked(from.Addr().WithZone(""), now), Addr: from}
}

func (c *clientPorts) portLocked(addr netip.Addr, now time.Time) int {
	if c.ports == nil || c.bridge == 0 || addr.IsLoopback() || slices.Contains(c.own, addr) { // the host itself
		return forward.AnyPort
	}
	if now.Sub(c.since) > portLife || len(c.known) >= maxPorts || c.known == nil {
		c.known, c.since = map[netip.Addr]int{}, now
	}
	if port, ok := c.known[addr]; ok {
		return port
	}
	mac, ok := c.neighbours[addr]
	if age := now.Sub(c.read); !ok && age >= neighboursLife || age > portLife {
		c.neighbours, c.read = c.ports.Neighbours(c.bridge), now
		mac, ok = c.neighbours[addr]
	}
	if !ok {
		return forward.NoPort
	}
	port, ok := c.ports.Port(c.bridge, mac)
	if !ok {
		return forward.NoPort
	}
	c.known[addr] = port
	return port
}
