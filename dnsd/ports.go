package dnsd

import (
	"net/netip"
	"sync"
	"time"

	"github.com/vnetd/vnetd/dnsd/forward"
)

// Ports tells behind which port of a bridge a client is: a UDP socket tells neither
// the port nor the MAC.
type Ports interface {
	// Neighbours returns the MACs that the host knows on a link, by address.
	Neighbours(link int) map[netip.Addr][6]byte

	// Port returns the index of the port that mac is behind, of the bridge with an
	// index; false if the bridge has not learned it.
	Port(bridge int, mac [6]byte) (index int, ok bool)
}

const (
	portLife       = 10 * time.Second       // of what is known of an address: a guest may move
	neighboursLife = 250 * time.Millisecond // of the neighbour table, while unknown addresses ask
	maxPorts       = 4096                   // addresses of a network that are remembered
)

// clientPorts maps the addresses of one network to ports. Its cost is bounded whatever
// addresses guests invent: the neighbour table is read four times a second at most.
type clientPorts struct {
	network string

	mu         sync.Mutex
	ports      Ports // nil: ports cannot be told apart
	bridge     int   // index; 0: there is none
	own        []netip.Addr
	known      map[netip.Addr]int
	since      time.Time // known is as old
	neighbours map[netip.Addr][6]byte
	read       time.Time
}

// set changes the bridge that clients are looked up on. What was known of another bridge is
// forgotten.
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
	if c.ports == nil || c.bridge == 0 || addr.IsLoopback() {
		return forward.AnyPort
	}
	for _, own := range c.own { // the host itself, by any of its gateway addresses
		if addr == own {
			return forward.AnyPort
		}
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
