package dhcpd

import (
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// Ports tells where on a bridge a guest is: the kernel's forwarding database,
// which has just learned it from the very frame that is asked about. A packet
// socket on a bridge does not tell by itself.
type Ports interface {
	// Port returns the index of the port that mac is behind, of the bridge with an
	// index; false if the bridge does not know.
	Port(bridge int, mac [6]byte) (index int, ok bool)
}

// A Ports may also say how certain it is: whether mac was seen behind no other port
// lately, as it was if a guest forges another's MAC while that one sends, too.
type settler interface {
	Settled(bridge int, mac [6]byte, port int) bool
}

// A Ports may also say whether a port is still in its bridge and has a carrier.
type portLister interface {
	Up(bridge, port int) bool
}

// witness is a fair.FDB; it may be used from any goroutine.
type witness struct {
	ports  Ports
	bridge int
}

// Lookup implements fair.FDB.
func (w *witness) Lookup(mac [6]byte) (fair.Port, bool) {
	if w.ports == nil {
		return fair.Untracked, true
	}
	port, found := w.ports.Port(w.bridge, mac)
	if !found {
		return fair.Unknown, false
	}
	s, tells := w.ports.(settler)
	return fair.Port(port), !tells || s.Settled(w.bridge, mac, port)
}

// Up implements fair.FDB.
func (w *witness) Up(port fair.Port) bool {
	l, tells := w.ports.(portLister)
	return !tells || l.Up(w.bridge, int(port))
}

const (
	portsRemembered = 8192
	portsFor        = 500 * time.Millisecond // and as long again: a guest may move
)

// portCache spares the kernel most of the questions. What it forgets it forgets by
// halves, so that who invents MACs does not have it forget all others' at once. One
// goroutine at a time.
type portCache struct {
	ports  Ports // nil: nobody can tell
	bridge int
	known  map[lease.MAC]fair.Port
	before map[lease.MAC]fair.Port
	since  time.Time
}

func (c *portCache) port(mac lease.MAC, now time.Time) fair.Port {
	if c.ports == nil {
		return fair.Untracked
	}
	c.age(now)
	if p, ok := c.known[mac]; ok {
		return p
	}
	if p, ok := c.before[mac]; ok {
		return p
	}
	return c.ask(mac)
}

// age has what is old forgotten.
func (c *portCache) age(now time.Time) {
	old := now.Sub(c.since)
	if old <= portsFor && len(c.known) < portsRemembered && c.known != nil {
		return
	}
	c.before, c.known, c.since = c.known, map[lease.MAC]fair.Port{}, now
	if old > 2*portsFor {
		c.before = nil
	}
}

// ask asks the kernel: who speaks in another's name has his MAC on his own port
// for as long as the other is silent.
func (c *portCache) ask(mac lease.MAC) fair.Port {
	if c.ports == nil {
		return fair.Untracked
	}
	p := fair.Unknown
	if index, found := c.ports.Port(c.bridge, mac); found {
		p = fair.Port(index)
	}
	c.known[mac] = p
	return p
}
