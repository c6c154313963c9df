package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// Protocol marks our routes (RTA_PROTOCOL): "v" in ASCII. `ip route show proto
// 118` lists them.
const Protocol = 118

// hostSysctls are read in every round.
var hostSysctls = []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}

// Observe returns everything in the kernel that is ours, and what the host has
// besides. The State's members are all links that could be a guest's.
func (k *Kernel) Observe(ctx context.Context) (netdrv.State, netdrv.Host, error) {
	links, err := k.list(ctx)
	if err != nil {
		return netdrv.State{}, netdrv.Host{}, fmt.Errorf("list links: %w", err)
	}
	o := k.observer()
	o.take(links)
	addrs, err := k.addrs(ctx, 0)
	if err != nil {
		return netdrv.State{}, netdrv.Host{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		o.addr(a)
	}
	routes, err := k.routes(ctx, 0)
	if err != nil {
		return netdrv.State{}, netdrv.Host{}, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		o.route(r)
	}
	o.host.StalePlaceholders = o.stalePlaceholders(routes)
	if err := o.traffic(ctx, k); err != nil {
		return netdrv.State{}, netdrv.Host{}, err
	}
	k.hasQueues.Store(len(o.state.Queues)+len(o.state.Redirects) > 0)
	o.readHostSysctls()
	return o.state, o.host, o.err
}

// ObserveLinks returns what is ours of some links, by name, and of the guests'
// links in them; and where some other guests' links are, by index. What is
// missing or not ours is left out. It costs the same on a host with one
// network as with a thousand.
func (k *Kernel) ObserveLinks(ctx context.Context, names []string, members []int) (netdrv.State, error) {
	o := k.observer()
	if err := o.look(ctx, k, names, members); err != nil {
		return netdrv.State{}, err
	}
	for _, l := range o.links {
		if !ours(l) {
			continue
		}
		if err := o.addresses(ctx, k, l); err != nil {
			return netdrv.State{}, err
		}
	}
	if k.hasQueues.Load() {
		if err := o.traffic(ctx, k); err != nil {
			return netdrv.State{}, err
		}
	}
	o.readHostSysctls()
	return o.state, o.err
}

// look takes the links in question.
func (o *observer) look(ctx context.Context, k *Kernel, names []string, members []int) error {
	var links []listed
	for _, name := range names {
		l, err := k.link(name)
		if missing(err) || err == nil && l.Attrs().Name != name { // an alternative name
			continue
		}
		if err != nil {
			return fmt.Errorf("look up link %s: %w", name, err)
		}
		links = append(links, l)
		ports, err := k.ports(ctx, l.Attrs().Index)
		if err != nil {
			return fmt.Errorf("list the ports of %s: %w", name, err)
		}
		links = append(links, ports...)
	}
	for _, index := range members {
		l, err := k.nl.LinkByIndex(index)
		if missing(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look up link %d: %w", index, err)
		}
		links = append(links, listed{Link: l})
	}
	if k.hasQueues.Load() {
		ifbs, err := k.ifbs(ctx, links)
		if err != nil {
			return err
		}
		links = append(links, ifbs...)
	}
	o.take(links)
	return nil
}

func missing(err error) bool {
	var not netlink.LinkNotFoundError
	return errors.As(err, &not) || errors.Is(err, unix.ENODEV)
}

// addresses takes the addresses and the routes of one link of ours. One that is gone
// by now has none.
func (o *observer) addresses(ctx context.Context, k *Kernel, l netlink.Link) error {
	a := l.Attrs()
	addrs, err := k.addrs(ctx, a.Index)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", a.Name, err)
	}
	for _, a := range addrs {
		o.addr(a)
	}
	routes, err := k.routes(ctx, a.Index)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list routes of %s: %w", a.Name, err)
	}
	for _, r := range routes {
		o.route(r)
	}
	return nil
}

// observer sorts what the kernel lists into ours and the host's.
type observer struct {
	sys   sysctls
	links map[int]netlink.Link
	state netdrv.State
	host  netdrv.Host
	err   error
}

func (k *Kernel) observer() *observer {
	return &observer{
		sys: k.sys, links: map[int]netlink.Link{},
		host: netdrv.Host{Links: map[string]netdrv.HostLink{}, AltNames: map[string]string{}, AcceptRA: map[string]int{}, Defaults: map[string]netdrv.Families{}},
	}
}

