package dnsd

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// An ingress says whose packets are taken: those on lo, and those that come in
// by a link from certain addresses. No link is any, and no clients are all.
//
// The kernel looks before a packet is queued, so what comes in elsewhere to our
// address costs us nothing and gets no answer, which the weak host model of
// Linux would give it. Addresses are looked at so that a guest who writes
// another sender on its queries does not have us flood that one with replies.
type ingress struct {
	link    uint32 // index
	clients []netip.Prefix
}

func (in ingress) equal(o ingress) bool {
	return in.link == o.link && slices.Equal(in.clients, o.clients)
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

var (
	hear     = bpf.RetConstant{Val: 1 << 18} // bytes to keep: all
	overhear = bpf.RetConstant{Val: 0}

	linkLocal = netip.MustParsePrefix("fe80::/10")
)

// filter returns the program for a socket of IPv4 or IPv6; nil takes all.
func (in ingress) filter(v4 bool) ([]bpf.RawInstruction, error) {
	if in.link == 0 {
		return nil, nil
	}
	prog := append([]bpf.Instruction(nil),
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: loopback, SkipTrue: 1},
		hear,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: in.link, SkipTrue: 1},
		overhear,
	)
	if len(in.clients) == 0 {
		return bpf.Assemble(append(prog, hear))
	}
	for _, p := range append([]netip.Prefix{linkLocal}, in.clients...) {
		if p.Addr().Is4() == v4 {
			prog = append(prog, fromPrefix(p, hear)...)
		}
	}
	return bpf.Assemble(append(prog, overhear))
}

// fromPrefix ends with a word on what a prefix sends, and goes on for others.
func fromPrefix(p netip.Prefix, word bpf.Instruction) []bpf.Instruction {
	at := uint32(netHeader + 12)
	if p.Addr().Is6() {
		at = netHeader + 8
	}
	return ofPrefix(p, at, word)
}

// toAddr ends with a word on what is sent to an address, and goes on for others.
func toAddr(a netip.Addr, word bpf.Instruction) []bpf.Instruction {
	at := uint32(netHeader + 16)
	if a.Is6() {
		at = netHeader + 24
	}
	return ofPrefix(netip.PrefixFrom(a, a.BitLen()), at, word)
}

// ofPrefix ends with a word on a packet whose address at that offset is of a prefix.
func ofPrefix(p netip.Prefix, at uint32, word bpf.Instruction) []bpf.Instruction {
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
	return append(prog, word)
}

// attach replaces a socket's filter; an empty one is taken off.
func (in ingress) attach(fd int, v4 bool) error {
	prog, err := in.filter(v4)
	if err != nil {
		return err
	}
	if len(prog) == 0 {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if err == unix.ENOENT {
			err = nil
		}
		return err
	}
	return attachFilter(fd, prog)
}

func attachFilter(fd int, prog []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(prog))
	for i, ins := range prog {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}
