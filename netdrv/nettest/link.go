package nettest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An End is one end of a cable.
type End struct {
	NS   *Namespace
	Name string
	MAC  string // chosen by the kernel if empty
}

// Connect lays a cable between two namespaces, or within one, and brings both
// ends up.
func Connect(t testing.TB, a *Namespace, aName string, b *Namespace, bName string) {
	t.Helper()
	Join(t, End{NS: a, Name: aName}, End{NS: b, Name: bName})
}

// Join is Connect with more to say.
func Join(t testing.TB, a, b End) {
	t.Helper()
	if err := join(a, b); err != nil {
		t.Fatalf("nettest: cable %s:%s to %s:%s: %v", a.NS.Name, a.Name, b.NS.Name, b.Name, err)
	}
}

func join(a, b End) error {
	am, err := parseMAC(a.MAC)
	if err != nil {
		return err
	}
	bm, err := parseMAC(b.MAC)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = a.Name, am
	err = a.NS.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: b.Name, PeerHardwareAddr: bm,
		// The peer is born where it belongs, and is seen nowhere else.
		PeerNamespace: netlink.NsFd(int(b.NS.net.Fd())),
	})
	if err != nil {
		return fmt.Errorf("link add: %w", err)
	}
	if err := a.NS.linkUp(a.Name); err != nil {
		return err
	}
	return b.NS.linkUp(b.Name)
}

func parseMAC(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	return net.ParseMAC(s)
}

func (ns *Namespace) linkUp(name string) error {
	link, err := ns.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if err := ns.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("link set %s up: %w", name, err)
	}
	return nil
}

// link returns a link that has to be there.
func (ns *Namespace) link(t testing.TB, name string) netlink.Link {
	t.Helper()
	link, err := ns.nl.LinkByName(name)
	if err != nil {
		t.Fatalf("nettest: %s: link %s: %v", ns.Name, name, err)
	}
	return link
}

// Up brings a link up.
func (ns *Namespace) Up(t testing.TB, name string) {
	t.Helper()
	if err := ns.linkUp(name); err != nil {
		t.Fatalf("nettest: %s: %v", ns.Name, err)
	}
}

// Down takes a link down: its peer sees the carrier go.
func (ns *Namespace) Down(t testing.TB, name string) {
	t.Helper()
	if err := ns.nl.LinkSetDown(ns.link(t, name)); err != nil {
		t.Fatalf("nettest: %s: link set %s down: %v", ns.Name, name, err)
	}
}

// Ifindex returns the number of a link.
func (ns *Namespace) Ifindex(t testing.TB, name string) int {
	t.Helper()
	return ns.link(t, name).Attrs().Index
}

// Address puts addresses with their prefixes ("192.0.2.1/24") on a link. The
// IPv6 ones may be used at once: nobody asks whether they are taken.
func (ns *Namespace) Address(t testing.TB, link string, prefixes ...string) {
	t.Helper()
	l := ns.link(t, link)
	for _, text := range prefixes {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatalf("nettest: address %s: %v", text, err)
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := ns.nl.AddrAdd(l, addr); err != nil {
			t.Fatalf("nettest: %s: addr add %s dev %s: %v", ns.Name, text, link, err)
		}
	}
}

// Route adds a route to a destination ("0.0.0.0/0") by a gateway. A metric of
// zero leaves the choice to the kernel.
func (ns *Namespace) Route(t testing.TB, destination, gateway string, metric int) {
	t.Helper()
	dst, err := netip.ParsePrefix(destination)
	if err != nil {
		t.Fatalf("nettest: route: %v", err)
	}
	err = ns.nl.RouteAdd(&netlink.Route{
		Dst:      &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
		Gw:       net.ParseIP(gateway),
		Priority: metric,
	})
	if err != nil {
		t.Fatalf("nettest: %s: route add %s via %s: %v", ns.Name, destination, gateway, err)
	}
}

// Bridge makes a bridge, with addresses, that forwards at once, for tests that
// do not make one by their own code.
func (ns *Namespace) Bridge(t testing.TB, name string, prefixes ...string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := ns.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatalf("nettest: %s: link add %s type bridge: %v", ns.Name, name, err)
	}
	ns.Up(t, name)
	ns.Address(t, name, prefixes...)
}

// Enslave puts a link into a bridge, and waits for the bridge if it has yet to
// be made.
func (ns *Namespace) Enslave(t testing.TB, link, bridge string) {
	t.Helper()
	l := ns.link(t, link)
	ctx, cancel := bounded(t.Context())
	defer cancel()
	master, err := ns.awaitLink(ctx, bridge)
	if err == nil {
		err = ns.nl.LinkSetMaster(l, master)
	}
	if err != nil {
		t.Fatalf("nettest: %s: link set %s master %s: %v", ns.Name, link, bridge, err)
	}
}

// Release takes a link out of its bridge.
func (ns *Namespace) Release(t testing.TB, link string) {
	t.Helper()
	if err := ns.nl.LinkSetNoMaster(ns.link(t, link)); err != nil {
		t.Fatalf("nettest: %s: link set %s nomaster: %v", ns.Name, link, err)
	}
}

func (ns *Namespace) awaitLink(ctx context.Context, name string) (netlink.Link, error) {
	for {
		link, err := ns.nl.LinkByName(name)
		if err == nil || !errors.As(err, new(netlink.LinkNotFoundError)) {
			return link, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A Tap is the host's end of a virtual machine's link. It lasts as long as its
// descriptor, so a machine that dies takes it along.
type Tap struct {
	Name string

	file *os.File
}

// Tap makes a tap as QEMU wants it, with virtio headers, and puts it into a
// bridge, for which it waits. It goes away when the test ends.
func (ns *Namespace) Tap(t testing.TB, name, bridge string) *Tap {
	t.Helper()
	tap := &Tap{Name: name}
	// A tap is made in the namespace of the thread that asks.
	err := ns.Do(func() (err error) {
		tap.file, err = openTap(name)
		return err
	})
	if err != nil {
		t.Fatalf("nettest: %s: tap %s: %v", ns.Name, name, err)
	}
	t.Cleanup(func() { tap.file.Close() })
	ns.Enslave(t, name, bridge)
	ns.Up(t, name)
	return tap
}

func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// Macvtap opens the other end of a macvtap that is there, /dev/tapINDEX, for a
// machine. The node is made here: no udev looks after a namespace.
func (ns *Namespace) Macvtap(t testing.TB, name string) *Tap {
	t.Helper()
	device := strings.TrimSpace(ns.Run(t, "cat /sys/class/net/"+name+"/macvtap/tap*/dev"))
	var major, minor uint32
	if _, err := fmt.Sscanf(device, "%d:%d", &major, &minor); err != nil {
		t.Fatalf("nettest: %s: macvtap %s: device %q: %v", ns.Name, name, device, err)
	}
	path := filepath.Join(TempDir(t), "tap")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))); err != nil {
		t.Fatalf("nettest: %s: macvtap %s: mknod: %v", ns.Name, name, err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("nettest: %s: macvtap %s: %v", ns.Name, name, err)
	}
	tap := &Tap{Name: name, file: os.NewFile(uintptr(fd), path)}
	t.Cleanup(func() { tap.file.Close() })
	return tap
}
