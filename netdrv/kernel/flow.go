package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		var stale [][]byte
		dump := conntrack(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, family, nil)
		err := dump.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(m []byte) bool {
			if len(m) > nl.SizeofNfgenmsg && ends(flowOf(m[nl.SizeofNfgenmsg:])) {
				stale = append(stale, bytes.Clone(m[nl.SizeofNfgenmsg:]))
			}
			return true
		})
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("list tracked connections: %w", err)
		}
		for _, flow := range stale {
			_, err := conntrack(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, family, flow).Execute(unix.NETLINK_NETFILTER, 0)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("delete a tracked connection: %w", err)
			}
		}
	}
	return nil
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
