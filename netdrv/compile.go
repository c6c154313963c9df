package netdrv

import (
	"maps"
	"slices"
	"strconv"
)

// defaultMTU is what the kernel gives a bridge that is asked for none.
const defaultMTU = 1500

// Compile returns what the kernel should hold for the live networks. It cannot
// fail: whatever may be wrong was found by Validate and Conflicts.
func Compile(live []Network, host Host) State {
	var s State
	for i := range live {
		n := &live[i]
		s.Links = append(s.Links, compileLink(n))
		s.Sysctls = append(s.Sysctls, bridgeSysctls(n)...)
		s.Addrs = append(s.Addrs, compileAddrs(n)...)
	}
	s.Sysctls = append(s.Sysctls, hostSysctls(live, host)...)
	return s
}

func compileLink(n *Network) Link {
	mtu := n.Bridge.MTU
	if mtu == 0 {
		mtu = defaultMTU
	}
	return Link{Network: n.Name, Name: n.Bridge.Name, MAC: n.Bridge.MAC, MTU: mtu, Up: true}
}

// compileAddrs lists the gateways, and the link-local address that the kernel
// is told not to make by itself (see bridgeSysctls).
func compileAddrs(n *Network) []Addr {
	var out []Addr
	for _, s := range n.Subnets {
		out = append(out, Addr{n.Name, n.Bridge.Name, s.Address})
	}
	if n.HasIPv6() {
		out = append(out, Addr{n.Name, n.Bridge.Name, n.Bridge.MAC.LinkLocal()})
	}
	return out
}

// bridgeSysctls keeps the host from taking an address from its own guests
// (accept_ra, and with it SLAAC), and keeps IPv6 off a bridge that has no IPv6
// subnet. addr_gen_mode 1 is "none": the kernel's own link-local address would
// stay tentative on a bridge without ports, so ours is added without DAD.
func bridgeSysctls(n *Network) []Sysctl {
	set := func(key, value string) Sysctl {
		return Sysctl{n.Name, n.Bridge.Name, "net/ipv6/conf/" + n.Bridge.Name + "/" + key, value}
	}
	if !n.HasIPv6() {
		return []Sysctl{set("disable_ipv6", "1")}
	}
	return []Sysctl{set("addr_gen_mode", "1"), set("accept_ra", "0"), set("disable_ipv6", "0")}
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
		out = append(out, keepRouterAdvertisements(host)...)
		out = append(out, Sysctl{Key: "net/ipv6/conf/all/forwarding", Value: "1"})
	}
	return out
}

// keepRouterAdvertisements comes before IPv6 forwarding: with forwarding on, a
// link whose accept_ra is 1 forgets the default route that it learned, and the
// host is cut off. 2 accepts them all the same (Documentation/networking/
// ip-sysctl.rst). Only links that have such a route now are touched.
func keepRouterAdvertisements(host Host) []Sysctl {
	var out []Sysctl
	for _, link := range slices.Sorted(maps.Keys(host.RALinks)) {
		if v, err := strconv.Atoi(host.RALinks[link]); err == nil && v > 0 {
			out = append(out, Sysctl{Key: "net/ipv6/conf/" + link + "/accept_ra", Value: "2"})
		}
	}
	return out
}
