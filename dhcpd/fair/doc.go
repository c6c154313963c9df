// Package fair divides a server among the guests that ask it, so that one of
// them can neither use it up nor keep the others waiting. A guest is the port of
// the bridge that it is behind: MACs can be invented, ports cannot. Behind a
// relay's port it is what the relay says of where it comes from.
//
//	Lines    whose message is next: one of each port in turn, and within a port
//	         one of each circuit; the rest waits
//	Credit   who asks for nothing: a guest that takes up nothing of what it is
//	         offered is heard 200 times a second, and no more
//	Shares   who has how much of a pool: the more of it a guest holds, the more
//	         must be left for it to get another address
//
// Everything is bounded by constants, whatever guests do. Nothing here has a
// lock: one goroutine at a time.
package fair

// A Guest is who asks. Who pretends to be a relay can invent circuits, so what a
// port may do is limited whatever circuits it names.
type Guest struct {
	Port    Port
	Circuit Circuit
}

// Circuit is where behind a relay a message comes from, as a hash of what the
// relay says, which is odd. 0 is a message that no relay has sent on.
type Circuit uint64

// Circuits that are no hashes.
const (
	// AnyCircuit is some circuit of a port: of a lease bound before a restart,
	// since hashes differ from one process to the next.
	AnyCircuit Circuit = 2
	// Unproven is a client on the link that does not use the MAC that it claims.
	Unproven Circuit = 4
)

// Port is a guest's port on a bridge, by its index on the host.
type Port int

// A Witness knows the bridge that messages come from.
type Witness interface {
	// Where returns the port that a MAC is behind now. certain is false if the MAC
	// was seen behind another port a moment ago, which may be where the message
	// came from.
	Where(mac [6]byte) (port Port, certain bool)
	// Up reports whether a port is still in the bridge and has a carrier.
	Up(port Port) bool
}

// Ports that are none.
const (
	Unasked Port = 0  // nobody can tell ports: no limits
	Unknown Port = -1 // ports can be told, and this one is not among them
)
