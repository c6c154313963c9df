package reconcile

import (
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
)

// ruled gives ports of a network their filters: what a port says itself, on top of what
// the network says.
func ruled(now []firewall.Port, n *netdrv.Network, declared []netdrv.Port, around *netdrv.Resolver) []firewall.Port {
	own, addresses := map[string]netdrv.Filter{}, map[string][]netip.Addr{}
	for _, p := range declared {
		own[p.Link], addresses[p.Link] = p.Filter, p.Addresses
	}
	outside := n.Mode == netdrv.ExistingBridge
	if outside && !n.HasUplinkBridge() { // what else is in a bridge of the host's is the host's
		now = slices.DeleteFunc(now, func(p firewall.Port) bool { _, ours := own[p.Link]; return !ours })
	}
	shared := firewall.RulebookOf(n.Filter, n, "", 0, around)
	for i := range now {
		p := &now[i]
		if p.Link == "" {
			continue
		}
		f := own[p.Link]
		p.Rules = shared
		if f.Asks() || f.In != 0 || f.Out != 0 {
			p.Rules = firewall.RulebookOf(f.Over(n.Filter), n, p.Link, len(f.Rules), around)
		}
		over := f.Over(n.Filter)
		p.Preset, p.Isolated = over.Preset, over.Isolated
		if outside {
			p.Bridged, p.Allow, p.Addresses = true, over.Allow, addresses[p.Link]
		}
	}
	return now
}

// pinned holds the users' ports of a network with a MAC prefix to it, and those with a MAC of
// their own to that.
func pinned(n *netdrv.Network, ports []netdrv.Port) []firewall.Port {
	prefix, ok := n.Access.Octets()
	if !ok || len(prefix) == 0 {
		return nil
	}
	var out []firewall.Port
	for i := range ports {
		if p := &ports[i]; p.Transient && p.Granted != "" && p.Granted != netdrv.GrantedAdmin {
			out = append(out, firewall.Port{Link: p.Link, Network: n.Name, MAC: p.MAC, FixedMAC: true, MACPrefix: string(prefix)})
		}
	}
	return out
}

// portsOf translates the members of a network for the firewall, and the guests that have
// addresses and are behind no member. leased are the addresses of leases in force; what
// is reserved is a guest's whether it asks for it or not.
func portsOf(n *netdrv.Network, members []netdrv.Member, leased map[netdrv.MAC][]netip.Addr) []firewall.Port {
	for _, s := range n.Subnets {
		if s.DHCP == nil {
			continue
		}
		for _, r := range s.DHCP.Reservations {
			if r.Address.IsValid() && !slices.Contains(leased[r.MAC], r.Address) {
				leased[r.MAC] = append(leased[r.MAC], r.Address)
			}
		}
	}
	var out []firewall.Port
	attached := map[netdrv.MAC]bool{}
	for _, m := range members {
		if m.Network != n.Name {
			continue
		}
		p := firewall.Port{Link: m.Link, Network: n.Name, MAC: m.MAC}
		if !m.MAC.IsZero() {
			p.Addresses, attached[m.MAC] = leased[m.MAC], true
		}
		out = append(out, p)
	}
	for mac, addresses := range leased {
		if !attached[mac] {
			out = append(out, firewall.Port{Network: n.Name, MAC: mac, Addresses: addresses})
		}
	}
	return out
}

// keepLast lets guests use what they had last behind their ports until others get it, or,
// if an administrator has revoked it, ask for it again: a client that does not know that
// its lease has ended asks for an extension from its address.
func keepLast(ports []firewall.Port, n *netdrv.Network, ended, revoked map[netdrv.MAC][]netip.Addr) {
	reserved := map[netip.Addr]netdrv.MAC{}
	for _, s := range n.Subnets {
		if s.DHCP != nil && len(ended) > 0 {
			for _, r := range s.DHCP.Reservations {
				reserved[r.Address] = r.MAC
			}
		}
	}
	for i := range ports {
		p := &ports[i]
		if p.Link == "" {
			continue
		}
		for _, a := range ended[p.MAC] {
			if owner := reserved[a]; (owner.IsZero() || owner == p.MAC) && !slices.Contains(p.Addresses, a) {
				p.Addresses = append(slices.Clip(p.Addresses), a)
			}
		}
		for _, a := range revoked[p.MAC] {
			if a.Is4() { // IPv6 clients ask from their link-local address
				p.Renews = append(p.Renews, a)
			}
		}
	}
}
