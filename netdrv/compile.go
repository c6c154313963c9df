package netdrv

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// defaultMTU is what the kernel gives a bridge that is asked for none.
const defaultMTU = 1500

// Intent is what a host is to look like.
type Intent struct {
	// Live networks stand; the others are declared, and hold on to their guests.
	Live, Stopped []Network
	// Members are guests' links on bridges, as UpdateMembers has them.
	Members []Member
	// Ports are to have links, whether their network is live or not.
	Ports []Port
	// Suspended are the links of ports that are kept down and out of their bridges.
	Suspended map[string]bool
}

// Compile returns what the kernel should hold. It cannot fail: whatever may be
// wrong was found by Validate and Conflicts.
func Compile(in Intent, host Host) State {
	var s State
	bridges, isolated, alone := map[string]string{}, map[string]bool{}, map[string]bool{}
	for i := range in.Live {
		n := &in.Live[i]
		s.network(n, host)
		isolated[n.Name] = n.Filter.Isolated
		if n.Mode.OwnsBridge() {
			bridges[n.Name] = n.Bridge.Name
		}
	}
	for i := range in.Ports {
		alone[in.Ports[i].Link] = in.Ports[i].Filter.Isolated
	}
	s.Sysctls = append(s.Sysctls, hostSysctls(in.Live, host)...)
	for _, m := range in.Members {
		if bridge := bridges[m.Network]; bridge != "" {
			m.Bridge, m.Isolated = bridge, isolated[m.Network] || alone[m.Link]
			s.Members = append(s.Members, m)
		}
	}
	s.ports(in, host)
	s.bandwidths(in)
	return s
}

// ports come behind the bridges that they are in.
func (s *State) ports(in Intent, host Host) {
	byNetwork := map[string][]*Port{}
	for i := range in.Ports {
		p := &in.Ports[i]
		byNetwork[p.Network] = append(byNetwork[p.Network], p)
	}
	add := func(networks []Network, live bool) {
		for i := range networks {
			for _, p := range byNetwork[networks[i].Name] {
				l := LinkOf(p, &networks[i], live, host)
				if in.Suspended[p.Link] {
					l.Up, l.Master = false, ""
					if l.Kind == KindTap {
						l.MAC = MAC{} // what its user makes of it reaches no bridge
					}
				}
				s.Links = append(s.Links, l)
			}
		}
	}
	add(in.Live, true)
	add(in.Stopped, false)
}

func (s *State) network(n *Network, host Host) {
	switch {
	case n.Mode.OwnsBridge():
		s.Links = append(s.Links, compileBridge(n, host))
		s.Sysctls = append(s.Sysctls, bridgeSysctls(n)...)
		s.Addrs = append(s.Addrs, bridgeAddrs(n)...)
		s.Routes = append(s.Routes, compileRoutes(n)...)
	case n.Mode == DirectLink && n.Direct.HostAccess:
		s.Links = append(s.Links, compileMacvlan(n, host))
		s.Addrs = append(s.Addrs, gateways(n)...)
		s.Routes = append(s.Routes, macvlanRoutes(n)...)
	}
}

func compileBridge(n *Network, host Host) Link {
	return Link{
		Network: n.Name, Name: n.Bridge.Name, Kind: KindBridge, MAC: n.Bridge.MAC, Up: true,
		MTU: EffectiveMTU(n, host), FDBMaxLearned: cmp.Or(n.Bridge.FDBMaxLearned, DefaultFDBMaxLearned),
	}
}

// compileMacvlan is the host's own link beside its guests' (macvlan(4)): a link
// cannot talk to the macvlans on it, but they can to each other.
func compileMacvlan(n *Network, host Host) Link {
	uplink := n.Direct.Uplinks[0]
	return Link{
		Network: n.Name, Name: n.Bridge.Name, Kind: KindMacvlan, MAC: n.Bridge.MAC, Up: true,
		MTU: cmp.Or(max(n.Bridge.MTU, 0), host.Links[uplink].MTU, defaultMTU), Parent: uplink, Mode: DirectBridge,
	}
}

// macvlanRoutes send what goes to the uplink's subnet by the macvlan, where the
// guests are: two halves are longer prefixes than the one that the uplink's own
// address has brought along. Guests reach any address of the host by it, since
// Linux answers ARP for all of them.
func macvlanRoutes(n *Network) []LinkRoute {
	var out []LinkRoute
	for _, s := range n.Subnets {
		low := netip.PrefixFrom(s.Address.Masked().Addr(), s.Address.Bits()+1)
		for _, half := range []netip.Prefix{low, nextPrefix(low)} {
			out = append(out, LinkRoute{Network: n.Name, Link: n.Bridge.Name, Destination: half, Metric: metric(0, half.Addr())})
		}
	}
	return out
}

// EffectiveMTU is what a network's bridge has and its guests are told: where it
// follows the uplinks, the smallest of theirs, and never less than its families
// need.
func EffectiveMTU(n *Network, host Host) int {
	if n.Bridge.MTU != AutoMTU {
		return cmp.Or(n.Bridge.MTU, defaultMTU)
	}
	uplinks := n.Uplinks
	if len(uplinks) == 0 && len(host.DefaultLinks) > 0 {
		uplinks = host.DefaultLinks[:1]
	}
	mtu := 0
	for _, u := range uplinks {
		if l, ok := host.Links[u]; ok && (mtu == 0 || l.MTU < mtu) {
			mtu = l.MTU
		}
	}
	if n.HasIPv6() && mtu > 0 {
		mtu = max(mtu, 1280)
	}
	return cmp.Or(mtu, defaultMTU)
}

