package kernel

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/vnetd/vnetd/netdrv"
)

// Counters returns what has passed bridges and guests' links, by name. What a queue
// of ours drops counts where the guest would miss it.
func (k *Kernel) Counters(ctx context.Context) (map[string]netdrv.Counters, error) {
	links, err := dump(ctx, k.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	qdiscs, err := dump(ctx, func() ([]netlink.Qdisc, error) { return k.nl.QdiscList(nil) })
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	dropped := map[int]uint64{}
	for _, q := range qdiscs {
		if a := q.Attrs(); a.Handle == queueHandle && a.Statistics != nil && a.Statistics.Queue != nil {
			dropped[a.LinkIndex] = uint64(a.Statistics.Queue.Drops)
		}
	}
	held := map[string]uint64{}
	for _, l := range links {
		if l.Type() == string(netdrv.KindIfb) {
			held[l.Attrs().Name] = dropped[l.Attrs().Index]
		}
	}
	out := map[string]netdrv.Counters{}
	for _, l := range links {
		if s := l.Attrs().Statistics; s != nil && l.Type() != string(netdrv.KindIfb) {
			c := linkCounters(s)
			c.TxDrops += dropped[l.Attrs().Index]
			c.RxDrops += held[netdrv.IfbName(l.Attrs().Name)]
			out[l.Attrs().Name] = guestsView(l, c)
		}
	}
	return out, nil
}

func linkCounters(s *netlink.LinkStatistics) netdrv.Counters {
	return netdrv.Counters{
		RxBytes: s.RxBytes, RxPackets: s.RxPackets, RxDrops: s.RxDropped,
		TxBytes: s.TxBytes, TxPackets: s.TxPackets, TxDrops: s.TxDropped,
	}
}

// guestsView turns the host's view round: what it sends by a bridge or a port, the
// guest receives. A macvtap is the guest's own end.
func guestsView(l netlink.Link, c netdrv.Counters) netdrv.Counters {
	if l.Type() == string(netdrv.KindMacvtap) {
		return c
	}
	return c.Swapped()
}
