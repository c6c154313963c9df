package dnsd

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	raw "github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// sampleSize frames are looked at, or as many as come within sampleTime.
	sampleSize = 512
	sampleTime = 20 * time.Millisecond

	// restTime is between two looks, when the first found a crowd, or nobody else.
	restTime = deafTime
)

// deafen has ears ignore who floods them, and says so once in a while.
func (n *network) deafen(e *ears, client fmt.Stringer, who []bpf.Instruction) {
	if e.ignore(who) && n.floods.OK(time.Now()) {
		n.log.Warn("a client floods the name server: most of what it sends is dropped", "client", client.String())
	}
}

// unmask finds out, beside the work, whether the many who ask at an address are one
// guest. A UDP socket says nobody's MAC; one for frames does, and is dear, so that it
// is open for a moment only.
func (n *network) unmask(e *ears) {
	link := e.link()
	if link == 0 || !e.looking.CompareAndSwap(false, true) {
		return
	}
	go func() {
		mac, ok := loudest(sample(link, e.at))
		if !ok {
			time.AfterFunc(restTime, func() { e.looking.Store(false) })
			return
		}
		n.deafen(e, mac, fromMAC(mac, overhear))
		e.looking.Store(false)
	}()
}

// loudest returns the MAC that nearly all frames are of, though some are not.
func loudest(frames map[string]int) (mac net.HardwareAddr, ok bool) {
	all, most := 0, 0
	for from, n := range frames {
		if all += n; n > most {
			most, mac = n, net.HardwareAddr(from)
		}
	}
	return mac, len(frames) > 1 && all >= leeway && most > all/4*3
}

// sample counts what comes by a link for an address of ours now, by MAC.
func sample(link uint32, at netip.AddrPort) map[string]int {
	proto := unix.ETH_P_IP
	if at.Addr().Is6() {
		proto = unix.ETH_P_IPV6
	}
	filter, err := datagramsTo(at)
	if err != nil {
		return nil
	}
	c, err := raw.Listen(&net.Interface{Index: int(link)}, raw.Datagram, proto, &raw.Config{Filter: filter})
	if err != nil {
		return nil // no CAP_NET_RAW, or no such link any more
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(sampleTime))
	frames := map[string]int{}
	for range sampleSize {
		_, from, err := c.ReadFrom(make([]byte, 1))
		if err != nil {
			break
		}
		frames[string(from.(*raw.Addr).HardwareAddr)]++
	}
	return frames
}

// datagramsTo takes UDP for an address and port, from packets that begin with IP.
func datagramsTo(at netip.AddrPort) ([]bpf.RawInstruction, error) {
	protocol, header := uint32(9), bpf.Instruction(bpf.LoadMemShift{Off: 0})
	if at.Addr().Is6() {
		protocol, header = 6, bpf.LoadConstant{Dst: bpf.RegX, Val: 40}
	}
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: protocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
		overhear,
		header,
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(at.Port()), SkipTrue: 1},
		overhear,
	}
	return bpf.Assemble(append(append(prog, toAddr(at.Addr(), hear)...), overhear))
}
