package nettest

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// As runs f as another user of one group, as far as the kernel asks the calling thread
// who it is: files are opened and sockets connected as that user.
func As(uid, gid int, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread stays that user's, and ends with this goroutine.
		runtime.LockOSThread()
		_, _, _ = unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
		_, _, _ = unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
		_, _, _ = unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
		f()
	}()
	<-done
}
