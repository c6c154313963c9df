package files

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A socket has the options that are set on a socket before it is bound: the filter, and
// IP_FREEBIND, for an address that is not on a link yet.
type socket struct{ accept filter }

func (s socket) listenUDP(at netip.AddrPort) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: s.control}
	c, err := lc.ListenPacket(context.Background(), "udp", at.String())
	if err != nil {
		return nil, explain("udp", at, err)
	}
	return c.(*net.UDPConn), nil
}

func (s socket) listenTCP(at netip.AddrPort) (*net.TCPListener, error) {
	lc := net.ListenConfig{Control: s.control}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", at.String())
	if err != nil {
		return nil, explain("tcp", at, err)
	}
	return l.(*net.TCPListener), nil
}

// dialUDP returns a socket of an address of ours that talks to one client.
func (s socket) dialUDP(from netip.Addr, client netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Control: s.control}
	return d.Dial("udp", client.String())
}

// explain adds what to do about a port that cannot be bound.
func explain(network string, at netip.AddrPort, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EADDRINUSE) && network == "tcp":
		hint = fmt.Sprintf(": another web server holds it or 0.0.0.0:%d; give dhcp.boot.httpPort", at.Port())
	case errors.Is(err, unix.EADDRINUSE):
		hint = fmt.Sprintf(": another TFTP server holds it or 0.0.0.0:%d (dnsmasq, tftpd-hpa, a second vnetd?)", at.Port())
	case errors.Is(err, unix.EACCES):
		hint = ": CAP_NET_BIND_SERVICE is needed"
	}
	var sys *net.OpError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return fmt.Errorf("listen on %s/%s: %w%s", at, network, err, hint)
}

func (s socket) control(network, _ string, c syscall.RawConn) error {
	var err error
	level, freebind := unix.IPPROTO_IP, unix.IP_FREEBIND
	if strings.HasSuffix(network, "6") {
		level, freebind = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	ctl := c.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), level, freebind, 1); err != nil {
			err = fmt.Errorf("freebind: %w", err)
			return
		}
		err = s.accept.attach(int(fd)) // before bind: no packet is queued without it
	})
	return errors.Join(ctl, err)
}

// refilter replaces the filter of an open socket.
func refilter(c syscall.Conn, f filter) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f.attach(int(fd)) })
	return errors.Join(err, inner)
}
