// Package sockfilter attaches classic BPF programs to sockets.
package sockfilter

import (
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What a program returns for a packet.
var (
	Accept = bpf.RetConstant{Val: 1 << 18} // bytes to keep: all
	Drop   = bpf.RetConstant{Val: 0}
)

// Attach replaces the filter of a socket; an empty program removes it.
func Attach(fd int, prog []bpf.RawInstruction) error {
	if len(prog) == 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil && err != unix.ENOENT {
			return fmt.Errorf("detach filter: %w", err)
		}
		return nil
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
