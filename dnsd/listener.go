package dnsd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	nl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/internal/sockfilter"
)

const (
	receiveBuffer = 4 << 20 // bytes: a burst of all guests waits here
	// sendBuffer exceeds what can be queued for unresolved neighbours: gc_thresh3 (1024) x
	// unres_qlen_bytes of netdrv. The kernel doubles it.
	sendBuffer = 8 << 20
	maxSockets = 4 // UDP sockets on one address, at most one a processor
)

// A listener has the sockets of one address.
type listener struct {
	at      netip.AddrPort
	from    ingress
	udp     *udpListeners
	tcp     *net.TCPListener
	started bool
}

// udpListeners are the SO_REUSEPORT sockets of one address, with their ingress filter
// and what is blocked at bridge ports.
type udpListeners struct {
	at    netip.AddrPort
	socks []*net.UDPConn
	least time.Duration // of a block: blockTime
	rate  uint64        // queries a second that pass a block: blockedRate

	sampling atomic.Bool // for top talkers

	mu    sync.Mutex
	from  ingress
	block *nl.Conn      // owns the table that drops; nil: nothing is blocked
	timer *time.Timer   // ends the block
	span  time.Duration // of this or the last block
	ended time.Time     // the last one
}

// listen opens the sockets of an address. The address need not be on a link
// yet (IP_FREEBIND).
func listen(at netip.AddrPort, from ingress) (_ *listener, err error) {
	l := &listener{at: at, from: from, udp: &udpListeners{at: at, from: from, least: blockTime, rate: blockedRate}}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	tcp, err := openSocket("tcp", at, from, false)
	if err != nil {
		return nil, err
	}
	l.tcp = tcp.(*net.TCPListener)
	for range min(runtime.GOMAXPROCS(0), maxSockets) {
		// The first one is bound without SO_REUSEPORT and gets it afterwards:
		// otherwise it would share the port with another daemon of ours, without an error.
		c, err := openSocket("udp", at, from, len(l.udp.socks) > 0)
		if err != nil {
			return nil, err
		}
		udp := c.(*net.UDPConn)
		l.udp.socks = append(l.udp.socks, udp)
		if err := control(udp, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); err != nil {
			return nil, fmt.Errorf("share %s: %w", at, err)
		}
	}
	return l, nil
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

// accept replaces the ingress filter, as for a bridge that was deleted and added again.
func (l *listener) accept(from ingress) error {
	if from.link == l.from.link && slices.Equal(from.clients, l.from.clients) {
		return nil
	}
	l.udp.mu.Lock()
	defer l.udp.mu.Unlock()
	l.udp.from = from
	attach := func(fd int) error { return from.attach(fd, l.at.Addr().Is4()) }
	errs := []error{control(l.tcp, attach)}
	for _, sock := range l.udp.socks {
		errs = append(errs, control(sock, attach))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("filter on %s: %w", l.at, err)
	}
	l.from = from
	return nil
}

// openSocket opens a *net.UDPConn or *net.TCPListener. Its filter is attached before it is
// bound: no packet bypasses it.
func openSocket(network string, at netip.AddrPort, from ingress, reusePort bool) (sock any, err error) {
	family, level, freebind := network+"4", unix.IPPROTO_IP, unix.IP_FREEBIND
	if at.Addr().Is6() {
		family, level, freebind = network+"6", unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	set := func(fd int) error {
		if err := unix.SetsockoptInt(fd, level, freebind, 1); err != nil {
			return fmt.Errorf("freebind: %w", err)
		}
		if reusePort {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return fmt.Errorf("reuseport: %w", err)
			}
		}
		if network == "udp" {
			// Without CAP_NET_ADMIN the system's limit applies.
			if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
			}
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
		}
		return from.attach(fd, at.Addr().Is4())
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctl := c.Control(func(fd uintptr) { err = set(int(fd)) })
		return errors.Join(ctl, err)
	}}
	if network == "udp" {
		sock, err = lc.ListenPacket(context.Background(), family, at.String())
	} else {
		lc.SetMultipathTCP(false)
		sock, err = lc.Listen(context.Background(), family, at.String())
	}
	if err == nil {
		return sock, nil
	}
	hint := ""
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		hint = fmt.Sprintf(": another DNS server listens on it or on 0.0.0.0:%d (dnsmasq, named, unbound, a second vnetd?)", at.Port())
	case errors.Is(err, unix.EACCES):
		hint = ": CAP_NET_BIND_SERVICE is needed"
	}
	var sys *net.OpError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return nil, fmt.Errorf("listen on %s/%s: %w%s", at, network, err, hint)
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

// An ingress has the allowed sources of packets: lo, and clients by a link. Link 0 is any, and
// no clients are all.
//
// The kernel filters before a packet is queued, so packets that enter elsewhere to our
// address cost nothing and get no answer, which the weak host model of
// Linux would give them. Source addresses are checked so that a guest with a spoofed one does
// not have us flood another host with replies.
type ingress struct {
	link    uint32 // index
	clients []netip.Prefix
}

// loopback is the index of lo in every network namespace (net/flow.h:
// LOOPBACK_IFINDEX).
const loopback = 1

// ingressOf returns the ingress of a network; without an Interface it is all.
func ingressOf(cfg *Config) (ingress, error) {
	if cfg.Interface == "" {
		return ingress{}, nil
	}
	// net.InterfaceByName would list all links of the host to find one.
	l, err := netlink.LinkByName(cfg.Interface)
	if err != nil {
		return ingress{}, fmt.Errorf("link %s: %w", cfg.Interface, err)
	}
	return ingress{link: uint32(l.Attrs().Index), clients: cfg.Clients}, nil
}

// Offsets from netHeader are into the IP header: SKF_NET_OFF of linux/filter.h.
const netHeader = 0xfff0_0000

var linkLocal = netip.MustParsePrefix("fe80::/10")

// attach replaces the filter of a socket of IPv4 or IPv6.
func (in ingress) attach(fd int, v4 bool) error {
	if in.link == 0 {
		return sockfilter.Attach(fd, nil)
	}
	prog := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: loopback, SkipTrue: 1},
		sockfilter.Accept,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: in.link, SkipTrue: 1},
		sockfilter.Drop,
	}
	source := uint32(netHeader + 8)
	if v4 {
		source = netHeader + 12
	}
	for _, p := range append([]netip.Prefix{linkLocal}, in.clients...) {
		if p.Addr().Is4() == v4 {
			prog = append(prog, acceptPrefix(p, source)...)
		}
	}
	last := sockfilter.Drop
	if len(in.clients) == 0 {
		last = sockfilter.Accept
	}
	raw, err := bpf.Assemble(append(prog, last))
	if err != nil {
		return err
	}
	return sockfilter.Attach(fd, raw)
}

// acceptPrefix accepts packets with an address of a prefix at an offset, and falls through
// for others.
func acceptPrefix(p netip.Prefix, at uint32) []bpf.Instruction {
	p = p.Masked()
	addr := p.Addr().AsSlice()
	words := (p.Bits() + 31) / 32
	var prog []bpf.Instruction
	for i := range words {
		mask := ^uint32(0)
		if rest := p.Bits() - 32*i; rest < 32 {
			mask <<= 32 - rest
		}
		prog = append(prog,
			bpf.LoadAbsolute{Off: at + uint32(4*i), Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(addr[4*i:]), SkipTrue: uint8(3*(words-1-i) + 1)},
		)
	}
	return append(prog, sockfilter.Accept)
}
