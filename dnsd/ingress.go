package dnsd

import (
	"fmt"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// loopback is the index of lo in every network namespace (net/flow.h:
// LOOPBACK_IFINDEX).
const loopback = 1

// ingress is the index of the link by which packets are taken, besides lo; 0 takes
// all. The kernel sorts before a packet is queued, so what comes in elsewhere to
// our address costs us nothing and gets no answer, which the weak host model of
// Linux would give it.
type ingress uint32

// ingressBy returns the ingress of a link by name; "" is everywhere.
func ingressBy(link string) (ingress, error) {
	if link == "" {
		return 0, nil
	}
	// net.InterfaceByName would list all links of the host to find one.
	l, err := netlink.LinkByName(link)
	if err != nil {
		return 0, fmt.Errorf("link %s: %w", link, err)
	}
	return ingress(l.Attrs().Index), nil
}

func (i ingress) filter() ([]bpf.RawInstruction, error) {
	if i == 0 {
		return nil, nil
	}
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(i), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loopback, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 18}, // bytes to keep: all
	})
}

// attach replaces a socket's filter; an empty one is taken off.
func (i ingress) attach(fd int) error {
	prog, err := i.filter()
	if err != nil {
		return err
	}
	if len(prog) == 0 {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if err == unix.ENOENT {
			err = nil
		}
		return err
	}
	filter := make([]unix.SockFilter, len(prog))
	for i, ins := range prog {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}
