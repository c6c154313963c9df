package dhcpd

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	etherIPv6 = unix.ETH_P_IPV6

	ip6Len      = 40
	payload6    = ethLen + ip6Len
	headers6Len = payload6 + udpLen

	server6Port  = 547
	client6Port  = 546
	solicitation = 133 // ICMPv6: router solicitation
	neighborHops = 255 // RFC 4861 §6.1.2: proof that no router has forwarded it
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = lease.MAC{0x33, 0x33, 0, 0, 0, 1}
	// The groups to which guests send: all routers, all DHCP servers and relays;
	// and to which relays may: all DHCP servers.
	askedGroups = []netip.Addr{netip.MustParseAddr("ff02::2"), netip.MustParseAddr("ff02::1:2"), netip.MustParseAddr("ff05::1:3")}
)

// request6Filter lets UDP packets to port 547 and router solicitations through
// without extension headers, which no client sends.
var request6Filter = assemble(
	bpf.LoadAbsolute{Off: ethLen + 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 3},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 5},
	bpf.LoadAbsolute{Off: payload6 + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: server6Port, SkipTrue: 2, SkipFalse: 3},
	bpf.LoadAbsolute{Off: payload6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: solicitation, SkipTrue: 1},
	bpf.RetConstant{Val: 65535},
	bpf.RetConstant{Val: 0},
)

// frame6 is an Ethernet frame with an IPv6 packet, taken apart.
type frame6 struct {
	mac      lease.MAC // the source's
	src, dst netip.Addr
	hops     uint8
	icmp     []byte // one of these two
	dhcp     []byte
}

// parseFrame6 takes apart a frame with a whole UDP packet to port 547, or with
// an ICMPv6 message. Checksums are not verified, as in parseFrame.
func parseFrame6(b []byte) (f frame6, ok bool) {
	if len(b) < payload6 || binary.BigEndian.Uint16(b[12:]) != etherIPv6 || b[6]&1 != 0 {
		return f, false
	}
	ip := b[ethLen:]
	size := int(binary.BigEndian.Uint16(ip[4:]))
	if ip[0]>>4 != 6 || ip6Len+size > len(ip) {
		return f, false
	}
	copy(f.mac[:], b[6:])
	f.hops = ip[7]
	f.src, f.dst = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
	payload := ip[ip6Len : ip6Len+size]
	switch ip[6] {
	case unix.IPPROTO_ICMPV6:
		f.icmp = payload
		return f, true
	case unix.IPPROTO_UDP:
		if len(payload) < udpLen {
			return f, false
		}
		size := int(binary.BigEndian.Uint16(payload[4:]))
		if binary.BigEndian.Uint16(payload[2:]) != server6Port || size < udpLen || size > len(payload) {
			return f, false
		}
		f.dhcp = payload[udpLen:size]
		return f, !f.src.IsMulticast() && !f.src.IsUnspecified()
	}
	return f, false
}

// fillIPv6 writes the Ethernet and IPv6 headers of a frame with its payload at payload6.
func fillIPv6(b []byte, srcMAC, dstMAC lease.MAC, src, dst netip.Addr, protocol, hops uint8) {
	copy(b, dstMAC[:])
	copy(b[6:], srcMAC[:])
	binary.BigEndian.PutUint16(b[12:], etherIPv6)
	ip := b[ethLen:]
	from, to := src.As16(), dst.As16()
	copy(ip, []byte{6 << 4, 0, 0, 0})
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ip6Len))
	ip[6], ip[7] = protocol, hops
	copy(ip[8:], from[:])
	copy(ip[24:], to[:])
}

// sum6 is the checksum of the payload of a frame with a complete IPv6 header
// (RFC 8200 §8.1); the checksum's own place must be zero.
func sum6(b []byte) uint16 {
	payload := b[payload6:]
	pseudo := sum(uint32(b[ethLen+6])+uint32(len(payload)), b[ethLen+8:payload6])
	check := ^sum(uint32(pseudo), payload)
	if check == 0 {
		check = 0xffff // UDP must have one, and for ICMPv6 it is the same
	}
	return check
}

// fillDHCPv6 writes all headers of a reply with its message at headers6Len.
func fillDHCPv6(b []byte, srcMAC, dstMAC lease.MAC, src netip.Addr, dst netip.AddrPort) {
	fillIPv6(b, srcMAC, dstMAC, src, dst.Addr(), unix.IPPROTO_UDP, 64)
	udp := b[payload6:]
	binary.BigEndian.PutUint16(udp, server6Port)
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	udp[6], udp[7] = 0, 0
	binary.BigEndian.PutUint16(udp[6:], sum6(b))
}

// neighborFrame is a frame with an ICMPv6 message of neighbor discovery.
func neighborFrame(message []byte, srcMAC, dstMAC lease.MAC, src, dst netip.Addr) []byte {
	b := append(make([]byte, payload6, payload6+len(message)), message...)
	fillIPv6(b, srcMAC, dstMAC, src, dst, unix.IPPROTO_ICMPV6, neighborHops)
	icmp := b[payload6:]
	icmp[2], icmp[3] = 0, 0
	binary.BigEndian.PutUint16(icmp[2:], sum6(b))
	return b
}