func gateways(n *Network) []Addr {
	var out []Addr
	for _, s := range n.Subnets {
		out = append(out, Addr{n.Name, n.Bridge.Name, s.Address})
	}
	return out
}

// bridgeAddrs lists the gateways, and the link-local address that the kernel is
// told not to make by itself (see bridgeSysctls).
func bridgeAddrs(n *Network) []Addr {
	out := gateways(n)
	if n.HasIPv6() {
		out = append(out, Addr{n.Name, n.Bridge.Name, n.Bridge.MAC.LinkLocal()})
	}
	return out
}

// ip6Metric is the kernel's default metric of IPv6 routes (IP6_RT_PRIO_USER).
const ip6Metric = 1024

func compileRoutes(n *Network) []LinkRoute {
	var out []LinkRoute
	for _, r := range n.Routes {
		out = append(out, LinkRoute{n.Name, n.Bridge.Name, r.Destination, r.Via, metric(r.Metric, r.Via)})
	}
	return out
}

func metric(m int, family netip.Addr) int {
	if m == 0 && family.Is6() {
		return ip6Metric
	}
	return m
}

// unresolvedBytes is room for a few packets, as the kernel counts them; its own is for
// 212992 bytes. What all of a thousand neighbours (gc_thresh3) have waiting is less
// than dnsd may send.
const unresolvedBytes = "8192"

// bridgeSysctls keeps the host from taking an address from its own guests
// (accept_ra, and with it SLAAC), and keeps IPv6 off a bridge that has no IPv6
// subnet. addr_gen_mode 1 is "none": the kernel's own link-local address would
// stay tentative on a bridge without ports, so ours is added without DAD.
//
// promote_secondaries lets a gateway be replaced by another of its subnet.
// arp_ignore 1 is where the host is to be seen by no other address than the
// network's: Linux answers ARP for all its addresses on any link.
//
// forwarding is of the link that a packet comes in by, and new links get the host's
// default, which may be 0. In IPv6 it also sets the router flag of neighbour
// advertisements, without which guests drop their default route (RFC 4861 section 7.2.5).
//
// unres_qlen_bytes is what may wait for a neighbour that does not answer. A guest that
// asks in the name of neighbours that are none has replies wait for all of them, and
// what waits is taken off what the server may send to others.
func bridgeSysctls(n *Network) []Sysctl {
	set := func(family, key, value string) Sysctl {
		return Sysctl{n.Name, n.Bridge.Name, "net/" + family + "/conf/" + n.Bridge.Name + "/" + key, value}
	}
	unresolved := func(family string) Sysctl {
		return Sysctl{n.Name, n.Bridge.Name, "net/" + family + "/neigh/" + n.Bridge.Name + "/unres_qlen_bytes", unresolvedBytes}
	}
	hide := "0"
	if n.HostAccess.Limited || n.VeryIsolated() {
		hide = "1"
	}
	out := []Sysctl{set("ipv4", "promote_secondaries", "1"), set("ipv4", "arp_ignore", hide), unresolved("ipv4")}
	if n.Mode.Forwards() && n.HasIPv4() {
		out = append(out, set("ipv4", "forwarding", "1"))
	}
	if !n.HasIPv6() {
		return append(out, set("ipv6", "disable_ipv6", "1"))
	}
	if n.Mode.Forwards() {
		out = append(out, set("ipv6", "forwarding", "1"))
	}
	return append(out, unresolved("ipv6"), set("ipv6", "addr_gen_mode", "1"), set("ipv6", "accept_ra", "0"), set("ipv6", "disable_ipv6", "0"))
}

// hostSysctls switches forwarding on for the families in use. It is never
// switched off: others may rely on it by then.
func hostSysctls(live []Network, host Host) []Sysctl {
	var v4, v6 bool
	for i := range live {
		if n := &live[i]; n.Mode.Forwards() {
			v4, v6 = v4 || n.HasIPv4(), v6 || n.HasIPv6()
		}
	}
	var out []Sysctl
	if v4 {
		out = append(out, Sysctl{Key: "net/ipv4/ip_forward", Value: "1"})
	}
	if v6 {
		out = append(out, keepRouterAdvertisements(live, host)...)
		out = append(out, Sysctl{Key: "net/ipv6/conf/all/forwarding", Value: "1"})
	}
	return out
}

// keepRouterAdvertisements comes before IPv6 forwarding: with forwarding on, a link
// with accept_ra 1 ignores router advertisements, and drops the default route that it
// learned. 2 accepts them all the same (Documentation/networking/ip-sysctl.rst).
//
// It is set on the host's own links that accept advertisements, whether one was seen
// already or not: network cards and what is stacked on them, and whatever has had a
// default route. Other virtual links may lead to guests, of which the host must not
// learn routes.
func keepRouterAdvertisements(live []Network, host Host) []Sysctl {
	uplinks := map[string]bool{}
	for _, link := range slices.Concat(host.DefaultLinks, host.Uplinks) {
		uplinks[link] = true
	}
	for i := range live {
		for _, link := range live[i].Uplinks {
			uplinks[link] = true
		}
	}
	for name, l := range host.Links {
		if cards[l.Kind] {
			uplinks[cmp.Or(l.Master, name)] = true // the bridge or bond that it is in
		}
	}
	var out []Sysctl
	for _, link := range slices.Sorted(maps.Keys(host.AcceptRA)) {
		if uplinks[link] && host.AcceptRA[link] > 0 {
			out = append(out, Sysctl{Key: "net/ipv6/conf/" + link + "/accept_ra", Value: "2"})
		}
	}
	return out
}

// cards are the kinds of links that lead out of the host, or are stacked on one.
var cards = map[string]bool{"device": true, "vlan": true, "bond": true, "team": true}
