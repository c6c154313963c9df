package fair

import "time"

const (
	creditBurst = 1024 // messages at once: a host of guests that all boot behind one port
	creditRate  = 200  // messages a second
	maxPorts    = 4096 // that are remembered
)

// Credit is what ports may still ask. Each message costs one; one that gives or
// extends a lease gives two back, its own and that of the question before it. So
// it limits floods, and no client that does as it says.
type Credit struct {
	byPort map[Port]*credit
}

type credit struct {
	left float64
	at   time.Time
}

// Spend says whether a port may be heard, and takes one of its credit.
func (c *Credit) Spend(port Port, now time.Time) bool {
	if port == Unasked {
		return true
	}
	x := c.get(port, now)
	x.left = min(creditBurst, x.left+max(0, now.Sub(x.at).Seconds())*creditRate)
	x.at = now
	if x.left < 1 {
		return false
	}
	x.left--
	return true
}

// Earn gives a port back what an exchange took that ended well.
func (c *Credit) Earn(port Port) {
	if x := c.byPort[port]; x != nil {
		x.left = min(creditBurst, x.left+2)
	}
}

// get finds a port's credit. If there are too many ports, all start anew: a port
// needs a link of the host's, which guests do not make.
func (c *Credit) get(port Port, now time.Time) *credit {
	x := c.byPort[port]
	if x != nil {
		return x
	}
	if c.byPort == nil || len(c.byPort) >= maxPorts {
		c.byPort = map[Port]*credit{}
	}
	x = &credit{left: creditBurst, at: now}
	c.byPort[port] = x
	return x
}
