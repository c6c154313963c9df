package kernel

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// Seen returns the Ethernet addresses that bridges have learned behind links, by the
// links' indexes.
func (k *Kernel) Seen(ctx context.Context) (map[int][]netdrv.MAC, error) {
	list, err := dump(ctx, func() ([]netlink.Neigh, error) { return k.nl.NeighList(0, unix.AF_BRIDGE) })
	if err != nil {
		return nil, fmt.Errorf("list what bridges have seen: %w", err)
	}
	out := map[int][]netdrv.MAC{}
	for _, n := range list {
		// What does not age is a port's own address.
		if n.MasterIndex == 0 || n.State&unix.NUD_PERMANENT != 0 || len(n.HardwareAddr) != len(netdrv.MAC{}) {
			continue
		}
		out[n.LinkIndex] = append(out[n.LinkIndex], netdrv.MAC(n.HardwareAddr))
	}
	return out, nil
}