// guestKinds are the links that guests are attached by, in our library's words
// and in people's.
var guestKinds = map[string]string{"tuntap": "tap", "veth": "veth"}

// kinds are what we make links of.
var kinds = []string{"bridge", "macvlan", "macvtap", "tuntap", "ifb"}

func ours(l netlink.Link) bool {
	return l != nil && l.Attrs().Group == Group && slices.Contains(kinds, l.Type())
}

// built reports whether a link of ours stands on links of the host, and has the
// host's addresses and routes.
func built(l netlink.Link) bool { return onUplinks(l.Attrs().Alias) }

func newOwnLinks(links []netlink.Link) ownLinks {
	o := ownLinks{}
	for _, l := range links {
		if ours(l) && !built(l) {
			o[uint32(l.Attrs().Index)] = true
		}
	}
	return o
}

func onUplinks(alias string) bool { return netdrv.ParseUplinks(alias) != "" }

// take sorts links; masters and parents are known once all are there.
func (o *observer) take(links []listed) {
	isolated, specs, infos := map[int]bool{}, map[int][]byte{}, map[int][]byte{}
	for _, l := range links {
		index := l.Attrs().Index
		for _, alt := range l.Attrs().AltNames {
			o.host.AltNames[alt] = l.Attrs().Name
		}
		o.links[index] = l.Link
		isolated[index] = isolated[index] || l.isolated
		if l.spec != nil {
			specs[index] = l.spec
		}
		if l.info != nil {
			infos[index] = l.info
		}
	}
	for _, l := range o.links {
		if ours(l) {
			o.ourLink(l, specs[l.Attrs().Index], infos[l.Attrs().Index])
		} else {
			o.hostLink(l)
		}
		if a := l.Attrs(); (!ours(l) || built(l)) && a.MasterIndex == 0 && a.Flags&net.FlagLoopback == 0 {
			if v, err := strconv.Atoi(acceptRA.value(specs[a.Index])); err == nil {
				o.host.AcceptRA[a.Name] = v
			}
		}
		if kind, ok := guestKinds[l.Type()]; ok {
			a := l.Attrs()
			o.state.Members = append(o.state.Members, netdrv.Member{Link: a.Name, Index: a.Index, Kind: kind, Bridge: o.name(a.MasterIndex), Isolated: isolated[a.Index]})
		}
	}
	slices.SortFunc(o.state.Links, func(a, b netdrv.Link) int { return compareNames(a.Name, b.Name) })
	slices.SortFunc(o.state.Members, func(a, b netdrv.Member) int { return a.Index - b.Index })
}

// name returns the link's name, or "/" (not a valid name) if it was not in the dump.
func (o *observer) name(index int) string {
	if index == 0 {
		return ""
	}
	if l := o.links[index]; l != nil {
		return l.Attrs().Name
	}
	return "/"
}

func (o *observer) ourLink(l netlink.Link, spec, info []byte) {
	a := l.Attrs()
	network, _ := netdrv.ParseAlias(a.Alias)
	link := netdrv.Link{
		Network: network, Name: a.Name, Index: a.Index, Uplinks: netdrv.ParseUplinks(a.Alias), Kind: netdrv.Kind(l.Type()),
		MTU: a.MTU, Up: a.Flags&net.FlagUp != 0,
	}
	if l.Type() == "tuntap" {
		link.Kind, link.Master = netdrv.KindTap, o.name(a.MasterIndex)
		link.Carrier = a.RawFlags&unix.IFF_LOWER_UP != 0
		link.Owner = netdrv.NoOwner
		if owner := attribute(info, nl.IFLA_TUN_OWNER); len(owner) == 4 {
			link.Owner = binary.NativeEndian.Uint32(owner)
		}
		link.Group = uint32(number(info, nl.IFLA_TUN_GROUP))
		link.Persist = slices.Equal(attribute(info, nl.IFLA_TUN_PERSIST), []byte{1})
	}
	copy(link.MAC[:], a.HardwareAddr)
	if link.Kind == netdrv.KindBridge {
		link.FDBMaxLearned = -1
		if limit := attribute(info, unix.IFLA_BR_FDB_MAX_LEARNED); len(limit) == 4 {
			link.FDBMaxLearned = int(binary.NativeEndian.Uint32(limit))
		}
	}
	if mode, ok := directMode(l); ok {
		link.Mode, link.Parent = mode, o.name(a.ParentIndex)
	}
	o.state.Links = append(o.state.Links, link)
	if link.Kind != netdrv.KindBridge {
		return
	}
	for _, s := range linkSettings {
		o.state.Sysctls = append(o.state.Sysctls, netdrv.Sysctl{Network: network, Link: a.Name, Key: s.key(a.Name), Value: s.value(spec)})
	}
	for _, s := range neighbourSettings {
		key := s[0] + a.Name + s[1]
		value, err := o.sys.get(key)
		if err != nil {
			o.err = fmt.Errorf("read %s: %w", key, err)
		}
		o.state.Sysctls = append(o.state.Sysctls, netdrv.Sysctl{Network: network, Link: a.Name, Key: key, Value: value})
	}
}

