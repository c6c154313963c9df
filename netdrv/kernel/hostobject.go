package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// What x/sys has no name for (linux/if_addr.h, linux/rtnetlink.h).
const (
	ifaProto        = 11
	ifaProtoKernel6 = 3 // IFAPROT_KERNEL_LL
	forever         = 0xffffffff
	// addrFlags are those that may be asked for; the kernel finds the others.
	addrFlags = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN
	userHZ    = 100
	rtaNHID   = 30
)

// object is a message of rtnetlink about an address, a route or a neighbour:
// its fixed part and its attributes.
type object struct {
	fixed []byte
	attrs []netlink.Attribute
}

func parseObject(data []byte, fixed int) (object, bool) {
	if len(data) < fixed {
		return object{}, false
	}
	attrs, err := netlink.UnmarshalAttributes(data[fixed:])
	return object{slices.Clone(data[:fixed]), attrs}, err == nil
}

func (o *object) bytes() []byte {
	b, err := netlink.MarshalAttributes(o.attrs)
	if err != nil {
		return nil // only for attributes above 64 KiB, which no message holds
	}
	return append(slices.Clone(o.fixed), b...)
}

func (o *object) get(t uint16) []byte {
	for _, a := range o.attrs {
		if a.Type == t {
			return a.Data
		}
	}
	return nil
}

func (o *object) number(t uint16) (uint32, bool) {
	b := o.get(t)
	if len(b) != 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(b), true
}

func (o *object) set(t uint16, data []byte) {
	o.drop(t)
	o.attrs = append(o.attrs, netlink.Attribute{Type: t, Data: data})
}

func (o *object) setNumber(t uint16, v uint32) {
	o.set(t, binary.NativeEndian.AppendUint32(nil, v))
}

func (o *object) drop(t uint16) {
	o.attrs = slices.DeleteFunc(slices.Clone(o.attrs), func(a netlink.Attribute) bool { return a.Type == t })
}

func (o *object) addr(t uint16) netip.Addr {
	a, _ := netip.AddrFromSlice(o.get(t))
	return a
}

// address is RTM_NEWADDR: family, prefix length, flags, scope, ifindex.
type address struct{ object }

const addressFixed = unix.SizeofIfAddrmsg

func (a *address) index() int     { return int(binary.NativeEndian.Uint32(a.fixed[4:])) }
func (a *address) is6() bool      { return a.fixed[0] == unix.AF_INET6 }
func (a *address) setIndex(i int) { binary.NativeEndian.PutUint32(a.fixed[4:], uint32(i)) }

func (a *address) flags() uint32 {
	if f, ok := a.number(unix.IFA_FLAGS); ok {
		return f
	}
	return uint32(a.fixed[2])
}

func (a *address) setFlags(f uint32) {
	a.fixed[2] = byte(f)
	a.setNumber(unix.IFA_FLAGS, f)
}

func (a *address) prefix() netip.Prefix {
	local := a.addr(unix.IFA_LOCAL)
	if !local.IsValid() {
		local = a.addr(unix.IFA_ADDRESS)
	}
	return netip.PrefixFrom(local, int(a.fixed[1]))
}

func (a *address) label() string { return strings.TrimRight(string(a.get(unix.IFA_LABEL)), "\x00") }

// lifetimes are in seconds, forever for no end.
func (a *address) lifetimes() (preferred, valid uint32) {
	c := a.get(unix.IFA_CACHEINFO)
	if len(c) < 8 {
		return forever, forever
	}
	return binary.NativeEndian.Uint32(c), binary.NativeEndian.Uint32(c[4:])
}

// kernels reports whether the kernel made the address of the link's own, and
// makes one on any other link.
func (a *address) isAutomatic(mac netdrv.MAC) bool {
	p := a.prefix()
	if !p.Addr().Is6() || !p.Addr().IsLinkLocalUnicast() {
		return false
	}
	proto := a.get(ifaProto)
	return len(proto) == 1 && proto[0] == ifaProtoKernel6 || p == mac.LinkLocal()
}

