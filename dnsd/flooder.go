package dnsd

import (
	"net"
	"net/netip"
	"time"

	raw "github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/internal/limit"
)

// restTime is between two looks for a flooder, when the first found none.
const restTime = 100 * time.Millisecond

// A flooder is who sends nearly all queries while others ask, too. It is known by its
// MAC: a guest can write another's address on its queries, and that one is not to be
// dropped for it.
type flooder struct {
	mac  net.HardwareAddr
	addr netip.Addr // behind that MAC, which may be a router's; zero: many
}

func (f flooder) String() string {
	if f.addr.IsValid() {
		return f.addr.String() + " (" + f.mac.String() + ")"
	}
	return f.mac.String()
}

// filter is the beginning of one that drops what the flooder sends.
func (f flooder) filter() []bpf.Instruction {
	if f.addr.IsValid() {
		return fromMAC(f.mac, fromPrefix(netip.PrefixFrom(f.addr, f.addr.BitLen()), overhear)...)
	}
	return fromMAC(f.mac, overhear)
}

// deafen looks, beside the work, for a flooder, and has the kernel drop what it sends
// for a while. A UDP socket says nobody's MAC; one for frames does, and is dear, so
// that it is open for a moment only, while many queries come.
func (n *network) deafen(e *ears) {
	link := e.link()
	if link == 0 || !e.looking.CompareAndSwap(false, true) {
		return
	}
	go func() {
		pause := restTime
		defer func() { time.AfterFunc(pause, func() { e.looking.Store(false) }) }()
		defer limit.Recover(n.log, limit.DNS, nil)
		f, ok := findFlooder(sample(link, e.at))
		if !ok {
			return
		}
		pause = 0
		if e.ignore(f.filter()) {
			n.log.Warn("a client floods the name server: most of what it sends is dropped", "client", f.String())
		}
	}()
}

// A frame is a query's, as far as it says who sent it.
type frame struct {
	mac  [6]byte
	addr netip.Addr
}

// findFlooder finds the one in a whole sample: with fewer frames there is no flood.
func findFlooder(frames []frame) (f flooder, ok bool) {
	if len(frames) < window {
		return f, false
	}
	macs := map[[6]byte]int{}
	for _, fr := range frames {
		macs[fr.mac]++
	}
	mac, sent := most(macs)
	if sent <= window/4*3 || sent == window {
		return f, false // nobody's flood, or nobody else is there
	}
	addrs := map[netip.Addr]int{}
	for _, fr := range frames {
		if fr.mac == mac {
			addrs[fr.addr]++
		}
	}
	f.mac = mac[:]
	if addr, n := most(addrs); n > sent/4*3 {
		f.addr = addr
	}
	return f, true
}

func most[K comparable](counts map[K]int) (key K, n int) {
	for k, c := range counts {
		if c > n {
			key, n = k, c
		}
	}
	return key, n
}

// sample returns a window of the queries that come by a link for an address of ours
// now, or fewer if fewer come within windowTime. Those by TCP tell who else asks.
func sample(link uint32, at netip.AddrPort) []frame {
	proto, source, header := unix.ETH_P_IP, 12, 20
	if at.Addr().Is6() {
		proto, source, header = unix.ETH_P_IPV6, 8, 40
	}
	filter, err := queriesTo(at)
	if err != nil {
		return nil
	}
	c, err := raw.Listen(&net.Interface{Index: int(link)}, raw.Datagram, proto, &raw.Config{Filter: filter})
	if err != nil {
		return nil // no CAP_NET_RAW, or no such link any more
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(windowTime))
	frames := make([]frame, 0, window)
	for buf := make([]byte, header); len(frames) < window; {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			break
		}
		if mac := from.(*raw.Addr).HardwareAddr; n == header && len(mac) == 6 {
			addr, _ := netip.AddrFromSlice(buf[source:][:at.Addr().BitLen()/8])
			frames = append(frames, frame{[6]byte(mac), addr})
		}
	}
	return frames
}

// queriesTo takes UDP and TCP for an address and port, from packets that begin with IP.
func queriesTo(at netip.AddrPort) ([]bpf.RawInstruction, error) {
	protocol, header := uint32(9), bpf.Instruction(bpf.LoadMemShift{Off: 0})
	if at.Addr().Is6() {
		protocol, header = 6, bpf.LoadConstant{Dst: bpf.RegX, Val: 40}
	}
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: protocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipTrue: 1},
		overhear,
		header,
		bpf.LoadIndirect{Off: 2, Size: 2}, // the destination port of both
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(at.Port()), SkipTrue: 1},
		overhear,
	}
	return bpf.Assemble(append(append(prog, toAddr(at.Addr(), hear)...), overhear))
}
