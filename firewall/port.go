package firewall

import (
	"net/netip"

	"github.com/vnetd/vnetd/netdrv"
)

// Port is a guest's link on a network's bridge, with what is known of the guest.
type Port struct {
	// Link is empty for a guest that is not attached, or on an unknown link: its addresses
	// are kept from others.
	Link    string
	Network string
	// MAC is the guest's; zero while it is not known.
	MAC netdrv.MAC
	// Addresses are the guest's own, of either family: leased, reserved or declared.
	Addresses []netip.Addr
	// Renews are IPv4 addresses that the guest had, and may send DHCP requests from.
	Renews []netip.Addr
	Preset netdrv.Preset
	// Isolated ports need an entry among the members, whatever else is asked of them.
	Isolated bool
	// Bridged: the bridge has an uplink (mode bridge). Allow are the frames of network
	// devices that the guest may send, and Addresses those that are declared; without any of
	// a family, all of that family are allowed.
	Bridged bool
	Allow   []netdrv.FrameKind
	// FixedMAC: this entry limits the source MACs of a port, and nothing else: to MAC, or
	// while that is zero to those that begin with the octets of MACPrefix.
	FixedMAC  bool
	MACPrefix string
	// Rules are the rules on its connections; nil for none. Ports share them.
	Rules *Rulebook
}
