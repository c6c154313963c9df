package v6

import (
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
)

// A Decision is what to do about a request.
type Decision struct {
	// Reply is the type of the message to send; none (0) is silence.
	Reply MessageType
	Why   Reason

	Rapid    bool        // the REPLY to a SOLICIT
	Status   *StatusCode // of the whole message
	IAs      []IAReply
	Hostname string
	// Refused is the hostname that the client asked for, if another client has it.
	Refused string

	// Bind must be stored, all of it, before the reply leaves.
	Bind []lease.Lease
	// TakesUp: one of them at least had been offered to the client before.
	TakesUp bool
	// Check is to be looked for on the wire before anything is done: it may be in use by
	// a client that had it. After Vouch or Rest the message is to be answered anew.
	Check netip.Addr
	// InUse is reserved for the client and leased to another; so the client has a
	// different address for the time being.
	InUse netip.Addr
	// End are leases to be ended in this way; the client may not have them.
	End     []lease.Lease
	EndKind lease.Kind
	// EndUnused are to be ended in the same way unless their client still uses them:
	// the message may be forged.
	EndUnused []lease.Lease

	// What AppendReply tells the client besides: see Pool.reserve.
	book     *option.Book
	own      *option.Own
	bootFile string
}

// An IAReply is what is said of one identity association. With a Status there
// is no Address.
type IAReply struct {
	Code    uint16
	ID      uint32
	Status  *StatusCode
	Address netip.Addr
	Seconds uint32       // the preferred and the valid lifetime; ^0 is for ever
	Gone    []netip.Addr // must not be used any more: both lifetimes are zero
}

// Reason says why a decision is as it is.
type Reason string

// The reasons, first those to speak.
const (
	Advertised Reason = "advertised"
	Bound      Reason = "bound"
	Renewed    Reason = "renewed"
	Confirmed  Reason = "addresses are on the link"
	OffLink    Reason = "addresses are not on the link"
	Informed   Reason = "informed"
	Released   Reason = "released"
	Declined   Reason = "declined"
	NotHolder  Reason = "not the holder"
	Exhausted  Reason = "no address left"
	NoRanges   Reason = "no reservation"
	Greedy     Reason = "too many addresses at one port"
	Stateless  Reason = "no addresses are given here"
	Nothing    Reason = "no address was asked for"

	// Silence.
	OtherServer Reason = "for another server"
	Invalid     Reason = "an identifier is missing, or there and must not be"
	ByUnicast   Reason = "must not come by unicast"
	NoAddresses Reason = "no addresses to confirm"
	NoSubnet    Reason = "no subnet for this relay"
)

func status(c StatusCode) *StatusCode { return &c }

// Given returns the first address of the answer; the zero Addr if there is none.
func (d *Decision) Given() netip.Addr {
	for i := range d.IAs {
		if d.IAs[i].Address.IsValid() {
			return d.IAs[i].Address
		}
	}
	return netip.Addr{}
}
