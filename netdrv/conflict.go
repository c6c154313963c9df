package netdrv

import (
	"fmt"
	"net/netip"
)

// Conflicts returns everything in which n collides with the other networks of
// this host; others may hold n itself, which is passed over by name.
func Conflicts(n *Network, others []Network) Findings {
	var fs Findings
	prefixes, ports := newRangeIndex(rangesOf(n.prefixes())), claimsOf(n.Forwards)
	for i := range others {
		if o := &others[i]; o.Name != n.Name {
			linkConflicts(&fs, n, o)
			subnetConflicts(&fs, n, &prefixes, o)
			domainConflicts(&fs, n, o)
			forwardConflicts(&fs, n, ports, o)
		}
	}
	return fs
}

func linkConflicts(fs *Findings, n, o *Network) {
	// Any number of networks may hand out one bridge of the host.
	shared := n.Mode == ExistingBridge && o.Mode == ExistingBridge && len(n.Bridge.Uplinks)*len(o.Bridge.Uplinks) == 0
	if o.Bridge.Name == n.Bridge.Name && n.Bridge.Name != "" && !shared {
		fs.Add("bridge.name", "%s is the bridge of network %s", n.Bridge.Name, o.Name)
	}
	if o.Bridge.MAC == n.Bridge.MAC && !n.Bridge.MAC.IsZero() {
		fs.Add("bridge.mac", "%s is the MAC of network %s's bridge", n.Bridge.MAC, o.Name)
	}
	if len(n.Direct.Uplinks)+len(n.Bridge.Uplinks) == 0 {
		return
	}
	bridged, direct := setOf(o.Bridge.Uplinks), setOf(o.Direct.Uplinks)
	for i, u := range n.Direct.Uplinks {
		path := index("direct.uplinks", i)
		switch {
		case bridged[u]:
			fs.Add(path, "%s is in the bridge of network %s, and a link in a bridge has no macvtap; use mode bridge with %s", u, o.Name, o.Bridge.Name)
		case direct[u] && (n.Direct.Mode == DirectPassthrough || o.Direct.Mode == DirectPassthrough):
			fs.Add(path, "%s is used by network %s, and passthrough wants it alone", u, o.Name)
		}
	}
	for i, u := range n.Bridge.Uplinks {
		if bridged[u] || direct[u] {
			fs.Add(index("bridge.uplinks", i), "%s is an uplink of network %s", u, o.Name)
		}
	}
}

func setOf[T comparable](list []T) map[T]bool {
	set := make(map[T]bool, len(list))
	for _, x := range list {
		set[x] = true
	}
	return set
}

// subnetConflicts names one of n's prefixes for each of o's that overlaps some.
func subnetConflicts(fs *Findings, n *Network, prefixes *rangeIndex, o *Network) {
	for _, p := range o.prefixes() {
		i := prefixes.overlapping(rangeOf(p))
		switch {
		case i < 0:
		case i < len(n.Subnets):
			fs.Add(index("subnets", i)+".address", "%s overlaps %s of network %s", n.Subnets[i].Address, p, o.Name)
		default:
			i -= len(n.Subnets)
			fs.Add(index("routes", i)+".destination", "%s overlaps %s of network %s", n.Routes[i].Destination, p, o.Name)
		}
	}
}

// prefixes are the network's subnets and what is routed into it.
func (n *Network) prefixes() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(n.Subnets)+len(n.Routes))
	for _, s := range n.Subnets {
		out = append(out, s.Address)
	}
	for _, r := range n.Routes {
		out = append(out, r.Destination)
	}
	return out
}

// Taken returns a function that reports whether a prefix overlaps a subnet or route of
// the networks, or a prefix of the host.
func Taken(networks []Network, host Host) func(netip.Prefix) bool {
	var all []Range
	for i := range networks {
		all = append(all, rangesOf(networks[i].prefixes())...)
	}
	for _, h := range host.Prefixes {
		all = append(all, rangeOf(h.Prefix))
	}
	s := newRangeIndex(all)
	return func(p netip.Prefix) bool { return s.overlapping(rangeOf(p)) >= 0 }
}

