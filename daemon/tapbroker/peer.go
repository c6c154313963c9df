package tapbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// soPeerPidfd is Linux 6.5's SO_PEERPIDFD.
const soPeerPidfd = 77

// processOf returns the peer's process, and a pidfd of it. An older kernel is asked
// by number, after which the peer must still be connected by that number.
func processOf(c *net.UnixConn, pid int) (netdrv.Process, *os.File, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netdrv.Process{}, nil, err
	}
	fd := -1
	err = raw.Control(func(s uintptr) {
		if n, err := unix.GetsockoptInt(int(s), unix.SOL_SOCKET, soPeerPidfd); err == nil {
			fd = n
		}
	})
	if err != nil {
		return netdrv.Process{}, nil, err
	}
	if fd < 0 {
		return openProcess(pid)
	}
	return withStart(pid, fd)
}

func openProcess(pid int) (netdrv.Process, *os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return netdrv.Process{}, nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return withStart(pid, fd)
}

func withStart(pid, fd int) (netdrv.Process, *os.File, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return netdrv.Process{}, nil, err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if ended(fd) {
		f.Close()
		return netdrv.Process{}, nil, fmt.Errorf("process %d: %w", pid, unix.ESRCH)
	}
	started, ok := inodeOf(fd)
	if !ok {
		started, _ = startOf(pid)
	}
	if ended(fd) {
		started = 0 // what /proc said may be of another process
	}
	return netdrv.Process{PID: pid, Started: started}, f, nil
}

// same reports whether a process of a noted number is the noted process. What cannot be
// compared is taken for the same: with ProtectProc=invisible an older kernel than Linux
// 6.9 does not tell when a process of another user started.
func same(noted, now netdrv.Process, pid int) bool {
	if noted.Started&inodeFlag == 0 && now.Started&inodeFlag != 0 { // noted by an earlier vnetd
		now.Started, _ = startOf(pid)
	}
	return noted.Started == now.Started || now.Started == 0 || noted.Started == 0
}

// inodeFlag marks a Process.Started that is the inode of a pidfd, which is unique for a
// boot since Linux 6.9.
const (
	inodeFlag  = 1 << 63
	pidfsMagic = 0x50494446
)

func inodeOf(pidfd int) (uint64, bool) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(pidfd, &fs) != nil || fs.Type != pidfsMagic || unix.Fstat(pidfd, &st) != nil {
		return 0, false
	}
	return st.Ino | inodeFlag, true
}

// startOf reads field 22 of proc_pid_stat(5). Field 2 may hold anything.
func startOf(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(words) < 20 {
		return 0, errors.New("/proc has no start of it")
	}
	return strconv.ParseUint(words[19], 10, 64)
}

func ended(pidfd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// awaitEnd returns true when a process has ended, and false if ctx has before.
func awaitEnd(ctx context.Context, pidfd *os.File) bool {
	stop := context.AfterFunc(ctx, func() { pidfd.Close() })
	defer stop()
	defer pidfd.Close()
	c, err := pidfd.SyscallConn()
	if err != nil {
		return false
	}
	return c.Read(func(fd uintptr) bool { return ended(int(fd)) }) == nil
}
