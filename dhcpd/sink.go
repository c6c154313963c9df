package dhcpd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/internal/sockfilter"
)

// listenSink holds a port of our address on an interface, and takes nothing
// from it: a kernel that knows of no socket there would answer a unicast renewal,
// or a relay, with an ICMP error, which some take to heart.
func listenSink(link string, addr netip.AddrPort) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) { err = makeSink(int(fd), link) }); ctl != nil {
			return ctl
		}
		return err
	}}
	return lc.ListenPacket(context.Background(), "udp", addr.String())
}

func makeSink(fd int, link string) error {
	if err := unix.BindToDevice(fd, link); err != nil {
		return fmt.Errorf("bind to %s: %w", link, err)
	}
	return sockfilter.Attach(fd, assemble(sockfilter.Drop))
}
