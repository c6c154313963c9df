package kernel

import (
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// carrierWithin is how long the kernel may take to tell a bridge that its port has a
// carrier (net/core/link_watch.c): usually a millisecond.
const carrierWithin = 50 * time.Millisecond

// askAnew has the host ask at once who its neighbours on a bridge are, when a port has
// come back. What it asked while the port was away is lost, and it would not ask again
// for a second.
func (k *Kernel) retryNeighbours(port, bridge int) {
	for end := time.Now().Add(carrierWithin); k.carrier(port) && !k.carrier(bridge) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		neighbours, err := k.nl.NeighList(bridge, family)
		if err != nil {
			k.log.Debug("neighbours not resolved again", "link", bridge, "err", err)
		}
		for i := range neighbours {
			if n := &neighbours[i]; n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) != 0 {
				_ = k.nl.NeighDel(n) // it may be known by now
			}
		}
	}
}

func (k *Kernel) carrier(index int) bool {
	l, err := k.nl.LinkByIndex(index)
	return err == nil && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
}