func (o *observer) hostLink(l netlink.Link) {
	a := l.Attrs()
	h := netdrv.HostLink{
		Index: a.Index, Kind: l.Type(), Master: o.name(a.MasterIndex), Up: a.Flags&net.FlagUp != 0, MTU: a.MTU,
		Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	copy(h.MAC[:], a.HardwareAddr)
	if a.Flags&net.FlagLoopback != 0 {
		h.Kind = "loopback"
	}
	o.host.Links[a.Name] = h
}

func (o *observer) addr(a listedAddr) {
	l := o.links[a.link]
	if l == nil {
		return
	}
	name := l.Attrs().Name
	if ours(l) {
		network, _ := netdrv.ParseAlias(l.Attrs().Alias)
		o.state.Addrs = append(o.state.Addrs, netdrv.Addr{Network: network, Link: name, Prefix: a.prefix})
	}
	if ip := a.prefix.Addr(); (!ours(l) || built(l)) && !ip.IsLinkLocalUnicast() && !ip.IsLoopback() {
		o.host.Prefixes = append(o.host.Prefixes, netdrv.HostPrefix{Prefix: a.prefix, Link: name})
	}
}

// route takes down our routes, and the host's but for default routes, which
// cover everything, and what the kernel derives from addresses.
func (o *observer) route(r listedRoute) {
	l := o.links[r.link]
	if r.destination.Bits() == 0 {
		o.defaultRoute(l, r)
		return
	}
	a := r.destination.Addr()
	switch {
	case ours(l) && r.protocol == Protocol:
		o.ourRoute(l, r)
		return
	case r.protocol == unix.RTPROT_KERNEL, ours(l) && !built(l), a.IsLinkLocalUnicast(), a.IsMulticast(), a.IsLoopback():
		return
	}
	via := "(no link)"
	if l != nil {
		via = l.Attrs().Name
	}
	o.host.Prefixes = append(o.host.Prefixes, netdrv.HostPrefix{Prefix: r.destination, Link: via, Route: true})
}

func (o *observer) ourRoute(l netlink.Link, r listedRoute) {
	network, _ := netdrv.ParseAlias(l.Attrs().Alias)
	o.state.Routes = append(o.state.Routes, netdrv.LinkRoute{
		Network: network, Link: l.Attrs().Name, Destination: r.destination, Via: r.via, Metric: r.metric,
	})
}

func (o *observer) defaultRoute(l netlink.Link, r listedRoute) {
	if l == nil || ours(l) && !built(l) {
		return
	}
	name := l.Attrs().Name
	if !slices.Contains(o.host.DefaultLinks, name) {
		o.host.DefaultLinks = append(o.host.DefaultLinks, name)
	}
	f := o.host.Defaults[name]
	f.IPv4, f.IPv6 = f.IPv4 || r.family == unix.AF_INET, f.IPv6 || r.family == unix.AF_INET6
	o.host.Defaults[name] = f
}

func (o *observer) readHostSysctls() {
	for _, key := range hostSysctls {
		v, err := o.sys.get(key)
		if err != nil && o.err == nil {
			o.err = fmt.Errorf("read sysctl %s: %w", key, err)
		}
		o.state.Sysctls = append(o.state.Sysctls, netdrv.Sysctl{Key: key, Value: v})
	}
}

// Sysctls reads settings by their paths below /proc/sys; "" is one that this kernel or
// link does not have.
func (k *Kernel) Sysctls(keys []string) (map[string]string, error) {
	out := make(map[string]string, len(keys))
	for _, key := range keys {
		v, err := k.sys.get(key)
		if err != nil {
			return nil, fmt.Errorf("read sysctl %s: %w", key, err)
		}
		out[key] = v
	}
	return out, nil
}
