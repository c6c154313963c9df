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

// flowDel deletes tracked connections. A kernel that tracks none has nothing to
// delete, and one that went meanwhile is gone.
func (k *Kernel) flowDel(s netdrv.FlowDel) error {
	local, err := k.localAddrs()
	if err != nil {
		return err
	}
	stale := staleFlows(s.Stale(func(a netip.Addr) bool { return local[a] }))
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := k.nl.ConntrackDeleteFilters(netlink.ConntrackTable, family, stale)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("delete tracked connections: %w", err)
		}
	}
	return nil
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

// staleFlows is a filter as our library has it.
type staleFlows func(netdrv.Flow) bool

// MatchConntrackFlow says whether a flow ends.
func (f staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return f(netdrv.Flow{
		Protocol: netdrv.Protocol(flow.Forward.Protocol),
		From:     addrPort(flow.Forward.SrcIP, flow.Forward.SrcPort),
		To:       addrPort(flow.Forward.DstIP, flow.Forward.DstPort),
		Answers:  addrPort(flow.Reverse.SrcIP, flow.Reverse.SrcPort),
	})
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}
