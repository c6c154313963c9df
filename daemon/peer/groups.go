package peer

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxGroups is the kernel's NGROUPS_MAX.
const maxGroups = 65536

// groupsOf asks for the peer's supplementary groups (SO_PEERGROUPS, Linux
// 4.13), for which x/sys/unix has no wrapper. A peer with groups that cannot be
// read has none.
func groupsOf(fd int) []uint32 {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4]
		case errno == unix.ERANGE && size/4 <= maxGroups:
			groups = make([]uint32, size/4)
		default:
			return nil
		}
	}
}
