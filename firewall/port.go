package firewall

import (
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// Port is a guest's link on a network's bridge, with what is known of the guest.
type Port struct {
	// Link is empty for a guest that is not attached, or behind no link that is known:
	// its addresses are kept from others.
	Link    string
	Network string
	// MAC is the guest's, by which it is known. Zero: nothing was heard from it yet.
	MAC netdrv.MAC
	// Addresses are the guest's own, of either family: leased, reserved or declared.
	Addresses []netip.Addr
	// Renews are IPv4 addresses that the guest had, and may ask for again from them.
	Renews []netip.Addr
	Preset netdrv.Preset
	// Isolated: among other things, the port is known.
	Isolated bool
	// Outside: the bridge has an uplink (mode bridge). What the guest may send of what
	// belongs to a network's own devices is in Allow, and its Addresses are those that are
	// declared; without any of a family, it may have any.
	Outside bool
	Allow   []netdrv.FrameKind
	// Pinned: this is about nothing but the MACs that a port may use, whatever else there is
	// about it: MAC or, while that is zero, those that begin with the octets of MACPrefix.
	Pinned    bool
	MACPrefix string
	// Rules are what its connections are asked; nil: nothing. Ports share them.
	Rules *Rulebook
}

// guarded is what the bridge table is about.
type guarded struct {
	networks []*netdrv.Network
	byName   map[string]*netdrv.Network
	// members are all ports of networks that ask something of theirs: whoever is
	// none of them is a stranger to them.
	members []Port
	// guests are all of those networks of which something is known, attached or not.
	guests []Port
	// outside are the ports in mode bridge.
	outside []Port
	// pinned are the ports with a Pinned MAC or prefix, of any network.
	pinned []Port
	// clean ports speak as themselves only, those among them that were heard.
	// learning ports are to be clean, and were not heard yet.
	clean, learning []Port
}

// guard sorts. A port of a network that is not up is nobody's.
func guard(networks []*netdrv.Network, ports []Port) guarded {
	g := guarded{byName: map[string]*netdrv.Network{}}
	asks := map[string]bool{}
	for _, p := range ports { // those that are pinned have neither
		asks[p.Network] = asks[p.Network] || p.Preset.Clean() || p.Isolated || p.Rules != nil
	}
	for _, n := range networks {
		if asks[n.Name] || n.Filter.Isolated {
			g.networks, g.byName[n.Name] = append(g.networks, n), n
		}
	}
	for _, p := range ports {
		if p.Outside {
			g.outside = append(g.outside, p)
			continue
		}
		if p.Pinned {
			g.pinned = append(g.pinned, p)
			continue
		}
		if g.network(p) == nil {
			continue
		}
		if !p.MAC.IsZero() || p.Addresses != nil {
			g.guests = append(g.guests, p)
		}
		if p.Link == "" {
			continue
		}
		g.members = append(g.members, p)
		switch {
		case !p.Preset.Clean():
		case p.MAC.IsZero():
			g.learning = append(g.learning, p)
		default:
			g.clean = append(g.clean, p)
		}
	}
	return g
}

func (g guarded) network(p Port) *netdrv.Network { return g.byName[p.Network] }

// addresses are those that a port may use as a host: its own, and those that
// every host makes of its MAC (RFC 4862 section 5.3, RFC 4291 appendix A).
func (g guarded) addresses(p Port) []netip.Addr {
	if p.MAC.IsZero() {
		return p.Addresses
	}
	out := append(slices.Clone(p.Addresses), p.MAC.LinkLocal().Addr())
	for _, prefix := range autonomous(g.network(p)) {
		out = append(out, p.MAC.In(prefix))
	}
	return out
}

// autonomous are the prefixes of which guests make addresses themselves.
func autonomous(n *netdrv.Network) []netip.Prefix {
	var out []netip.Prefix
	for i := range n.Subnets {
		if s := &n.Subnets[i]; s.Autonomous() && n.RA.Enabled != netdrv.No {
			out = append(out, s.Address.Masked())
		}
	}
	return out
}

// behind are the prefixes for which the guest with a port's addresses is the way.
func behind(n *netdrv.Network, p Port) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range n.Routes {
		if slices.Contains(p.Addresses, r.Via) {
			out = append(out, r.Destination.Masked())
		}
	}
	return out
}
