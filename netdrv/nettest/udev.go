package nettest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// devices are what programs expect in /dev.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty", "net/tun"}

// Udev gives a namespace a /dev of its own, in which a device appears for every
// macvtap, as udev does on a machine: owned by a group, if group is not 0. Processes
// that run already keep the machine's.
func (ns *Namespace) Udev(t testing.TB, group int) {
	t.Helper()
	links := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	err := ns.Do(mountDev)
	if err == nil {
		err = netlink.LinkSubscribeAt(netns.NsHandle(ns.net.Fd()), links, done)
	}
	if err != nil {
		t.Fatalf("nettest: %s: udev: %v", ns.Name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for l := range links {
			if l.Link.Type() == "macvtap" && l.Header.Type == unix.RTM_NEWLINK {
				_ = ns.Do(func() error { return makeDevice(l.Link.Attrs(), group) })
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-ended
	})
}

// makeDevice makes /dev/tapINDEX, on the namespace's thread.
func makeDevice(l *netlink.LinkAttrs, group int) error {
	found, err := filepath.Glob("/sys/class/net/" + l.Name + "/macvtap/tap*/dev")
	if err != nil || len(found) == 0 {
		return err // gone again
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(strings.TrimSpace(string(text)), "%d:%d", &major, &minor); err != nil {
		return err
	}
	path := fmt.Sprintf("/dev/tap%d", l.Index)
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return err
	}
	if group == 0 {
		return nil
	}
	if err := os.Chown(path, 0, group); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// mountDev mounts a new /dev on the namespace's thread, with the devices that are
// needed.
func mountDev() error {
	const dir = "/run/.dev"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("nettest", dir, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	for _, name := range devices {
		if err := copyDevice("/dev/"+name, dir+"/"+name); err != nil {
			return err
		}
	}
	if err := os.Symlink("/proc/self/fd", dir+"/fd"); err != nil {
		return err
	}
	if err := unix.Mount(dir, "/dev", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to /dev: %w", dir, err)
	}
	return nil
}

func copyDevice(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(to, st.Mode, int(st.Rdev)); err != nil {
		return fmt.Errorf("mknod %s: %w", to, err)
	}
	return os.Chmod(to, 0o666)
}
