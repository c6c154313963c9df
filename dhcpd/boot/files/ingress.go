package files

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A filter takes what arrives on a bridge or on lo, and nothing else. The kernel
// runs it before a packet is queued: what comes in elsewhere to our address gets
// no answer, which the weak host model of Linux would give it.
type filter []unix.SockFilter

func newFilter(bridge string) (filter, error) {
	var indexes [2]uint32
	for i, name := range []string{bridge, "lo"} {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("link %s: %w", name, err)
		}
		indexes[i] = uint32(link.Index)
	}
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: indexes[0], SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: indexes[1], SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 18}, // bytes to keep: all
	})
	f := make(filter, len(raw))
	for i, ins := range raw {
		f[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	return f, err
}

// attach puts the filter on a socket, in place of the one that it may have.
func (f filter) attach(fd int) error {
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: unsafe.SliceData(f)}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}