func (a *address) hostObject(link string) netdrv.HostObject {
	p, peer := a.prefix(), a.addr(unix.IFA_ADDRESS)
	h := netdrv.HostObject{Kind: netdrv.ObjectAddr, Link: link, Key: p.String(), Raw: string(a.bytes())}
	if peer.IsValid() && peer != p.Addr() {
		h.Key = p.Addr().String() + " peer " + netip.PrefixFrom(peer, p.Bits()).String()
	}
	h.Attributes = a.more(link)
	_, valid := a.lifetimes()
	proto := a.get(ifaProto)
	// 1 to 3 are the kernel's own protocols; it keeps those up by itself.
	h.Leased = valid != forever && (len(proto) == 0 || proto[0] == 0) && a.flags()&unix.IFA_F_TEMPORARY*b2u(a.is6()) == 0
	return h
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// more is what `ip addr add` would be told besides.
func (a *address) more(link string) string {
	var out []string
	if b := a.addr(unix.IFA_BROADCAST); b.IsValid() {
		out = append(out, "brd "+b.String())
	}
	if l := a.label(); l != "" && l != link {
		out = append(out, "label "+l)
	}
	if s := scopes[a.fixed[3]]; s != "" {
		out = append(out, "scope "+s)
	}
	if m, ok := a.number(unix.IFA_RT_PRIORITY); ok && m != 0 {
		out = append(out, fmt.Sprintf("metric %d", m))
	}
	if a.flags()&unix.IFA_F_NOPREFIXROUTE != 0 {
		out = append(out, "noprefixroute")
	}
	if preferred, valid := a.lifetimes(); valid != forever {
		out = append(out, fmt.Sprintf("valid_lft %dsec preferred_lft %dsec", valid, preferred))
	}
	return strings.Join(out, " ")
}

// onto makes the address another link's.
func (a *address) moveTo(from, to string, index int) {
	a.setIndex(index)
	a.setFlags(a.flags() & addrFlags)
	if rest, ok := strings.CutPrefix(a.label(), from); ok && (rest == "" || rest[0] == ':') && len(to+rest) < unix.IFNAMSIZ {
		a.set(unix.IFA_LABEL, append([]byte(to+rest), 0))
	}
}

// route is RTM_NEWROUTE: family, lengths, tos, table, protocol, scope, type,
// flags.
type hostRoute struct{ object }

const routeFixed = unix.SizeofRtMsg

func (r *hostRoute) is6() bool       { return r.fixed[0] == unix.AF_INET6 }
func (r *hostRoute) protocol() uint8 { return r.fixed[5] }
func (r *hostRoute) kind() uint8     { return r.fixed[7] }
func (r *hostRoute) cloned() bool {
	return binary.NativeEndian.Uint32(r.fixed[8:])&unix.RTM_F_CLONED != 0
}

func (r *hostRoute) table() uint32 {
	if t, ok := r.number(unix.RTA_TABLE); ok {
		return t
	}
	return uint32(r.fixed[4])
}

func (r *hostRoute) metric() uint32 { m, _ := r.number(unix.RTA_PRIORITY); return m }

func (r *hostRoute) destination() netip.Prefix {
	d := r.addr(unix.RTA_DST)
	if !d.IsValid() {
		d = netip.IPv4Unspecified()
		if r.is6() {
			d = netip.IPv6Unspecified()
		}
	}
	return netip.PrefixFrom(d, int(r.fixed[1]))
}

// expires is in seconds, 0 for never.
func (r *hostRoute) expires() uint32 {
	c := r.get(unix.RTA_CACHEINFO)
	if len(c) < 12 || !r.is6() {
		return 0
	}
	ticks := int32(binary.NativeEndian.Uint32(c[8:]))
	return uint32(max(0, ticks)) / userHZ
}

var (
	scopes    = map[byte]string{unix.RT_SCOPE_LINK: "link", unix.RT_SCOPE_HOST: "host", unix.RT_SCOPE_SITE: "site"}
	protocols = map[byte]string{unix.RTPROT_KERNEL: "kernel", unix.RTPROT_BOOT: "boot", unix.RTPROT_STATIC: "static", unix.RTPROT_RA: "ra", unix.RTPROT_DHCP: "dhcp"}
	types     = map[byte]string{
		unix.RTN_LOCAL: "local ", unix.RTN_BROADCAST: "broadcast ", unix.RTN_ANYCAST: "anycast ", unix.RTN_MULTICAST: "multicast ",
	}
)

// key is what ip(8) says of the route but for its link.
func (r *hostRoute) key() string {
	d := r.destination().String()
	if r.destination().Bits() == 0 {
		d = "default"
		if r.is6() {
			d = "::/0"
		}
	}
	out := []string{types[r.kind()] + d}
	if src := r.addr(unix.RTA_SRC); src.IsValid() {
		out = append(out, "from "+netip.PrefixFrom(src, int(r.fixed[2])).String())
	}
	if gw := r.addr(unix.RTA_GATEWAY); gw.IsValid() {
		out = append(out, "via "+gw.String())
	} else if via := r.get(unix.RTA_VIA); len(via) == 18 {
		out = append(out, "via inet6 "+netip.AddrFrom16([16]byte(via[2:])).String())
	}
	if t := r.table(); t != unix.RT_TABLE_MAIN {
		out = append(out, fmt.Sprintf("table %d", t))
	}
	if r.fixed[3] != 0 {
		out = append(out, fmt.Sprintf("tos %d", r.fixed[3]))
	}
	if p := r.protocol(); protocols[p] != "" {
		out = append(out, "proto "+protocols[p])
	} else {
		out = append(out, fmt.Sprintf("proto %d", p))
	}
	if s := scopes[r.fixed[6]]; s != "" && !r.is6() {
		out = append(out, "scope "+s)
	}
	if src := r.addr(unix.RTA_PREFSRC); src.IsValid() {
		out = append(out, "src "+src.String())
	}
	if m := r.metric(); m != 0 {
		out = append(out, fmt.Sprintf("metric %d", m))
	}
	return strings.Join(out, " ")
}

func (r *hostRoute) more() string {
	var out []string
	if binary.NativeEndian.Uint32(r.fixed[8:])&unix.RTNH_F_ONLINK != 0 {
		out = append(out, "onlink")
	}
	if attrs, err := netlink.UnmarshalAttributes(r.get(unix.RTA_METRICS)); err == nil {
		m := object{attrs: attrs}
		if mtu, ok := m.number(unix.RTAX_MTU); ok {
			out = append(out, fmt.Sprintf("mtu %d", mtu))
		}
	}
	if e := r.expires(); e > 0 {
		out = append(out, fmt.Sprintf("expires %d", e))
	}
	return strings.Join(out, " ")
}

func (r *hostRoute) immovable() string {
	switch {
	case r.get(rtaNHID) != nil:
		return "it uses a nexthop object (ip nexthop); give it its gateway directly"
	case r.get(unix.RTA_MULTIPATH) != nil:
		return "it is a multipath route; replace it by routes of different metrics"
	}
	return ""
}

func (r *hostRoute) hostObject(link string) netdrv.HostObject {
	return netdrv.HostObject{Kind: netdrv.ObjectRoute, Link: link, Key: r.key(), Attributes: r.more(), Raw: string(r.bytes()), Immovable: r.immovable()}
}

// placeholder returns the route that replaces a learned one until the kernel learns it
// again: of our protocol, and with a metric higher by one. The kernel would mistake one of
// its own protocol that it has not made (net/ipv6/ndisc.c: ndisc_router_discovery).
func (r *hostRoute) placeholder() hostRoute {
	g := hostRoute{object{slices.Clone(r.fixed), slices.Clone(r.attrs)}}
	g.fixed[5] = Protocol
	g.setNumber(unix.RTA_PRIORITY, r.metric()+1)
	return g
}

// onto makes the route another link's.
func (r *hostRoute) moveTo(index int) {
	if e := r.expires(); e > 0 {
		const rtaExpires = 23
		r.setNumber(rtaExpires, e)
	}
	r.drop(unix.RTA_CACHEINFO)
	r.setNumber(unix.RTA_OIF, uint32(index))
	binary.NativeEndian.PutUint32(r.fixed[8:], binary.NativeEndian.Uint32(r.fixed[8:])&unix.RTNH_F_ONLINK)
}

// neighbour is RTM_NEWNEIGH: family, ifindex, state, flags, type.
type neighbour struct{ object }

const neighbourFixed = unix.SizeofNdMsg

func (n *neighbour) state() uint16 { return binary.NativeEndian.Uint16(n.fixed[8:]) }

// known reports whether the neighbour's link address is worth taking along.
func (n *neighbour) known() bool {
	const valid = unix.NUD_PERMANENT | unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE
	return n.state()&valid != 0 && len(n.get(unix.NDA_LLADDR)) == 6
}

func (n *neighbour) hostObject(link string) netdrv.HostObject {
	key := fmt.Sprintf("%s lladdr %s", n.addr(unix.NDA_DST), netdrv.MAC(n.get(unix.NDA_LLADDR)))
	if n.state()&unix.NUD_PERMANENT == 0 {
		key += " nud stale"
	}
	return netdrv.HostObject{Kind: netdrv.ObjectNeighbour, Link: link, Key: key, Raw: string(n.bytes())}
}

// onto makes the neighbour another link's, to be asked for when it is used.
func (n *neighbour) moveTo(index int) {
	binary.NativeEndian.PutUint32(n.fixed[4:], uint32(index))
	if n.state()&unix.NUD_PERMANENT == 0 {
		binary.NativeEndian.PutUint16(n.fixed[8:], unix.NUD_STALE)
	}
	n.drop(unix.NDA_CACHEINFO)
	n.drop(unix.NDA_PROBES)
}
