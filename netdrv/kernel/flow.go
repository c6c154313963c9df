package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// flowDel deletes tracked connections. A kernel that tracks none has nothing to
// delete, and one that went meanwhile is gone.
func (k *Kernel) flowDel(s netdrv.FlowDel) error {
	local, err := k.localAddrs()
	if err != nil {
		return err
	}
	ends := s.Stale(func(a netip.Addr) bool { return local[a] })
	type flow struct {
		family     byte
		attributes []byte
	}
	var stale []flow
	err = eachFlow(func(family byte, attributes []byte) error {
		if ends(flowOf(attributes)) {
			stale = append(stale, flow{family, bytes.Clone(attributes)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range stale {
		_, err := conntrack(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, f.family, f.attributes).Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("delete a tracked connection: %w", err)
		}
	}
	return nil
}

// FlowSources counts tracked connections by the address that began them. A kernel that
// tracks none has none.
func (k *Kernel) FlowSources() (map[netip.Addr]int, error) {
	out := map[netip.Addr]int{}
	return out, eachFlow(func(_ byte, attributes []byte) error {
		out[sourceOf(attributes)]++
		return nil
	})
}

// EndFlows deletes so many tracked connections of each source, whichever the kernel lists
// first, which is in no order.
func (k *Kernel) EndFlows(excess map[netip.Addr]int) error {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open ctnetlink: %w", err)
	}
	defer s.Close()
	sockets := map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s}}
	left := maps.Clone(excess)
	return eachFlow(func(family byte, attributes []byte) error {
		source := sourceOf(attributes)
		if left[source] <= 0 {
			return nil
		}
		left[source]--
		del := conntrack(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, family, attributes)
		del.Sockets = sockets
		if _, err := del.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("delete a tracked connection: %w", err)
		}
		return nil
	})
}

// eachFlow calls f with the attributes of each tracked connection until it fails.
func eachFlow(f func(family byte, attributes []byte) error) error {
	var failed error
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		dump := conntrack(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, family, nil)
		err := dump.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(m []byte) bool {
			if len(m) > nl.SizeofNfgenmsg {
				failed = f(family, m[nl.SizeofNfgenmsg:])
			}
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("list tracked connections: %w", err)
		}
	}
	return nil
}

func sourceOf(attributes []byte) netip.Addr {
	return endOf(attribute(attributes, nl.CTA_TUPLE_ORIG), nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT).Addr()
}

// conntrack makes a request to ctnetlink.
func conntrack(what, flags int, family byte, attributes []byte) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|what, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	req.AddRawData(attributes)
	return req
}

func (k *Kernel) localAddrs() (map[netip.Addr]bool, error) {
	addrs, err := k.addrs(context.Background(), 0)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := map[netip.Addr]bool{}
	for _, a := range addrs {
		out[a.prefix.Addr()] = true
	}
	return out, nil
}

// flowOf reads the attributes of a tracked connection, of whatever protocol: our library
// reads ports of TCP and UDP only, and connections of SCTP would outlive their forward.
func flowOf(attributes []byte) netdrv.Flow {
	begun, answers := attribute(attributes, nl.CTA_TUPLE_ORIG), attribute(attributes, nl.CTA_TUPLE_REPLY)
	f := netdrv.Flow{
		From: endOf(begun, nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT),
		To:   endOf(begun, nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, nl.CTA_PROTO_DST_PORT), Answers: endOf(answers, nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT),
	}
	if b := attribute(attribute(begun, nl.CTA_TUPLE_PROTO), nl.CTA_PROTO_NUM); len(b) == 1 {
		f.Protocol = netdrv.Protocol(b[0])
	}
	return f
}

// endOf is one end of a tuple. The port of a protocol without ports is 0.
func endOf(tuple []byte, ipv4, ipv6, port uint16) netip.AddrPort {
	ip := attribute(tuple, nl.CTA_TUPLE_IP)
	b := attribute(ip, ipv4)
	if b == nil {
		b = attribute(ip, ipv6)
	}
	a, _ := netip.AddrFromSlice(b)
	p := uint16(0)
	if b := attribute(attribute(tuple, nl.CTA_TUPLE_PROTO), port); len(b) == 2 {
		p = binary.BigEndian.Uint16(b)
	}
	return netip.AddrPortFrom(a, p)
}
