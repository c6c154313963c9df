package fair

import "time"

const (
	creditBurst = 1024 // messages at once: a host of guests that all boot behind one port
	creditRate  = 200  // messages a second
	relayCredit = 8    // times as much for all that a port sends on
	maxPorts    = 4096 // that are remembered, and so many circuits of each
)

// Credit is what guests may still ask. Each message costs one; one that takes up
// an offer gives two back, its own and that of the question before it. So it limits
// floods, and no client that asks first: extensions are rare, and whoever wants
// addresses without having been offered them can wait. A message that a relay
// sent on costs its circuit, and what the relay's port has for all circuits.
type Credit struct {
	byPort map[Port]*portCredit
}

type portCredit struct {
	own, relayed account
	circuits     map[Circuit]*account
}

// account is credit as of a time.
type account struct {
	left float64
	at   time.Time
}

// Spend says whether a guest may be heard, and takes one of its credit.
func (c *Credit) Spend(g Guest, now time.Time) bool {
	if g.Port == Unasked {
		return true
	}
	x := c.get(g.Port, now)
	if g.Circuit == 0 {
		return x.own.spend(1, now)
	}
	// The circuit first: what it must not ask is no cost to the others.
	return x.circuit(g.Circuit, now).spend(1, now) && x.relayed.spend(relayCredit, now)
}

// spend takes one of an account that fills so many times as fast as a port's.
func (a *account) spend(times float64, now time.Time) bool {
	a.left = min(times*creditBurst, a.left+max(0, now.Sub(a.at).Seconds())*times*creditRate)
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// Earn gives a guest back what an exchange took that ended well.
func (c *Credit) Earn(g Guest) {
	x := c.byPort[g.Port]
	switch {
	case x == nil:
	case g.Circuit == 0:
		x.own.left += 2
	default:
		x.relayed.left += 2
		if a := x.circuits[g.Circuit]; a != nil {
			a.left += 2
		}
	}
}

// get finds a port's credit. If there are too many ports, all start anew: a port
// needs a link of the host's, which guests do not make.
func (c *Credit) get(port Port, now time.Time) *portCredit {
	x := c.byPort[port]
	if x != nil {
		return x
	}
	if c.byPort == nil || len(c.byPort) >= maxPorts {
		c.byPort = map[Port]*portCredit{}
	}
	x = &portCredit{own: account{creditBurst, now}, relayed: account{relayCredit * creditBurst, now}}
	c.byPort[port] = x
	return x
}

// circuit finds a circuit's credit. If there are too many, all of the port start
// anew: who invents them has no more than the port has for all.
func (x *portCredit) circuit(id Circuit, now time.Time) *account {
	a := x.circuits[id]
	if a != nil {
		return a
	}
	if x.circuits == nil || len(x.circuits) >= maxPorts {
		x.circuits = map[Circuit]*account{}
	}
	a = &account{creditBurst, now}
	x.circuits[id] = a
	return a
}
