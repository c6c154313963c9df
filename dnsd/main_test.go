package dnsd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside is set in the copy of the test binary that runs in namespaces of its
// own: network, mounts (for ip netns) and processes, so that all ends with it,
// also after a crash.
const inside = "DNSD_TEST_INSIDE"

// apart is whether it does, and so whether tests may make links.
var apart = os.Getenv(inside) != ""

func TestMain(m *testing.M) {
	if !apart {
		if code, ok := again(); ok {
			os.Exit(code)
		}
		os.Exit(m.Run())
	}
	if err := settle(); err != nil {
		fmt.Fprintln(os.Stderr, "namespaces of the test:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs this test binary once more, apart, and reports whether it could.
func again() (code int, ok bool) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), true
	case os.Getenv("VNET_NETNS") == "require":
		fmt.Fprintln(os.Stderr, "namespaces are required:", err)
		return 1, true
	}
	fmt.Fprintln(os.Stderr, "tests with links are skipped:", err)
	return 0, false
}

func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return exec.Command("ip", "link", "set", "lo", "up").Run()
}
