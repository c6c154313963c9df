package dnsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	receiveBuffer = 4 << 20 // bytes: a burst of all guests waits here
	// sendBuffer, which the kernel doubles, is more than what waits for neighbours that
	// are none: unres_qlen_bytes of netdrv for each of gc_thresh3 (1024).
	sendBuffer = 8 << 20
	maxSockets = 4 // UDP sockets on one address, at most one a processor
)

// A listener is one address with its sockets.
type listener struct {
	at      netip.AddrPort
	from    ingress
	udp     *udpListeners
	tcp     *net.TCPListener
	started bool
}

// listen opens the sockets of an address. The address need not be on a link
// yet (IP_FREEBIND).
func listen(at netip.AddrPort, from ingress) (*listener, error) {
	l := &listener{at: at, from: from, udp: &udpListeners{at: at, from: from, least: blockTime, rate: blockedRate}}
	if err := l.open(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *listener) open() error {
	tcp, err := socket{from: l.from}.listenTCP(l.at)
	if err != nil {
		return err
	}
	l.tcp = tcp
	for range min(runtime.GOMAXPROCS(0), maxSockets) {
		// The first one is bound without SO_REUSEPORT and gets it afterwards:
		// otherwise it would quietly share the port with another daemon of ours.
		udp, err := socket{from: l.from, share: len(l.udp.socks) > 0}.listenUDP(l.at)
		if err != nil {
			return err
		}
		l.udp.socks = append(l.udp.socks, udp)
		if err := control(udp, func(fd int) error { return setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); err != nil {
			return fmt.Errorf("share %s: %w", l.at, err)
		}
	}
	return nil
}

func (l *listener) close() {
	l.udp.unblock()
	for _, c := range l.udp.socks {
		_ = c.Close()
	}
	if l.tcp != nil {
		_ = l.tcp.Close()
	}
}

// take has packets come by another link, as a bridge that was made anew, or from
// other clients.
func (l *listener) take(from ingress) error {
	if from.equal(l.from) {
		return nil
	}
	err := control(l.tcp, func(fd int) error { return from.attach(fd, l.at.Addr().Is4()) })
	if err := errors.Join(err, l.udp.accept(from)); err != nil {
		return fmt.Errorf("filter on %s: %w", l.at, err)
	}
	l.from = from
	return nil
}

// A socket is what is set on a socket before it is bound.
type socket struct {
	from  ingress
	share bool // SO_REUSEPORT
}

func (s socket) listenUDP(at netip.AddrPort) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: s.control}
	c, err := lc.ListenPacket(context.Background(), family("udp", at), at.String())
	if err != nil {
		return nil, explain("udp", at, err)
	}
	return c.(*net.UDPConn), nil
}

func (s socket) listenTCP(at netip.AddrPort) (*net.TCPListener, error) {
	lc := net.ListenConfig{Control: s.control}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), family("tcp", at), at.String())
	if err != nil {
		return nil, explain("tcp", at, err)
	}
	return l.(*net.TCPListener), nil
}

func family(network string, at netip.AddrPort) string {
	if at.Addr().Is4() {
		return network + "4"
	}
	return network + "6"
}

// explain says what a person can do about a port that cannot be had.
func explain(network string, at netip.AddrPort, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		hint = fmt.Sprintf(": another DNS server holds it or 0.0.0.0:%d (dnsmasq, named, unbound, a second vnetd?)", at.Port())
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
	ctl := c.Control(func(fd uintptr) { err = s.set(int(fd), network) })
	return errors.Join(ctl, err)
}

func (s socket) set(fd int, network string) error {
	level, freebind := unix.IPPROTO_IP, unix.IP_FREEBIND
	if network == "udp6" || network == "tcp6" {
		level, freebind = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	if err := setInt(fd, level, freebind, 1); err != nil {
		return fmt.Errorf("freebind: %w", err)
	}
	if s.share {
		if err := setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("reuseport: %w", err)
		}
	}
	if network == "udp4" || network == "udp6" {
		// Without CAP_NET_ADMIN the system's limit holds, and will do.
		if setInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = setInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
		_ = setInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
	}
	return s.from.attach(fd, level == unix.IPPROTO_IP) // before bind: no packet slips through
}

func setInt(fd, level, opt, value int) error {
	return unix.SetsockoptInt(fd, level, opt, value)
}

func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}
