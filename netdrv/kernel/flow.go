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

// CountFlows counts tracked connections by the address that owners attribute them to. A
// kernel that tracks none has none.
func (k *Kernel) CountFlows(owners netdrv.FlowOwners) (map[netip.Addr]int, error) {
	out := map[netip.Addr]int{}
	return out, eachFlow(func(_ byte, attributes []byte) error {
		out[guestOf(owners, attributes)]++
		return nil
	})
}

// EndFlows deletes so many of the connections that CountFlows counts for each address:
// first such as were not answered, then whichever the kernel lists first, which is in no
// order.
func (k *Kernel) EndFlows(owners netdrv.FlowOwners, excess map[netip.Addr]int) error {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open ctnetlink: %w", err)
	}
	defer s.Close()
	// Many requests go in one message, and no answer is read: the next count shows what
	// was done.
	const full = 32 << 10
	var batch []byte
	flush := func() error {
		defer func() { batch = batch[:0] }()
		if err := unix.Sendto(s.GetFd(), batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("delete tracked connections: %w", err)
		}
		return nil
	}
	left := maps.Clone(excess)
	for _, any := range []bool{false, true} {
		err := eachFlow(func(family byte, attributes []byte) error {
			if !any && assured(attributes) {
				return nil
			}
			guest := guestOf(owners, attributes)
			if left[guest] == 0 {
				return nil
			}
			if left[guest]--; left[guest] == 0 {
				delete(left, guest)
			}
			batch = append(batch, conntrack(nl.IPCTNL_MSG_CT_DELETE, 0, family, attributes).Serialize()...)
			if len(batch) < full {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		if len(left) == 0 {
			break
		}
	}
	return nil
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

func guestOf(owners netdrv.FlowOwners, attributes []byte) netip.Addr {
	from := endOf(attribute(attributes, nl.CTA_TUPLE_ORIG), nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT).Addr()
	return owners.Guest(from, func() netip.Addr {
		return endOf(attribute(attributes, nl.CTA_TUPLE_REPLY), nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT).Addr()
	})
}

// assured reports whether a connection is in use in both directions (IPS_ASSURED).
func assured(attributes []byte) bool {
	const assured = 1 << 2
	status := attribute(attributes, nl.CTA_STATUS)
	return len(status) == 4 && binary.BigEndian.Uint32(status)&assured != 0
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
