package dhcpd

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// memberships are the multicast groups that an interface hears for us. They are
// joined by an ordinary socket, which is never bound: it makes the kernel say so
// by MLD, and the bridge's own snooping believes nothing else.
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
