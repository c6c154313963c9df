package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
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
	case netdrv.LinkDel:
		return k.linkDel(s.Name)
	case netdrv.AddrAdd:
		return k.withOurs(s.Addr.Link, func(l netlink.Link) error { return k.nl.AddrReplace(l, addr(s.Addr.Prefix)) })
	case netdrv.AddrDel:
		return k.addrDel(s.Addr)
	case netdrv.SysctlSet:
		return k.sys.set(s.Sysctl.Key, s.Sysctl.Value)
	}
	panic(fmt.Sprintf("kernel: unknown step %T", s))
}

// linkAdd relies on the kernel's defaults for a new bridge: STP is off, and
// with it the forward delay does not count.
func (k *Kernel) linkAdd(l netdrv.Link) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Group = l.Name, l.MTU, l.MAC[:], Group
	err := k.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if errors.Is(err, unix.EEXIST) {
		// Ours from a round that was cut short, or an error from withOurs.
		err = nil
	}
	if err != nil {
		return err
	}
	return k.withOurs(l.Name, func(link netlink.Link) error {
		return k.nl.LinkSetAlias(link, netdrv.Alias(l.Network))
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
		if s.Link.Network != s.Have.Network {
			return k.nl.LinkSetAlias(link, netdrv.Alias(s.Link.Network))
		}
		return nil
	})
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

// withOurs runs f on a link by name, and refuses one that is not ours: between
// the look and the step somebody may have made another of the same name.
func (k *Kernel) withOurs(name string, f func(netlink.Link) error) error {
	l, err := k.nl.LinkByName(name)
	if _, missing := err.(netlink.LinkNotFoundError); missing {
		return unix.ENODEV
	}
	if err != nil {
		return err
	}
	if !ours(l) {
		return fmt.Errorf("%s exists already and is not vnetd's", name)
	}
	return f(l)
}

// addr is p as the kernel wants it: without duplicate address detection, which
// never ends on a bridge that has no ports.
func addr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
		return a
	}
	if p.Bits() < 31 {
		a.Broadcast = netdrv.Broadcast(p).AsSlice()
	}
	return a
}
