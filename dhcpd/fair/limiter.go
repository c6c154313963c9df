package fair

import "time"

const (
	burst       = 1024 // messages at once: a host of guests that all boot behind one port
	rate        = 200  // messages a second
	relayFactor = 8    // times as much for all that a port forwards as a relay
	maxPorts    = 4096 // that are remembered, and circuits of each
)

// A Limiter bounds the messages of each port by a token bucket. A message costs one token;
// one that takes up an offer refunds two, its own and that of the DISCOVER before it. So
// floods are limited, and clients that complete their exchanges are not. A message that a
// relay forwarded is charged to its circuit, and to what the relay's port has for all
// circuits.
type Limiter struct {
	byPort map[Port]*portBuckets
}

type portBuckets struct {
	own, relayed bucket
	circuits     map[Circuit]*bucket
}

// A bucket is tokens as of a time. (rate.Limiter has no refunds.)
type bucket struct {
	tokens float64
	at     time.Time
}

// Allow takes a token for a message, and reports whether there was one.
func (l *Limiter) Allow(o Origin, now time.Time) bool {
	if o.Port == Untracked {
		return true
	}
	x := l.byPort[o.Port]
	if x == nil {
		// When there are too many ports, all start again: a port needs an interface of the
		// host, which guests cannot make.
		if l.byPort == nil || len(l.byPort) >= maxPorts {
			l.byPort = map[Port]*portBuckets{}
		}
		x = &portBuckets{own: bucket{burst, now}, relayed: bucket{relayFactor * burst, now}}
		l.byPort[o.Port] = x
	}
	if o.Circuit == 0 {
		return x.own.take(1, now)
	}
	b := x.circuits[o.Circuit]
	if b == nil {
		// Likewise: a guest that invents circuits has no more than its port has for all.
		if x.circuits == nil || len(x.circuits) >= maxPorts {
			x.circuits = map[Circuit]*bucket{}
		}
		b = &bucket{burst, now}
		x.circuits[o.Circuit] = b
	}
	// The circuit first: what exceeds its limit is no cost to the others.
	return b.take(1, now) && x.relayed.take(relayFactor, now)
}

// take takes a token of a bucket that is factor times as large and fast as a port's.
func (b *bucket) take(factor float64, now time.Time) bool {
	b.tokens = min(factor*burst, b.tokens+max(0, now.Sub(b.at).Seconds())*factor*rate)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// Refund gives back what an exchange cost that led to a lease.
func (l *Limiter) Refund(o Origin) {
	x := l.byPort[o.Port]
	switch {
	case x == nil:
	case o.Circuit == 0:
		x.own.tokens += 2
	default:
		x.relayed.tokens += 2
		if b := x.circuits[o.Circuit]; b != nil {
			b.tokens += 2
		}
	}
}
