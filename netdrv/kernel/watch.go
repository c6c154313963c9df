package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
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
// and an overflow is one too: the caller looks at everything.
//
// The subscription is open when Watch returns, so that a look that follows
// misses nothing. It belongs to the calling thread's network namespace.
func (k *Kernel) Watch() (run func(ctx context.Context, wake func()) error, err error) {
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
	w := watcher{conn: c, own: newOwnLinks(links), hostChanges: &k.hostChanges}
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
	hostChanges *atomic.Uint64
}

func (w *watcher) run(ctx context.Context, wake func()) error {
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
		wake()
	}
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
