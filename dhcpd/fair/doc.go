// Package fair divides a server among the ports of a bridge, so that no guest can use
// it up or keep the others waiting. MACs can be invented, ports cannot; behind a
// relay's port, messages are told apart by what the relay says of their origin.
//
//	Queue    messages that wait, served round-robin by port, and within a port by
//	         circuit
//	Limiter  a rate limit per port: 200 messages a second that take up no offer
//
// (The quotas of addresses are in package pool.) Everything is bounded by constants,
// whatever guests send. Nothing here has a lock: one goroutine at a time.
package fair

// An Origin is where a message came from. A guest that pretends to be a relay can invent
// circuits, so the limits of a port hold whatever circuits it names.
type Origin struct {
	Port    Port
	Circuit Circuit
}

// A Circuit identifies where behind a relay a message came from, as a hash of what the
// relay says, which is odd. It is 0 for a message that no relay has forwarded.
type Circuit uint64

// Circuits that are no hashes.
const (
	// AnyCircuit is some circuit of a port: of a lease bound before a restart,
	// since hashes differ from one process to the next.
	AnyCircuit Circuit = 2
	// Unverified is a client on the link that does not use the MAC that it claims.
	Unverified Circuit = 4
)

// Port is a bridge port, by its interface index.
type Port int

// Ports that are none.
const (
	Untracked Port = 0  // ports are not known on this server: there are no limits
	Unknown   Port = -1 // ports are known, and the MAC is behind none of them
)

// An FDB is the forwarding database of the bridge that messages come from.
type FDB interface {
	// Lookup returns the port that a MAC is behind now. certain is false if the MAC
	// was behind another port a moment ago, which may have sent the message.
	Lookup(mac [6]byte) (port Port, certain bool)
	// Up reports whether a port is still in the bridge and has a carrier.
	Up(port Port) bool
}