// HostConflicts returns everything in which n collides with what the host had
// before vnetd, or misses from it: a link of the bridge's name, prefixes in use,
// uplinks that are not there or not to be had.
func HostConflicts(n *Network, host Host) Findings {
	var fs Findings
	bridgeConflicts(&fs, n, host)
	for i, u := range n.Uplinks {
		if _, exists := host.Links[u]; !exists {
			fs.Add(index("uplinks", i), "%s", noLink(u, host))
		}
	}
	for i, u := range n.Direct.Uplinks {
		uplinkProblem(&fs, index("direct.uplinks", i), u, "", host)
	}
	for i, u := range n.Bridge.Uplinks {
		uplinkProblem(&fs, index("bridge.uplinks", i), u, n.Bridge.Name, host)
	}
	if n.Mode == DirectLink {
		return fs // its subnets are meant to be those of the uplink
	}
	used := make([]Range, len(host.Prefixes))
	for i, h := range host.Prefixes {
		used[i] = rangeOf(h.Prefix)
	}
	hosts := newRangeIndex(used)
	for i, p := range n.prefixes() {
		path := index("subnets", i) + ".address"
		if i >= len(n.Subnets) {
			path = index("routes", i-len(n.Subnets)) + ".destination"
		}
		if j := hosts.overlapping(rangeOf(p)); j >= 0 {
			fs.Add(path, "%s is in use by the host: %s", p, host.Prefixes[j])
		}
	}
	return fs
}

func bridgeConflicts(fs *Findings, n *Network, host Host) {
	l, exists := host.Links[n.Bridge.Name]
	if n.Mode == ExistingBridge && len(n.Bridge.Uplinks) == 0 {
		switch {
		case !exists:
			fs.Add("bridge.name", "%s, or let vnetd build it on bridge.uplinks", noLink(n.Bridge.Name, host))
		case l.Kind != "bridge":
			fs.Add("bridge.name", "%s is no bridge, but a link of kind %s", n.Bridge.Name, l.Kind)
		}
		return
	}
	alt := host.AltNames[n.Bridge.Name]
	switch {
	case alt != "":
		fs.Add("bridge.name", "%s is an alternative name of link %s; choose another name, or remove it (ip link property del dev %s altname %s)", n.Bridge.Name, alt, alt, n.Bridge.Name)
	case exists && l.Orphan != "":
		fs.Add("bridge.name", "%s exists already and belongs to network %s, which is not declared; adopt it (vnetctl network adopt %s), remove it (vnetctl network forget %s), or choose another name", n.Bridge.Name, l.Orphan, l.Orphan, l.Orphan)
	case exists:
		fs.Add("bridge.name", "%s exists already and is not vnetd's; choose another name, or remove that link", n.Bridge.Name)
	}
}

func noLink(name string, host Host) string {
	if link := host.AltNames[name]; link != "" {
		return fmt.Sprintf("%s is an alternative name of link %s; use %s, which rules and events go by", name, link, link)
	}
	return fmt.Sprintf("this host has no link %s (`ip link` lists them); create it first", name)
}

// uplinkProblem is about a link that guests are to share. It may be in the bridge
// of the network itself.
func uplinkProblem(fs *Findings, path, uplink, own string, host Host) {
	l, exists := host.Links[uplink]
	switch {
	case !exists:
		fs.Add(path, "%s", noLink(uplink, host))
	case l.Master != "" && l.Master != own:
		fs.Add(path, "%s is in %s already; use mode bridge with that, or take it out", uplink, l.Master)
	case l.Kind == "bridge" && own != "":
		fs.Add(path, "%s is a bridge itself, and Linux puts no bridge into a bridge", uplink)
	case l.Kind == "loopback" || l.MAC.IsZero():
		fs.Add(path, "%s is no Ethernet link", uplink)
	}
}

func usedBy(p netip.Prefix, host Host) (HostPrefix, bool) {
	for _, h := range host.Prefixes {
		if h.Prefix.Overlaps(p) {
			return h, true
		}
	}
	return HostPrefix{}, false
}
