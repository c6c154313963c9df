package files

import (
	"fmt"
	"net"

	"golang.org/x/net/bpf"

	"github.com/vnetd/vnetd/internal/sockfilter"
)

// A filter accepts packets that arrive on a bridge or on lo. The kernel
// runs it before a packet is queued: packets to our address that arrive elsewhere, which the
// weak host model of Linux accepts, are dropped.
type filter []bpf.RawInstruction

func newFilter(bridge string) (filter, error) {
	var indexes [2]uint32
	for i, name := range []string{bridge, "lo"} {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("link %s: %w", name, err)
		}
		indexes[i] = uint32(link.Index)
	}
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: indexes[0], SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: indexes[1], SkipTrue: 1},
		sockfilter.Drop,
		sockfilter.Accept,
	})
}

// attach replaces the filter of a socket.
func (f filter) attach(fd int) error { return sockfilter.Attach(fd, f) }
