package kernel

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// hostSysctls are read in every round.
var hostSysctls = []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}

// linkSysctls are read for each link of ours, below net/ipv6/conf/LINK.
var linkSysctls = []string{"addr_gen_mode", "accept_ra", "disable_ipv6"}

// Observe returns everything in the kernel that is ours, and what the host has
// besides.
func (k *Kernel) Observe(ctx context.Context) (netdrv.State, netdrv.Host, error) {
	links, err := dump(ctx, k.nl.LinkList)
	if err != nil {
		return netdrv.State{}, netdrv.Host{}, fmt.Errorf("list links: %w", err)
	}
	o := observer{sys: k.sys, links: map[int]netlink.Link{}}
	o.host.Links = map[string]bool{}
	for _, l := range links {
		o.link(l)
	}
	addrs, err := dump(ctx, func() ([]netlink.Addr, error) { return k.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return netdrv.State{}, netdrv.Host{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		o.addr(a)
	}
	routes, err := dump(ctx, k.allRoutes)
	if err != nil {
		return netdrv.State{}, netdrv.Host{}, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		o.route(r)
	}
	o.readHostSysctls()
	return o.state, o.host, o.err
}

func (k *Kernel) allRoutes() ([]netlink.Route, error) {
	return k.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
}

// ObserveLink returns what is ours of one link: an empty State if there is no
// such link or it is somebody else's. It costs the same on a host with one
// network as with a thousand.
func (k *Kernel) ObserveLink(ctx context.Context, name string) (netdrv.State, error) {
	o := observer{sys: k.sys, links: map[int]netlink.Link{}}
	o.host.Links = map[string]bool{}
	l, err := k.nl.LinkByName(name)
	if _, missing := err.(netlink.LinkNotFoundError); missing {
		o.readHostSysctls()
		return o.state, o.err
	}
	if err != nil {
		return netdrv.State{}, fmt.Errorf("look up link %s: %w", name, err)
	}
	o.link(l)
	addrs, err := dump(ctx, func() ([]netlink.Addr, error) { return k.nl.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return netdrv.State{}, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	for _, a := range addrs {
		o.addr(a)
	}
	o.readHostSysctls()
	return o.state, o.err
}

// observer sorts what the kernel lists into ours and the host's.
type observer struct {
	sys   sysctls
	links map[int]netlink.Link
	state netdrv.State
	host  netdrv.Host
	err   error
}

func ours(l netlink.Link) bool { return l != nil && l.Attrs().Group == Group && l.Type() == "bridge" }

func (o *observer) link(l netlink.Link) {
	a := l.Attrs()
	o.links[a.Index] = l
	if !ours(l) {
		o.host.Links[a.Name] = true
		return
	}
	network, _ := netdrv.ParseAlias(a.Alias)
	link := netdrv.Link{Network: network, Name: a.Name, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
	copy(link.MAC[:], a.HardwareAddr)
	o.state.Links = append(o.state.Links, link)
	for _, key := range linkSysctls {
		o.sysctl(network, a.Name, "net/ipv6/conf/"+a.Name+"/"+key)
	}
}

func (o *observer) sysctl(network, link, key string) {
	v, err := o.sys.get(key)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("read sysctl %s: %w", key, err)
	}
	o.state.Sysctls = append(o.state.Sysctls, netdrv.Sysctl{Network: network, Link: link, Key: key, Value: v})
}

func (o *observer) addr(a netlink.Addr) {
	l := o.links[a.LinkIndex]
	p, ok := prefix(a.IPNet)
	if l == nil || !ok {
		return
	}
	name := l.Attrs().Name
	if ours(l) {
		network, _ := netdrv.ParseAlias(l.Attrs().Alias)
		o.state.Addrs = append(o.state.Addrs, netdrv.Addr{Network: network, Link: name, Prefix: p})
		return
	}
	if a := p.Addr(); !a.IsLinkLocalUnicast() && !a.IsLoopback() {
		o.host.Prefixes = append(o.host.Prefixes, netdrv.HostPrefix{Prefix: p, Link: name})
	}
}

// route takes down the host's routes but for default routes, which cover
// everything, and what the kernel derives from addresses.
func (o *observer) route(r netlink.Route) {
	l := o.links[r.LinkIndex]
	p, ok := prefix(r.Dst)
	if !ok || p.Bits() == 0 {
		if l != nil && r.Protocol == unix.RTPROT_RA {
			o.raLink(l.Attrs().Name)
		}
		return
	}
	a := p.Addr()
	if r.Protocol == unix.RTPROT_KERNEL || ours(l) || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsLoopback() {
		return
	}
	via := "(no link)"
	if l != nil {
		via = l.Attrs().Name
	}
	o.host.Prefixes = append(o.host.Prefixes, netdrv.HostPrefix{Prefix: p, Link: via, Route: true})
}

func (o *observer) raLink(name string) {
	v, err := o.sys.get("net/ipv6/conf/" + name + "/accept_ra")
	if err != nil {
		return
	}
	if o.host.RALinks == nil {
		o.host.RALinks = map[string]string{}
	}
	o.host.RALinks[name] = v
	o.state.Sysctls = append(o.state.Sysctls, netdrv.Sysctl{Key: "net/ipv6/conf/" + name + "/accept_ra", Value: v})
}

func (o *observer) readHostSysctls() {
	for _, key := range hostSysctls {
		o.sysctl("", "", key)
	}
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}
