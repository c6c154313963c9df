package kernel

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// listedAddr and listedRoute are what is looked at of an address and of a route. They
// are read here and not by the library, which lists those of all links to find those
// of one: a network more would cost more the more there are.
type listedAddr struct {
	link   int
	prefix netip.Prefix
}

type listedRoute struct {
	link        int // 0 for several, or for none
	family      byte
	protocol    byte
	destination netip.Prefix
	via         netip.Addr
	metric      int
}

// addrs lists the addresses of a link; of all links if it is 0.
func (k *Kernel) addrs(ctx context.Context, link int) ([]listedAddr, error) {
	header := make([]byte, unix.SizeofIfAddrmsg)
	binary.NativeEndian.PutUint32(header[4:], uint32(link))
	return dump(ctx, func() ([]listedAddr, error) {
		msgs, err := k.execute(unix.RTM_GETADDR, unix.NLM_F_DUMP, unix.RTM_NEWADDR, raw(header))
		out := make([]listedAddr, 0, len(msgs))
		for _, m := range msgs {
			if a, ok := readAddr(m); ok && (link == 0 || a.link == link) {
				out = append(out, a)
			}
		}
		return out, err
	})
}

func readAddr(m []byte) (listedAddr, bool) {
	if len(m) < unix.SizeofIfAddrmsg {
		return listedAddr{}, false
	}
	attrs := m[unix.SizeofIfAddrmsg:]
	local := attribute(attrs, unix.IFA_LOCAL)
	if local == nil {
		local = attribute(attrs, unix.IFA_ADDRESS)
	}
	a, ok := netip.AddrFromSlice(local)
	return listedAddr{int(binary.NativeEndian.Uint32(m[4:])), netip.PrefixFrom(a, int(m[1]))}, ok
}

// routes lists the routes of all tables, by metric; of one link those that we made,
// of all if it is 0.
func (k *Kernel) routes(ctx context.Context, link int) ([]listedRoute, error) {
	var out []listedRoute
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		routes, err := dump(ctx, func() ([]listedRoute, error) { return k.routesOf(family, link) })
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, err // but for a family that this kernel has no routes of
		}
		out = append(out, routes...)
	}
	slices.SortStableFunc(out, func(a, b listedRoute) int { return cmp.Compare(a.metric, b.metric) })
	return out, nil
}

func (k *Kernel) routesOf(family byte, link int) ([]listedRoute, error) {
	header := make([]byte, unix.SizeofRtMsg)
	header[0] = family
	query := []nl.NetlinkRequestData{raw(header)}
	if link != 0 {
		header[5] = Protocol
		query = append(query, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(link))))
	}
	msgs, err := k.execute(unix.RTM_GETROUTE, unix.NLM_F_DUMP, unix.RTM_NEWROUTE, query...)
	out := make([]listedRoute, 0, len(msgs))
	for _, m := range msgs {
		if r, ok := readRoute(m); ok && r.family == family && (link == 0 || r.link == link && r.protocol == Protocol) {
			out = append(out, r)
		}
	}
	return out, err
}

// readRoute leaves out what the kernel derives from routes as it goes.
func readRoute(m []byte) (listedRoute, bool) {
	if len(m) < unix.SizeofRtMsg || binary.NativeEndian.Uint32(m[8:])&unix.RTM_F_CLONED != 0 {
		return listedRoute{}, false
	}
	attrs := m[unix.SizeofRtMsg:]
	via, _ := netip.AddrFromSlice(attribute(attrs, unix.RTA_GATEWAY))
	destination, ok := netip.AddrFromSlice(attribute(attrs, unix.RTA_DST))
	if !ok && m[0] == unix.AF_INET {
		destination = netip.IPv4Unspecified()
	} else if !ok {
		destination = netip.IPv6Unspecified()
	}
	return listedRoute{
		link: number(attrs, unix.RTA_OIF), family: m[0], protocol: m[5],
		destination: netip.PrefixFrom(destination, int(m[1])), via: via, metric: number(attrs, unix.RTA_PRIORITY),
	}, true
}

func number(attrs []byte, typ uint16) int {
	b := attribute(attrs, typ)
	if len(b) != 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(b))
}

// execute asks the kernel, which leaves out of a dump what the query does, if it is
// Linux 4.20 or later.
func (k *Kernel) execute(what, flags int, answer uint16, query ...nl.NetlinkRequestData) ([][]byte, error) {
	req := nl.NewNetlinkRequest(what, flags)
	req.Sockets = k.sockets
	for _, q := range query {
		req.AddData(q)
	}
	return req.Execute(unix.NETLINK_ROUTE, answer)
}

// raw is a part of a request as it is sent.
type raw []byte

func (r raw) Len() int          { return len(r) }
func (r raw) Serialize() []byte { return r }
