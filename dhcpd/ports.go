package dhcpd

import (
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// Ports is the kernel's forwarding database, which has just learned the port of a MAC from
// the very frame that is looked up. A packet socket on a bridge does not know the port.
type Ports interface {
	// Port returns the index of the port that mac is behind, of the bridge with an
	// index; false if the bridge does not know.
	Port(bridge int, mac [6]byte) (index int, ok bool)
}

// A Ports may also report whether mac was behind no other port lately, as it was if a guest
// forges the MAC of another one that sends, too.
type settler interface {
	Settled(bridge int, mac [6]byte, port int) bool
}

// A Ports may also report whether a port is still in its bridge and has a carrier.
type portLister interface {
	Up(bridge, port int) bool
}

// fdb is a fair.FDB; it may be used from any goroutine.
type fdb struct {
	ports  Ports // nil: ports are not known
	bridge int
}

// Lookup implements fair.FDB.
func (f *fdb) Lookup(mac [6]byte) (fair.Port, bool) {
	if f.ports == nil {
		return fair.Untracked, true
	}
	port, found := f.ports.Port(f.bridge, mac)
	if !found {
		return fair.Unknown, false
	}
	s, ok := f.ports.(settler)
	return fair.Port(port), !ok || s.Settled(f.bridge, mac, port)
}

// Up implements fair.FDB.
func (f *fdb) Up(port fair.Port) bool {
	l, ok := f.ports.(portLister)
	return !ok || l.Up(f.bridge, int(port))
}

const (
	cachedPorts = 8192
	portTTL     = 500 * time.Millisecond // and as long again: a guest may move
)

// portCache saves most look-ups. It drops its entries by halves, so that a guest which
// invents MACs does not have it drop all others' at once. One goroutine at a time.
type portCache struct {
	ports  Ports // nil: ports are not known
	bridge int
	known  map[lease.MAC]fair.Port
	before map[lease.MAC]fair.Port
	since  time.Time
}

func (c *portCache) port(mac lease.MAC, now time.Time) fair.Port {
	if c.ports == nil {
		return fair.Untracked
	}
	if age := now.Sub(c.since); age > portTTL || len(c.known) >= cachedPorts || c.known == nil {
		c.before, c.known, c.since = c.known, map[lease.MAC]fair.Port{}, now
		if age > 2*portTTL {
			c.before = nil
		}
	}
	if p, ok := c.known[mac]; ok {
		return p
	}
	if p, ok := c.before[mac]; ok {
		return p
	}
	p := fair.Unknown
	if index, found := c.ports.Port(c.bridge, mac); found {
		p = fair.Port(index)
	}
	c.known[mac] = p
	return p
}
