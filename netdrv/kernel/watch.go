package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// watchGroups say what may undo our work.
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
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink subscription: %w", err)
	}
	for _, g := range watchGroups {
		if err := c.JoinGroup(g); err != nil {
			c.Close()
			return nil, fmt.Errorf("join rtnetlink group %d: %w", g, err)
		}
	}
	if err := c.SetReadBuffer(4 << 20); err != nil {
		k.log.Debug("rtnetlink buffer stays small", "err", err)
	}
	links, err := dump(context.Background(), k.nl.LinkList)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("list links: %w", err)
	}
	w := watcher{conn: c, own: newOwnLinks(links), macs: map[uint32]netdrv.MAC{}, hostChanges: &k.hostChanges}
	return w.run, nil
}

// HostChanges counts the notifications, since Watch, about links, addresses and
// routes that are not ours: while it stays the same, so does the Host that Observe
// returns. An overflow of notifications counts, too.
func (k *Kernel) HostChanges() uint64 { return k.hostChanges.Load() }

// watcher reads one subscription.
type watcher struct {
	conn        *netlink.Conn
	own         ownLinks
	macs        map[uint32]netdrv.MAC // of guests' links of ours that are in use, by index
	hostChanges *atomic.Uint64
}

func (w *watcher) run(ctx context.Context, wake func(network string)) error {
	c := w.conn
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		msgs, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("read rtnetlink subscription: %w", err)
		}
		w.count(msgs, err != nil)
		for _, m := range msgs {
			if network := w.changedMAC(m); network != "" {
				wake(network)
			}
		}
		wake("")
	}
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

// count looks at all messages, for each may tell of a link of ours.
func (w *watcher) count(msgs []netlink.Message, lost bool) {
	hosts := lost
	for _, m := range msgs {
		hosts = w.own.hosts(m) || hosts
	}
	if hosts {
		w.hostChanges.Add(1)
	}
}
