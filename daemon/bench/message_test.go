//go:build bench

package bench

import "encoding/binary"

const (
	headersLen = 14 + 20 + 8
	dhcpLen    = 240
)

func mac(n int) [6]byte { return [6]byte{0x52, 0x54, 0, byte(n >> 16), byte(n >> 8), byte(n)} }

// home is the address of a client in a pool where everybody has one.
func home(n int) [4]byte { return [4]byte{10, 99, byte(1 + n>>8), byte(n)} }

// asked are the options that udhcpc asks for.
var asked = []byte{55, 7, 1, 3, 6, 12, 15, 28, 42}

// appendFrame adds a client's broadcast, with the options of a usual client and
// a hostname if it is named. The UDP checksum is left out, as RFC 768 allows.
func appendFrame(b []byte, n int, kind byte, addr, server [4]byte, named bool) []byte {
	hw := mac(n)
	b = b[:headersLen+dhcpLen]
	clear(b)
	m := b[headersLen:]
	m[0], m[1], m[2] = 1, 1, 6
	binary.BigEndian.PutUint32(m[4:], uint32(n))
	copy(m[28:], hw[:])
	copy(m[236:], []byte{0x63, 0x82, 0x53, 0x63})
	b = append(b, 53, 1, kind)
	b = append(append(b, 61, 7, 1), hw[:]...)
	if addr != ([4]byte{}) {
		b = append(append(b, 50, 4), addr[:]...)
	}
	if server != ([4]byte{}) {
		b = append(append(b, 54, 4), server[:]...)
	}
	b = append(b, 57, 2, 2, 64)
	if named {
		b = append(b, 12, 6, 'g', digit(n/10000), digit(n/1000), digit(n/100), digit(n/10), digit(n))
	}
	b = append(append(b, asked...), 255)
	fillHeaders(b, hw)
	return b
}

func digit(n int) byte { return byte('0' + n%10) }

func fillHeaders(b []byte, hw [6]byte) {
	copy(b, []byte{255, 255, 255, 255, 255, 255})
	copy(b[6:], hw[:])
	b[12] = 8
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[16:], []byte{255, 255, 255, 255})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum))
	udp := ip[20:]
	udp[1], udp[3] = 68, 67
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
}

// A reply is what a client reads of a server's message.
type reply struct {
	client       int
	kind         byte
	addr, server [4]byte
}

// parse reads a frame; false if it is no server's message to a client.
func parse(b []byte) (r reply, ok bool) {
	if len(b) < headersLen+dhcpLen || b[23] != 17 || b[36] != 0 || b[37] != 68 {
		return r, false
	}
	m := b[headersLen:]
	r.client = int(binary.BigEndian.Uint32(m[4:]))
	copy(r.addr[:], m[16:])
	for o := m[dhcpLen:]; len(o) >= 2 && o[0] != 255 && len(o) >= 2+int(o[1]); o = o[2+int(o[1]):] {
		switch {
		case o[0] == 53 && o[1] == 1:
			r.kind = o[2]
		case o[0] == 54 && o[1] == 4:
			copy(r.server[:], o[2:])
		}
	}
	return r, m[0] == 2
}
