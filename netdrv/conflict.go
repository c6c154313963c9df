package netdrv

import (
	"net/netip"
)

// Conflicts returns everything in which n collides with the other networks of
// this host; others may hold n itself, which is passed over by name.
func Conflicts(n *Network, others []Network) Findings {
	var fs Findings
	for i := range others {
		o := &others[i]
		if o.Name == n.Name {
			continue
		}
		if o.Bridge.Name == n.Bridge.Name {
			fs.Add("bridge.name", "%s is the bridge of network %s", n.Bridge.Name, o.Name)
		}
		if o.Bridge.MAC == n.Bridge.MAC {
			fs.Add("bridge.mac", "%s is the MAC of network %s's bridge", n.Bridge.MAC, o.Name)
		}
		for j, s := range n.Subnets {
			for _, os := range o.Subnets {
				if s.Address.Overlaps(os.Address) {
					fs.Add(index("subnets", j)+".address", "%s overlaps %s of network %s", s.Address, os.Address, o.Name)
				}
			}
		}
	}
	return fs
}

// HostConflicts returns everything in which n collides with what the host had
// before vnetd: a link of the bridge's name, and prefixes in use.
func HostConflicts(n *Network, host Host) Findings {
	var fs Findings
	if host.Links[n.Bridge.Name] {
		fs.Add("bridge.name", "%s exists already and is not vnetd's; choose another name, or remove that link", n.Bridge.Name)
	}
	for i, s := range n.Subnets {
		if p, ok := usedBy(s.Address, host); ok {
			fs.Add(index("subnets", i)+".address", "%s is in use by the host: %s", s.Address, p)
		}
	}
	return fs
}

func usedBy(p netip.Prefix, host Host) (HostPrefix, bool) {
	for _, h := range host.Prefixes {
		if h.Prefix.Overlaps(p) {
			return h, true
		}
	}
	return HostPrefix{}, false
}

// String says "address 10.0.0.5/8 on eth0" or "route to 10.0.0.0/8 by eth0".
func (h HostPrefix) String() string {
	if h.Route {
		return "route to " + h.Prefix.String() + " by " + h.Link
	}
	return "address " + h.Prefix.String() + " on " + h.Link
}
