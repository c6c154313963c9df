package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/internal/sockfilter"
)

// interfaceByName asks the kernel for one interface; net.InterfaceByName lists all
// of them to find it.
func interfaceByName(name string) (*net.Interface, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	a := l.Attrs()
	return &net.Interface{Index: a.Index, MTU: a.MTU, Name: a.Name, HardwareAddr: a.HardwareAddr, Flags: a.Flags}, nil
}

// holdPort binds a socket to a port of our address on an interface, and receives nothing
// from it: a kernel without a socket there answers a unicast renewal, or a relay, with an
// ICMP error, at which some clients give up.
func holdPort(link string, addr netip.AddrPort) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctl := c.Control(func(fd uintptr) {
			if err = unix.BindToDevice(int(fd), link); err != nil {
				err = fmt.Errorf("bind to %s: %w", link, err)
				return
			}
			err = sockfilter.Attach(int(fd), assemble(sockfilter.Drop))
		})
		return errors.Join(ctl, err)
	}}
	return lc.ListenPacket(context.Background(), "udp", addr.String())
}

// memberships are the multicast groups that an interface receives for us. They are
// joined by an ordinary socket, which is never bound: for it the kernel sends MLD
// reports, which the bridge's snooping needs.
type memberships struct{ f *os.File }

func join(ifi *net.Interface, groups []netip.Addr) (*memberships, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("IPv6 socket: %w", err)
	}
	m := &memberships{os.NewFile(uintptr(fd), "multicast groups")}
	for _, g := range groups {
		mreq := &unix.IPv6Mreq{Multiaddr: g.As16(), Interface: uint32(ifi.Index)}
		if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, mreq); err != nil {
			m.leave()
			return nil, fmt.Errorf("join %s on %s: %w", g, ifi.Name, err)
		}
	}
	return m, nil
}

func (m *memberships) leave() { _ = m.f.Close() }
