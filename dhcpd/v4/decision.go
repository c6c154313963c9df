package v4

import (
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
)

// A Decision is what to do about a request.
type Decision struct {
	// Reply is the type of the message to send; none (0) is silence.
	Reply MessageType
	State State // of a REQUEST
	Why   Reason

	// Subnet is what Address is in, and whose AppendReply makes the reply; nil if
	// the message came from none of ours.
	Subnet *Subnet

	// Reserved is the client's reservation there; nil: it has none.
	Reserved *Reservation

	Address  netip.Addr // offered, bound, declined or released
	Seconds  uint32     // the lease time, option 51; ^0 is for ever
	Hostname string     // for option 12
	Refused  string     // the hostname that the client asked for, if another client has it
	Name     string     // what the client is called in the DNS, for option 81

	// Bind: Lease must be stored before the reply leaves.
	Bind  bool
	Lease lease.Lease

	// TakesUp: Address had been offered to the client before it was bound.
	TakesUp bool

	// Check: Address is to be looked for on the wire first. What is offered or bound
	// may be in use by a client that has not asked us (see Pool.Vouch and Pool.Rest;
	// after Vouch, a REQUEST is to be answered anew). What ends does not end if the
	// client still uses it: the message may be forged.
	Check bool

	// InUse is reserved for the client and leased to another; so the client has a
	// different address for the time being.
	InUse netip.Addr

	own *option.Own // what the client's reservation says of options

	// End, if not zero: the client's lease of Address, which it may not
	// have, is to be ended in this way.
	End lease.Kind
}

// State is what a client that sends a REQUEST is doing, RFC 2131 §4.3.2.
type State uint8

// The states, by the RFC's names.
const (
	SELECTING  State = iota + 1 // it takes up an offer
	INITREBOOT                  // it knows its address from before it booted
	RENEWING                    // it extends its lease, by unicast
	REBINDING                   // the same, asking anybody
)

func (s State) String() string {
	return [...]string{"", "SELECTING", "INIT-REBOOT", "RENEWING", "REBINDING"}[s]
}

// Reason says why a decision is as it is. NAKs carry its text (option 56).
type Reason uint8

// The reasons, first those to speak.
const (
	Offered Reason = iota + 1
	Bound
	Renewed
	Informed
	Released
	Declined

	// NAKs.
	WrongNetwork  // the address is not of this subnet
	NotForClients // it is the server's, the network's or the broadcast address
	OutsideRanges // no range has it
	ReservedOther // it is reserved for another client
	ReservedElse  // the client has a reservation for another address
	Taken         // another client has a lease on it
	Promised      // it was offered to another client
	Resting       // it was declined
	HasAnother    // the client has a lease on another address
	Greedy        // its port has so many that the rest is for others; also silence

	// Silence.
	Exhausted   // no address is left
	OtherServer // the message is for another server
	NoRanges    // addresses are given to clients with a reservation only
	NoSubnet    // the relay is in no subnet that is served
	NotHolder   // a RELEASE or DECLINE of what the client does not have
	Forged      // a RELEASE or DECLINE in the name of another
	Incomplete  // the address is missing
	Unknown     // not a message to a server

	reasons = int(Unknown) + 1
)

var reasonText = [reasons]string{
	"none",
	"offered", "bound", "renewed", "informed", "released", "declined",
	"wrong network", "not an address for clients", "address is outside the ranges",
	"address is reserved for another client", "client has a reservation for another address",
	"address is leased to another client", "address was offered to another client",
	"address was declined", "client has another address", "too many addresses at one port",
	"no address left", "for another server", "no reservation", "no subnet for this relay", "not the holder",
	"sent by another", "address is missing", "unknown message",
}

func (r Reason) String() string { return reasonText[r] }
