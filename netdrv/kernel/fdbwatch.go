package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// fdbInterval spaces the reading of what bridges learn: a guest that invents MACs has
// the kernel tell of each, and what finds no room meanwhile is one overflow.
const fdbInterval = 10 * time.Millisecond

// lostEntries is how many new entries lost notifications count as.
const lostEntries = 1 << 14

// FDBGrowth grows with each entry that a bridge's forwarding database gets or changes while
// WatchFDB runs, and by more than that when notifications were lost.
func (k *Kernel) FDBGrowth() uint64 { return k.fdbGrowth.Load() }

// SetLearning has a port's bridge learn MACs behind it, or forget those and learn none: what is
// sent to them then goes to all ports. A link that is gone, or no port any more, is no error.
func (k *Kernel) SetLearning(port int, learn bool) error {
	attr := func(kind uint16, data ...byte) mdnetlink.Attribute {
		return mdnetlink.Attribute{Type: kind, Data: data}
	}
	options := []mdnetlink.Attribute{attr(unix.IFLA_BRPORT_LEARNING, 1)}
	if !learn {
		options = []mdnetlink.Attribute{attr(unix.IFLA_BRPORT_LEARNING, 0), attr(unix.IFLA_BRPORT_FLUSH)}
	}
	b, err := mdnetlink.MarshalAttributes(options)
	if err == nil {
		b, err = mdnetlink.MarshalAttributes([]mdnetlink.Attribute{attr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, b...)})
	}
	if err != nil {
		return err
	}
	info := make([]byte, unix.SizeofIfInfomsg)
	info[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(info[4:], uint32(port))
	if err := ask(unix.RTM_SETLINK, 0, append(info, b...), unix.ENODEV, unix.EOPNOTSUPP); err != nil {
		return fmt.Errorf("set learning of port %d: %w", port, err)
	}
	return nil
}

// FDBEntries returns the MACs that bridges have learned behind their ports. An entry that
// does not age is a port's own address.
func (k *Kernel) FDBEntries(ctx context.Context) ([]netdrv.FDBEntry, error) {
	all, err := dump(ctx, func() ([]netlink.Neigh, error) { return k.nl.NeighList(0, unix.AF_BRIDGE) })
	if err != nil {
		return nil, fmt.Errorf("list what bridges have learned: %w", err)
	}
	var out []netdrv.FDBEntry
	for _, n := range all {
		if n.MasterIndex != 0 && n.State&unix.NUD_PERMANENT == 0 && len(n.HardwareAddr) == len(netdrv.MAC{}) {
			out = append(out, netdrv.FDBEntry{Index: n.LinkIndex, MAC: netdrv.MAC(n.HardwareAddr)})
		}
	}
	return out, nil
}

// WatchFDB opens a subscription and returns; the returned function calls wake
// after a bridge may have learned a MAC, with "", and after a link may have joined
// a bridge of ours, with the bridge's name, until ctx ends. It tells as Watch does.
func (k *Kernel) WatchFDB() (run func(ctx context.Context, wake func(bridge string)) error, err error) {
	sub, err := subscribe(k.log, unix.RTNLGRP_NEIGH, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, err
	}
	if _, err := k.LearnedMACs(context.Background()); err != nil { // from before the subscription
		sub.conn.Close()
		return nil, err
	}
	return func(ctx context.Context, wake func(string)) error {
		sub.run(ctx, func(msgs []mdnetlink.Message, lost bool) {
			if lost {
				k.fdbGrowth.Add(lostEntries)
				if _, err := k.LearnedMACs(ctx); err != nil {
					k.log.Debug("reading the forwarding databases failed", "err", err)
				}
				wake("")
			}
			learned := false
			for _, m := range msgs {
				k.memory.note(m)
				if bridge, ok := k.fdbChange(m); ok {
					if bridge == "" {
						learned = true
						k.fdbGrowth.Add(1)
					}
					wake(bridge)
				}
			}
			if learned {
				time.Sleep(fdbInterval)
			}
		})
		return nil
	}, nil
}

// fdbChange reports whether a message is about a bridge's port or what it has learned.
func (k *Kernel) fdbChange(m mdnetlink.Message) (bridge string, ok bool) {
	switch {
	case len(m.Data) < unix.SizeofNdMsg || m.Data[0] != unix.AF_BRIDGE:
	case m.Header.Type == unix.RTM_NEWNEIGH:
		return "", true
	case m.Header.Type == unix.RTM_NEWLINK && len(m.Data) > unix.SizeofIfInfomsg:
		index := seek(m.Data[unix.SizeofIfInfomsg:], unix.IFLA_MASTER)
		if len(index) != 4 {
			return "", false
		}
		l, err := k.nl.LinkByIndex(int(binary.NativeEndian.Uint32(index)))
		if err == nil && ours(l) {
			return l.Attrs().Name, true
		}
	}
	return "", false
}
