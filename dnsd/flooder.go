package dnsd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/internal/limit"
)

const (
	// restTime is between two samples, when the first found no top talker.
	restTime = 100 * time.Millisecond

	// maxTalkers is how many ports flood together at most.
	maxTalkers = 8
)

// A talker is a port that sends so many queries that others are delayed. A guest is
// known by its port: it can invent MACs and addresses.
type talker struct {
	port string
	addr netip.Addr // of nearly all that the port sends; zero: of many
}

func (t talker) String() string {
	if t.addr.IsValid() {
		return t.addr.String() + " (" + t.port + ")"
	}
	return t.port
}

// blockTopTalkers samples, in the background, what enters the host for these sockets,
// and has the kernel drop what top talkers send. UDP sockets do not tell the port; an
// AF_PACKET socket for all links does, and costs each frame of the host a filter, so it
// is open for some milliseconds only, while many queries come.
func (n *network) blockTopTalkers(l *udpListeners) {
	link := l.link()
	if link == 0 || !l.sampling.CompareAndSwap(false, true) {
		return
	}
	go func() {
		pause := restTime
		defer func() { time.AfterFunc(pause, func() { l.sampling.Store(false) }) }()
		defer limit.Recover(n.log, limit.DNS, nil)
		talkers := topTalkers(ofBridge(link, sample(link, l.at)))
		if len(talkers) == 0 {
			return
		}
		pause = 0
		if l.drop(talkers) {
			n.log.Warn("clients flood the name server: most of what they send is dropped", "clients", talkers)
		}
	}()
}

// A frame is a query's, as far as it tells its sender.
type frame struct {
	port int // where it entered the host, by interface index
	name string
	addr netip.Addr
}

// topTalkers finds the ports that together send three quarters of a whole sample, each
// an eighth at least, while another port sends, too. With fewer frames there is no flood.
func topTalkers(frames []frame) (out []talker) {
	if len(frames) < window/2 {
		return nil
	}
	ports := map[string][]netip.Addr{}
	for _, f := range frames {
		ports[f.name] = append(ports[f.name], f.addr)
	}
	names := make([]string, 0, len(ports))
	for name := range ports {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return len(ports[b]) - len(ports[a]) })
	sent := 0
	for _, name := range names {
		n := len(ports[name])
		if sent > len(frames)/4*3 || n < len(frames)/8 || len(out) == maxTalkers {
			break
		}
		sent += n
		out = append(out, talker{port: name, addr: most(ports[name])})
	}
	if sent <= len(frames)/4*3 || sent == len(frames) {
		return nil
	}
	return out
}

// most returns the address that three quarters of a list are, or none.
func most(list []netip.Addr) (addr netip.Addr) {
	counts := map[netip.Addr]int{}
	for _, a := range list {
		if counts[a]++; counts[a] > len(list)/4*3 {
			addr = a
		}
	}
	return addr
}

// ofBridge keeps the frames that entered by ports of a bridge, and names these.
func ofBridge(bridge uint32, frames []frame) []frame {
	names := map[int]string{}
	for i := range frames {
		f := &frames[i]
		name, ok := names[f.port]
		if !ok {
			if l, err := netlink.LinkByIndex(f.port); err == nil && l.Attrs().MasterIndex == int(bridge) {
				name = l.Attrs().Name
			}
			names[f.port] = name
		}
		f.name = name
	}
	return slices.DeleteFunc(frames, func(f frame) bool { return f.name == "" })
}

// sample returns a window of the queries that enter the host for an address of ours, by
// other links than the bridge itself, or fewer if fewer come within windowTime. Those by
// TCP tell who else asks.
func sample(bridge uint32, at netip.AddrPort) (frames []frame) {
	source := 12
	if at.Addr().Is6() {
		source = 8
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // no CAP_NET_RAW
	}
	defer unix.Close(fd)
	prog, err := queriesTo(bridge, at)
	if err != nil || attachFilter(fd, prog) != nil ||
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: windowTime.Microseconds()}) != nil ||
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL>>8&0xff | unix.ETH_P_ALL&0xff<<8}) != nil {
		return nil
	}
	var buf [40]byte // as long as an IPv6 header
	for end := time.Now().Add(windowTime); len(frames) < window && time.Now().Before(end); {
		n, from, err := unix.Recvfrom(fd, buf[:], 0)
		if err != nil {
			break
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && n >= source+at.Addr().BitLen()/8 {
			addr, _ := netip.AddrFromSlice(buf[source:][:at.Addr().BitLen()/8])
			frames = append(frames, frame{port: ll.Ifindex, addr: addr})
		}
	}
	return frames
}

// queriesTo takes UDP and TCP for an address and port, from packets that begin with IP
// and enter by another link than the bridge.
func queriesTo(bridge uint32, at netip.AddrPort) ([]bpf.RawInstruction, error) {
	family, protocol, header := uint32(unix.ETH_P_IP), uint32(9), bpf.Instruction(bpf.LoadMemShift{Off: 0})
	if at.Addr().Is6() {
		family, protocol, header = unix.ETH_P_IPV6, 6, bpf.LoadConstant{Dst: bpf.RegX, Val: 40}
	}
	prog := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: family, SkipTrue: 11},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 9},
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: bridge, SkipTrue: 7},
		bpf.LoadAbsolute{Off: protocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 4},
		header,
		bpf.LoadIndirect{Off: 2, Size: 2}, // the destination port of both
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(at.Port()), SkipTrue: 1},
		bpf.Jump{Skip: 1},
		overhear,
	}
	return bpf.Assemble(append(append(prog, toAddr(at.Addr(), hear)...), overhear))
}
