package kernel

import (
	"context"
	"encoding/binary"
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

// listed is a link as the kernel lists it.
type listed struct {
	netlink.Link
	// isolated: as the port of a bridge (bridge(8)).
	isolated bool
	// spec is its IFLA_AF_SPEC: what each address family says of it.
	spec []byte
	// info is its IFLA_INFO_DATA: what is of its kind.
	info []byte
}

// skipStats asks for links without their counters, which are most of what the
// kernel says of one (rtnetlink.h: RTEXT_FILTER_SKIP_STATS).
const skipStats = 1 << 3

// ports lists the links in a bridge. The kernel does the sifting (IFLA_MASTER in
// a dump request, rtnetlink.c: link_dump_filtered).
func (k *Kernel) ports(ctx context.Context, bridge int) ([]listed, error) {
	return k.list(ctx, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))))
}

// list lists links, of all those that the filter lets through.
func (k *Kernel) list(ctx context.Context, filter ...*nl.RtAttr) ([]listed, error) {
	return dump(ctx, func() ([]listed, error) { return k.links(unix.NLM_F_DUMP, filter...) })
}

// link looks up one link by name.
func (k *Kernel) link(name string) (listed, error) {
	links, err := k.links(unix.NLM_F_ACK, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if err == nil && len(links) == 0 {
		err = unix.ENODEV
	}
	if err != nil {
		return listed{}, err
	}
	return links[0], nil
}

func (k *Kernel) links(flags int, which ...*nl.RtAttr) ([]listed, error) {
	query := []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC), nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats))}
	for _, w := range which {
		query = append(query, w)
	}
	msgs, err := k.execute(unix.RTM_GETLINK, flags, unix.RTM_NEWLINK, query...)
	if err != nil {
		return nil, err
	}
	out := make([]listed, 0, len(msgs))
	for _, m := range msgs {
		l, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return nil, err
		}
		attrs := m[unix.SizeofIfInfomsg:]
		flag := seek(attrs, unix.IFLA_LINKINFO, nl.IFLA_INFO_SLAVE_DATA, nl.IFLA_BRPORT_ISOLATED)
		out = append(out, listed{Link: l, isolated: len(flag) == 1 && flag[0] == 1, spec: seek(attrs, unix.IFLA_AF_SPEC), info: seek(attrs, unix.IFLA_LINKINFO, nl.IFLA_INFO_DATA)})
	}
	return out, nil
}

// seek follows a path of nested attributes and returns the value at its end, or
// nil.
func seek(b []byte, path ...uint16) []byte {
	for _, typ := range path {
		b = attribute(b, typ)
	}
	return b
}

// attribute returns the value of the first attribute of a type, or nil.
func attribute(b []byte, typ uint16) []byte {
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK == typ {
			return b[unix.SizeofRtAttr:length]
		}
		b = b[min(nlaAligned(length), len(b)):]
	}
	return nil
}

func nlaAligned(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
