package nettest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// stateDirs are where DHCP clients keep their leases. Those that exist become
// private and empty; the others nobody here writes.
var stateDirs = []string{"/var/lib/dhcp", "/var/lib/dhcpcd", "/var/lib/dhclient"}

// mountPrivate gives the calling thread, in its new mount namespace, what a
// machine has for itself.
func mountPrivate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := mountFresh("sysfs", "/sys"); err != nil {
		return err
	}
	if err := mountFresh("tmpfs", "/run"); err != nil {
		return err
	}
	for _, dir := range stateDirs {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := mountFresh("tmpfs", dir); err != nil {
			return err
		}
	}
	if err := mountEtc(); err != nil {
		return err
	}
	// The machine's own may be a link into the /run that is hidden now.
	return replaceFile("/etc/resolv.conf", "")
}

func mountFresh(kind, dir string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	data := ""
	if kind == "tmpfs" {
		data = "mode=755"
	}
	if err := unix.Mount("nettest", dir, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, dir, err)
	}
	return nil
}

// mountEtc lays a writable layer over /etc, or copies it where the kernel has
// no overlay or refuses one on top of the file system at hand.
func mountEtc() error {
	const upper, work = "/run/.etc/upper", "/run/.etc/work"
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	err := unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work)
	if err == nil {
		return nil
	}
	if err := os.CopyFS("/run/.etc/copy", os.DirFS("/etc")); err != nil {
		return fmt.Errorf("copy /etc: %w", err)
	}
	if err := unix.Mount("/run/.etc/copy", "/etc", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the copy of /etc: %w", err)
	}
	return nil
}

// mountSysReadOnly tells systemd that there is no udev here: it asks whether
// /sys is writable. To be called on a namespace's thread.
func mountSysReadOnly() error {
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY
	if err := unix.Mount("", "/sys", "", flags, ""); err != nil {
		return fmt.Errorf("remount /sys read-only: %w", err)
	}
	return nil
}
