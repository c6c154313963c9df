package event

import (
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/netdrv"
)

// Kind is what happened.
type Kind int

// The kinds of events.
const (
	NetworkCreated Kind = iota + 1
	NetworkUpdated
	NetworkDeleted
	NetworkStatus
	NetworkRolledBack
	NetworkOrphaned
	Repaired
	PortAttached
	PortDetached
	PortUp
	PortDown
	LeaseBound
	LeaseRenewed
	LeaseReleased
	LeaseExpired
	LeaseDeclined
	PoolExhausted
	ReservationInUse
	NameRefused
)

// Phase is where a network is between its definition and the host.
type Phase int

// The phases of a network.
const (
	Pending Phase = iota // not reconciled yet
	Ready
	Degraded
	Stopped
)

func (p Phase) String() string {
	return [...]string{"pending", "ready", "degraded", "stopped"}[p]
}

// Status is the result of a network's last reconciliation.
type Status struct {
	Phase    Phase
	Reason   string // why it is degraded
	Revision int64  // of the definition that was reconciled
	// Err is why the network is not as declared. It is nil where only the host's own
	// configuration keeps it from working.
	Err error
}

// Network is a network's definition with its state. The definition is shared and is not
// changed.
type Network struct {
	*netdrv.Network
	Revision  int64
	Active    bool
	Status    Status
	Leases    int
	Ports     int
	ConfirmBy time.Time        // zero if no change waits to be confirmed
	Counters  *netdrv.Counters // nil if they were not read
}

// Port is a guest's interface with its state.
type Port struct {
	netdrv.Port
	Kind     string // the kernel's word: tap, macvtap, veth
	Index    int    // of the link, 0 if it does not exist
	Managed  bool   // vnetd made the link
	Attached bool   // the link is on its bridge or uplink
	Up       bool   // the link has a carrier: a process has opened the tap
	Limits   netdrv.Bandwidth
	Counters *netdrv.Counters // nil if they were not read
}

// Event is one event. What it points to is not changed after it was published.
type Event struct {
	Kind    Kind
	Time    time.Time
	About   string // the network's name, "" if it is about none
	Network *Network
	Port    *Port
	Lease   *lease.Lease
	Message string   // for a person
	Steps   []string // what was changed on the host, as ip(8) and nft(8) commands
}
