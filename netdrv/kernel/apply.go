package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// Apply makes one change. Applying what is already so is no error; an error
// names the step.
func (k *Kernel) Apply(_ context.Context, s netdrv.Step) error {
	if err := k.apply(s); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

func (k *Kernel) apply(s netdrv.Step) error {
	switch s := s.(type) {
	case netdrv.LinkAdd:
		return k.linkAdd(s.Link)
	case netdrv.LinkSet:
		return k.linkSet(s)
	case netdrv.LinkUp:
		return k.withOurs(s.Name, k.nl.LinkSetUp)
	case netdrv.LinkDown:
		return k.withOurs(s.Name, k.nl.LinkSetDown)
	case netdrv.LinkDel:
		return k.linkDel(s.Name)
	case netdrv.AddrAdd:
		return k.withOurs(s.Addr.Link, func(l netlink.Link) error { return k.nl.AddrReplace(l, addr(s.Addr.Prefix)) })
	case netdrv.AddrDel:
		return k.addrDel(s.Addr)
	case netdrv.RouteAdd:
		return k.withOurs(s.Route.Link, func(l netlink.Link) error { return k.nl.RouteReplace(route(s.Route, l)) })
	case netdrv.RouteDel:
		return k.routeDel(s.Route)
	case netdrv.MemberAdd:
		return k.memberAdd(s.Member)
	case netdrv.MemberDel:
		return k.memberDel(s.Member)
	case netdrv.MemberSet:
		return k.memberSet(s.Member)
	case netdrv.QueueSet:
		return k.queueSet(s)
	case netdrv.QueueDel:
		return k.queueDel(s.Link)
	case netdrv.RedirectAdd:
		return k.redirectAdd(s.Redirect)
	case netdrv.RedirectDel:
		return k.redirectDel(s.Link)
	case netdrv.SysctlSet:
		return k.sys.set(s.Sysctl.Key, s.Sysctl.Value)
	case netdrv.FlowDel:
		return k.flowDel(s)
	case netdrv.PlaceholderDel:
		return k.placeholderDel(s.Route)
	case netdrv.UplinkAdd:
		return k.uplinkAdd(s)
	case netdrv.UplinkUp:
		return k.uplinkUp(s)
	case netdrv.UplinkDel:
		return k.uplinkDel(s)
	case netdrv.ObjectAdd:
		return k.objectAdd(s)
	case netdrv.ObjectDel:
		return k.objectDel(s.Object)
	}
	panic(fmt.Sprintf("kernel: unknown step %T", s))
}

func (k *Kernel) linkAdd(l netdrv.Link) error {
	if l.Kind == netdrv.KindTap {
		return k.tapAdd(l)
	}
	link, err := k.newLink(l)
	if err != nil {
		return err
	}
	err = k.nl.LinkAdd(link)
	if errors.Is(err, unix.EEXIST) {
		// Ours from a round that was cut short, or an error from withOurs.
		err = nil
	}
	if err != nil {
		return err
	}
	return k.withOurs(l.Name, func(link netlink.Link) error {
		if owner, ok := netdrv.ParseAlias(link.Attrs().Alias); ok && owner != l.Network {
			return fmt.Errorf("%s exists already and belongs to network %s", l.Name, owner)
		}
		if l.Kind == netdrv.KindBridge {
			if err := k.nl.LinkSetMTU(link, l.MTU); err != nil {
				return err
			}
			if err := k.setFDBMaxLearned(link.Attrs().Index, l.FDBMaxLearned); err != nil {
				return err
			}
		}
		return k.nl.LinkSetAlias(link, l.Alias())
	})
}

func (k *Kernel) linkSet(s netdrv.LinkSet) error {
	return k.withOurs(s.Link.Name, func(link netlink.Link) error {
		if s.Link.MAC != s.Have.MAC {
			if err := k.nl.LinkSetHardwareAddr(link, s.Link.MAC[:]); err != nil {
				return err
			}
		}
		if s.Link.MTU != s.Have.MTU {
			if err := k.nl.LinkSetMTU(link, s.Link.MTU); err != nil {
				return err
			}
		}
		if s.Link.FDBMaxLearned != s.Have.FDBMaxLearned {
			if err := k.setFDBMaxLearned(link.Attrs().Index, s.Link.FDBMaxLearned); err != nil {
				return err
			}
		}
		if s.Link.Alias() != s.Have.Alias() {
			if err := k.nl.LinkSetAlias(link, s.Link.Alias()); err != nil {
				return err
			}
		}
		if s.Link.Master != s.Have.Master {
			return k.setMaster(link, s.Link.Master)
		}
		return nil
	})
}

// setFDBMaxLearned limits how many MACs a bridge learns. A kernel that knows no limit
// ignores it.
func (k *Kernel) setFDBMaxLearned(bridge, limit int) error {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(bridge)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(unix.IFLA_BR_FDB_MAX_LEARNED, nl.Uint32Attr(uint32(limit)))
	_, err := k.execute(unix.RTM_NEWLINK, unix.NLM_F_ACK, 0, header, info)
	return err
}

// setMaster puts a link of ours into a bridge, which may be the host's.
func (k *Kernel) setMaster(l netlink.Link, bridge string) error {
	if bridge == "" {
		return k.nl.LinkSetNoMaster(l)
	}
	master, err := k.nl.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	if err := k.nl.LinkSetMaster(l, master); err != nil {
		return err
	}
	k.retryNeighbours(l.Attrs().Index, master.Attrs().Index)
	return nil
}

func (k *Kernel) linkDel(name string) error {
	err := k.withOurs(name, k.nl.LinkDel)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func (k *Kernel) addrDel(a netdrv.Addr) error {
	err := k.withOurs(a.Link, func(l netlink.Link) error { return k.nl.AddrDel(l, addr(a.Prefix)) })
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func (k *Kernel) routeDel(r netdrv.LinkRoute) error {
	err := k.withOurs(r.Link, func(l netlink.Link) error { return k.nl.RouteDel(route(r, l)) })
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func route(r netdrv.LinkRoute, l netlink.Link) *netlink.Route {
	out := &netlink.Route{
		LinkIndex: l.Attrs().Index, Dst: ipNet(r.Destination), Gw: r.Via.AsSlice(), Priority: r.Metric, Protocol: Protocol,
	}
	if !r.Via.IsValid() {
		out.Scope = netlink.SCOPE_LINK
	}
	return out
}

// memberAdd puts a guest's link into a bridge of ours. It is found by its index,
// and may have got another name since; one that is gone is no error.
func (k *Kernel) memberAdd(m netdrv.Member) error {
	link, err := k.nl.LinkByIndex(m.Index)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return k.withOurs(m.Bridge, func(bridge netlink.Link) error {
		if err := k.nl.LinkSetMaster(link, bridge); err != nil {
			return err
		}
		k.retryNeighbours(m.Index, bridge.Attrs().Index)
		return nil
	})
}

// memberSet sets what a bridge of ours does with a guest's link.
func (k *Kernel) memberSet(m netdrv.Member) error {
	link, err := k.nl.LinkByIndex(m.Index)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return k.withOurs(m.Bridge, func(bridge netlink.Link) error {
		if link.Attrs().MasterIndex != bridge.Attrs().Index {
			return nil // it went elsewhere meanwhile
		}
		return k.nl.LinkSetIsolated(link, m.Isolated)
	})
}

// memberDel takes a guest's link out of a bridge, if it is one of ours.
func (k *Kernel) memberDel(m netdrv.Member) error {
	link, err := k.nl.LinkByIndex(m.Index)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	bridge, err := k.nl.LinkByIndex(link.Attrs().MasterIndex)
	if missing(err) || err == nil && !ours(bridge) {
		return nil
	}
	if err != nil {
		return err
	}
	return k.nl.LinkSetNoMaster(link)
}

// withOurs runs f on a link by name, and refuses one that is not ours, or that has it
// as an alternative name only: between the look and the step another link of that name
// may have been created.
func (k *Kernel) withOurs(name string, f func(netlink.Link) error) error {
	l, err := k.nl.LinkByName(name)
	if missing(err) {
		return unix.ENODEV
	}
	if err != nil {
		return err
	}
	switch {
	case l.Attrs().Name != name:
		return fmt.Errorf("%s is an alternative name of link %s", name, l.Attrs().Name)
	case !ours(l):
		return fmt.Errorf("%s exists already and is not vnetd's", name)
	}
	return f(l)
}

// addr is p as the kernel wants it: without duplicate address detection, which
// never ends on a bridge that has no ports.
func addr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
		return a
	}
	if p.Bits() < 31 {
		a.Broadcast = netdrv.Broadcast(p).AsSlice()
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
