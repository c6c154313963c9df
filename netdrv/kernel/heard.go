package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// Heard lists the MACs that bridges have learned, whosever they are.
func (k *Kernel) Heard(ctx context.Context) ([]netdrv.Heard, error) {
	all, err := dump(ctx, func() ([]netlink.Neigh, error) { return k.nl.NeighList(0, unix.AF_BRIDGE) })
	if err != nil {
		return nil, fmt.Errorf("list what bridges have learned: %w", err)
	}
	var out []netdrv.Heard
	for _, n := range all {
		if n.State&netlink.NUD_PERMANENT == 0 && len(n.HardwareAddr) == 6 {
			out = append(out, netdrv.Heard{Index: n.LinkIndex, MAC: netdrv.MAC(n.HardwareAddr)})
		}
	}
	return out, nil
}

// WatchHeard opens a subscription and returns; the returned function calls wake
// after a bridge may have learned a MAC, until ctx ends. It tells as Watch does.
func (k *Kernel) WatchHeard() (run func(ctx context.Context, wake func()) error, err error) {
	c, err := mdnetlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink subscription: %w", err)
	}
	if err := c.JoinGroup(unix.RTNLGRP_NEIGH); err != nil {
		c.Close()
		return nil, fmt.Errorf("join rtnetlink group %d: %w", unix.RTNLGRP_NEIGH, err)
	}
	return func(ctx context.Context, wake func()) error { return hear(ctx, c, wake) }, nil
}

func hear(ctx context.Context, c *mdnetlink.Conn, wake func()) error {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		msgs, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			wake()
		case err != nil:
			return fmt.Errorf("read rtnetlink subscription: %w", err)
		}
		for _, m := range msgs {
			if m.Header.Type == unix.RTM_NEWNEIGH && len(m.Data) > 0 && m.Data[0] == unix.AF_BRIDGE {
				wake()
			}
		}
	}
}
