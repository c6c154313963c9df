package kernel

import (
	"context"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

func compareNames(a, b string) int { return strings.Compare(a, b) }

// macvlanModes are the kernel's for ours (if_link.h: enum macvlan_mode).
var macvlanModes = map[netdrv.DirectMode]netlink.MacvlanMode{
	netdrv.DirectBridge: netlink.MACVLAN_MODE_BRIDGE, netdrv.DirectVEPA: netlink.MACVLAN_MODE_VEPA,
	netdrv.DirectPrivate: netlink.MACVLAN_MODE_PRIVATE, netdrv.DirectPassthrough: netlink.MACVLAN_MODE_PASSTHRU,
}

// directMode returns how a macvlan or macvtap works; false for other links.
func directMode(l netlink.Link) (netdrv.DirectMode, bool) {
	var mode netlink.MacvlanMode
	switch l := l.(type) {
	case *netlink.Macvlan:
		mode = l.Mode
	case *netlink.Macvtap:
		mode = l.Mode
	default:
		return 0, false
	}
	for m, k := range macvlanModes {
		if k == mode {
			return m, true
		}
	}
	return 0, true
}

// newLink describes a link to the kernel.
func (k *Kernel) newLink(l netdrv.Link) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Group = l.Name, l.MTU, l.MAC[:], Group
	if l.Parent != "" {
		parent, err := k.nl.LinkByName(l.Parent)
		if err != nil {
			return nil, fmt.Errorf("uplink %s: %w", l.Parent, err)
		}
		attrs.ParentIndex = parent.Attrs().Index
	}
	switch l.Kind {
	case netdrv.KindBridge:
		// The kernel's defaults: STP is off, and with it the forward delay does not
		// count. The MTU is one off, so that setting it is a change: only then does
		// the bridge keep it when ports join (net/bridge/br_if.c: br_mtu_auto_adjust).
		attrs.MTU = l.MTU ^ 1
		return &netlink.Bridge{LinkAttrs: attrs}, nil
	case netdrv.KindMacvlan:
		return &netlink.Macvlan{LinkAttrs: attrs, Mode: macvlanModes[l.Mode]}, nil
	case netdrv.KindMacvtap:
		return &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: macvlanModes[l.Mode]}}, nil
	case netdrv.KindIfb:
		return &netlink.Ifb{LinkAttrs: attrs}, nil
	}
	return nil, fmt.Errorf("links of kind %q are not made here", l.Kind)
}

// ports lists the links in a bridge. The kernel does the sifting (IFLA_MASTER in
// a dump request, rtnetlink.c: link_dump_filtered).
func (k *Kernel) ports(ctx context.Context, bridge int) ([]netlink.Link, error) {
	return dumpLinks(ctx, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))))
}

// dumpLinks lists the links that an attribute sifts out.
func dumpLinks(ctx context.Context, sift *nl.RtAttr) ([]netlink.Link, error) {
	return dump(ctx, func() ([]netlink.Link, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(sift)
		msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		if err != nil {
			return nil, err
		}
		var out []netlink.Link
		for _, m := range msgs {
			l, err := netlink.LinkDeserialize(nil, m)
			if err != nil {
				return nil, err
			}
			out = append(out, l)
		}
		return out, nil
	})
}
