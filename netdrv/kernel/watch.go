package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// watchGroups are the rtnetlink groups that announce changes of what vnetd manages.
var watchGroups = []uint32{
	unix.RTNLGRP_LINK, unix.RTNLGRP_TC,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
}

// Watch opens a subscription and returns; the returned function calls wake
// after anything may have changed, until ctx ends. A wake-up carries no data,
// and an overflow is one too: the caller looks at everything. Only where the MAC
// address of a guest's link changed while it was in use, which takes effect on others at
// once, does it carry the link's network.
//
// The subscription is open when Watch returns, so that a look that follows
// misses nothing. It belongs to the calling thread's network namespace.
func (k *Kernel) Watch() (run func(ctx context.Context, wake func(network string)) error, err error) {
	sub, err := subscribe(k.log, watchGroups...)
	if err != nil {
		return nil, err
	}
	links, err := dump(context.Background(), k.nl.LinkList)
	if err != nil {
		sub.conn.Close()
		return nil, fmt.Errorf("list links: %w", err)
	}
	w := watcher{own: newOwnLinks(links), macs: map[uint32]netdrv.MAC{}}
	return func(ctx context.Context, wake func(network string)) error {
		sub.run(ctx, func(msgs []netlink.Message, lost bool) {
			// Each message counts, for each may be about a link of ours.
			changed := lost
			for _, m := range msgs {
				changed = w.own.hosts(m) || changed
			}
			if changed {
				k.hostChanges.Add(1)
			}
			for _, m := range msgs {
				if network := w.changedMAC(m); network != "" {
					wake(network)
				}
			}
			wake("")
		})
		return nil
	}, nil
}

// HostChanges counts the notifications, since Watch, about links, addresses and
// routes that are not ours: while it stays the same, so does the Host that Observe
// returns. An overflow of notifications counts, too.
func (k *Kernel) HostChanges() uint64 { return k.hostChanges.Load() }

// watcher is the state of one subscription.
type watcher struct {
	own  ownLinks
	macs map[uint32]netdrv.MAC // of guests' links of ours that are in use, by index
}

// changedMAC returns the network of a guest's link of ours if a notification has
// another MAC address than before for it, while it was in a bridge or is a macvtap.
func (w *watcher) changedMAC(m netlink.Message) (network string) {
	if len(m.Data) < linkHeader || m.Data[0] == unix.AF_BRIDGE {
		return ""
	}
	index := binary.NativeEndian.Uint32(m.Data[4:])
	if m.Header.Type == unix.RTM_DELLINK {
		delete(w.macs, index)
	}
	if m.Header.Type != unix.RTM_NEWLINK || !w.own[index] {
		return ""
	}
	attrs := m.Data[linkHeader:]
	kind := string(bytes.TrimRight(seek(attrs, unix.IFLA_LINKINFO, nl.IFLA_INFO_KIND), "\x00"))
	if kind != "macvtap" && (kind != "tun" || attribute(attrs, unix.IFLA_MASTER) == nil) {
		return ""
	}
	var mac netdrv.MAC
	copy(mac[:], attribute(attrs, unix.IFLA_ADDRESS))
	was, known := w.macs[index]
	if w.macs[index] = mac; known && was != mac {
		network, _ = netdrv.ParseAlias(string(bytes.TrimRight(attribute(attrs, unix.IFLA_IFALIAS), "\x00")))
	}
	return network
}
