package dhcpd

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	etherIPv4 = unix.ETH_P_IP
	etherARP  = unix.ETH_P_ARP

	ethLen     = 14
	ipLen      = 20
	udpLen     = 8
	headersLen = ethLen + ipLen + udpLen

	serverPort = 67
	clientPort = 68
)

var broadcastMAC = lease.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// requestFilter lets whole UDP packets to port 67 through. The socket is bound
// to IPv4's EtherType, so a frame begins with an untagged Ethernet header.
var requestFilter = assemble(
	bpf.LoadAbsolute{Off: ethLen + 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: ethLen + 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4}, // a fragment
	bpf.LoadMemShift{Off: ethLen},
	bpf.LoadIndirect{Off: ethLen + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: serverPort, SkipTrue: 1},
	bpf.RetConstant{Val: 65535},
	bpf.RetConstant{Val: 0},
)

// arpReplyFilter lets ARP replies (RFC 826, opcode 2) through.
var arpReplyFilter = assemble(
	bpf.LoadAbsolute{Off: ethLen + 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 2, SkipTrue: 1},
	bpf.RetConstant{Val: 64},
	bpf.RetConstant{Val: 0},
)

func assemble(program ...bpf.Instruction) []bpf.RawInstruction {
	raw, err := bpf.Assemble(program)
	if err != nil {
		panic("dhcpd: " + err.Error())
	}
	return raw
}

// frame4 is an Ethernet frame with a UDP packet, taken apart.
type frame4 struct {
	mac      lease.MAC // the source's
	src, dst netip.Addr
	payload  []byte
}

// parseFrame takes apart an Ethernet frame with a whole UDP packet to port 67.
// Checksums are not verified: a guest's offloading interface leaves them to
// hardware that is not there.
func parseFrame(b []byte) (f frame4, ok bool) {
	if len(b) < headersLen || binary.BigEndian.Uint16(b[12:]) != etherIPv4 || b[6]&1 != 0 {
		return f, false
	}
	ip := b[ethLen:]
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || header < ipLen || total > len(ip) || total < header+udpLen || ip[9] != unix.IPPROTO_UDP ||
		binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return f, false
	}
	udp := ip[header:total]
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != serverPort || size < udpLen || size > len(udp) {
		return f, false
	}
	copy(f.mac[:], b[6:])
	f.src, f.dst, f.payload = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])), udp[udpLen:size]
	return f, true
}

// fillHeaders writes the headers of a frame with its payload at
// headersLen, with complete checksums (RFC 791 §3.1, RFC 768).
func fillHeaders(b []byte, srcMAC, dstMAC lease.MAC, src, dst netip.AddrPort) {
	copy(b, dstMAC[:])
	copy(b[6:], srcMAC[:])
	binary.BigEndian.PutUint16(b[12:], etherIPv4)

	ip := b[ethLen:]
	clear(ip[:ipLen+udpLen])
	from, to := src.Addr().As4(), dst.Addr().As4()
	ip[0] = 4<<4 | ipLen/4
	ip[1] = 0x10 // low delay, as other DHCP servers send
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[8] = 64
	ip[9] = unix.IPPROTO_UDP
	copy(ip[12:], from[:])
	copy(ip[16:], to[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip[:ipLen]))

	udp := ip[ipLen:]
	binary.BigEndian.PutUint16(udp, src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	pseudo := sum(uint32(unix.IPPROTO_UDP)+uint32(len(udp)), ip[12:20])
	check := ^sum(uint32(pseudo), udp)
	if check == 0 {
		check = 0xffff // 0 says "not computed" (RFC 768)
	}
	binary.BigEndian.PutUint16(udp[6:], check)
}

// sum is the ones' complement sum of RFC 1071, continued from start.
func sum(start uint32, b []byte) uint16 {
	s := uint64(start)
	for ; len(b) > 1; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
