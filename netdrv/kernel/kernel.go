// Package kernel makes the pictures of package netdrv true with rtnetlink and
// /proc/sys: it observes what is there, applies one step at a time, and says
// when something may have changed. It has no opinion about networks.
//
// A link is ours if it is in our link group, which the kernel sets in the same
// message that makes the link. The alias, which people see and which names the
// network, follows in a second message: the kernel drops one that is asked for
// at creation. A crash between the two is healed by the next round.
//
// A Kernel belongs to the network namespace of the thread that called Open.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Group is the link group (IFLA_GROUP) of every link that vnetd makes: "vnet"
// in ASCII. `ip link show group 1986946420` lists them.
const Group = 0x766e6574

// dumpTries bounds how often an interrupted dump is repeated; on a busy host
// taps are made all day.
const dumpTries = 8

// Kernel is the rtnetlink side of one network namespace. Its methods may be
// called from any goroutine.
type Kernel struct {
	nl      *netlink.Handle
	sockets map[int]*nl.SocketHandle // for what we ask ourselves
	log     *slog.Logger
	sys     sysctls

	fair atomic.Pointer[string] // the kind of qdisc that this kernel shares a queue with

	hostChanges atomic.Uint64
	// holds: queues or redirects of ours are there. The kernel lists those of the
	// whole host only, which is not done where there are none.
	hasQueues atomic.Bool

	memory learnedMACs // of what bridges have learned

	fdbGrowth atomic.Uint64
}

// Open returns the kernel of the calling thread's network namespace.
func Open(log *slog.Logger) (*Kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// Linux before 4.20 does no sifting, and we do it again in any case.
	_ = unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	sockets := map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	return &Kernel{nl: h, sockets: sockets, log: log, sys: sysctls{root: "/proc/sys"}}, nil
}

// Close frees the sockets. What was applied stays.
func (k *Kernel) Close() {
	k.nl.Close()
	k.sockets[unix.NETLINK_ROUTE].Close()
}

// dump repeats a listing that the kernel said was torn (NLM_F_DUMP_INTR).
func dump[T any](ctx context.Context, list func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTries || ctx.Err() != nil {
			return out, err
		}
	}
}
