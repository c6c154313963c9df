package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// A tap is made by opening it, in the network namespace of the thread that does: a
// Kernel's is the daemon's. It is in our group before it is made to stay, so that a
// crash in between leaves nothing.

// tapAdd makes a tap that stays when no process has it open.
func (k *Kernel) tapAdd(l netdrv.Link) error {
	err := k.withOurs(l.Name, func(link netlink.Link) error {
		if owner, ok := netdrv.ParseAlias(link.Attrs().Alias); ok && owner != l.Network {
			return fmt.Errorf("%s exists already and belongs to network %s", l.Name, owner)
		}
		return nil
	})
	if !errors.Is(err, unix.ENODEV) {
		return err // ours from a round that was cut short, or another's
	}
	f, err := k.newTap(l, true)
	if err != nil {
		return err
	}
	defer f.Close()
	return control(f, "TUNSETPERSIST", func(fd int) error { return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1) })
}

// MakeTap makes a tap that is gone when the last of its files is closed, and
// returns them, one a queue. vnetHeader: frames have virtio's header in front.
func (k *Kernel) MakeTap(_ context.Context, l netdrv.Link, vnetHeader bool) ([]*os.File, error) {
	f, err := k.newTap(l, vnetHeader)
	if err != nil {
		return nil, fmt.Errorf("make tap %s: %w", l.Name, err)
	}
	return k.moreQueues(f, l, vnetHeader)
}

// OpenTap opens all queues of a tap of ours that is there.
func (k *Kernel) OpenTap(_ context.Context, l netdrv.Link) ([]*os.File, error) {
	var f *os.File
	err := k.withOurs(l.Name, func(netlink.Link) (err error) {
		f, err = openTap(l, tapFlags(l, true))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open tap %s: %w", l.Name, err)
	}
	return k.moreQueues(f, l, true)
}

func (k *Kernel) moreQueues(first *os.File, l netdrv.Link, vnetHeader bool) ([]*os.File, error) {
	files := []*os.File{first}
	for len(files) < l.Queues {
		f, err := openTap(l, tapFlags(l, vnetHeader))
		if err != nil {
			CloseAll(files)
			return nil, fmt.Errorf("open queue %d of tap %s: %w", len(files), l.Name, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// CloseAll closes files.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// newTap makes a tap of ours, as long as its file is open. TUNSETIFF opens one that
// is there as well, so the kernel is asked for a new one (IFF_TUN_EXCL).
func (k *Kernel) newTap(l netdrv.Link, vnetHeader bool) (*os.File, error) {
	f, err := openTap(l, tapFlags(l, vnetHeader)|unix.IFF_TUN_EXCL)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(k.nameTap(l), own(f, l.Owner)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (k *Kernel) nameTap(l netdrv.Link) error {
	link, err := k.nl.LinkByName(l.Name)
	if err != nil {
		return err
	}
	if err := k.nl.LinkSetGroup(link, Group); err != nil {
		return err
	}
	if !l.MAC.IsZero() {
		if err := k.nl.LinkSetHardwareAddr(link, l.MAC[:]); err != nil {
			return err
		}
	}
	if l.MTU != 0 {
		if err := k.nl.LinkSetMTU(link, l.MTU); err != nil {
			return err
		}
	}
	return k.nl.LinkSetAlias(link, l.Alias())
}

func own(f *os.File, uid uint32) error {
	return control(f, "TUNSETOWNER", func(fd int) error { return unix.IoctlSetInt(fd, unix.TUNSETOWNER, int(uid)) })
}

func tapFlags(l netdrv.Link, vnetHeader bool) uint16 {
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if vnetHeader {
		flags |= unix.IFF_VNET_HDR
	}
	if l.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	return flags
}

func openTap(l netdrv.Link, flags uint16) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	f := os.NewFile(uintptr(fd), "/dev/net/tun")
	req, err := unix.NewIfreq(l.Name)
	if err == nil {
		req.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("TUNSETIFF: %w", err)
	}
	return f, nil
}

func control(f *os.File, what string, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("%s: %w", what, failed)
	}
	return nil
}

// OpenMacvtap opens a macvtap's device queues times, which udev may yet have to make
// and to give to us.
func (k *Kernel) OpenMacvtap(ctx context.Context, l netdrv.Link) ([]*os.File, error) {
	link, err := k.nl.LinkByName(l.Name)
	if err != nil {
		return nil, fmt.Errorf("open macvtap %s: %w", l.Name, err)
	}
	path := fmt.Sprintf("/dev/tap%d", link.Attrs().Index)
	if err := awaitDevice(ctx, path); err != nil {
		return nil, fmt.Errorf("open macvtap %s: %w", l.Name, err)
	}
	var files []*os.File
	for len(files) < max(l.Queues, 1) {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			CloseAll(files)
			return nil, fmt.Errorf("open macvtap %s: %s: %w", l.Name, path, err)
		}
		files = append(files, os.NewFile(uintptr(fd), path))
	}
	return files, nil
}
