package dhcpd

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

func reply(payload string) []byte {
	b := append(make([]byte, headersLen), payload...)
	fillHeaders(b, lease.MAC{2, 0, 0, 0, 0, 1}, broadcastMAC, netip.MustParseAddrPort("192.168.10.1:67"), netip.MustParseAddrPort("192.168.10.100:68"))
	return b
}

// A receiver sums what it got, checksum included, and wants all ones (RFC 1071).
func TestChecksumsAreComplete(t *testing.T) {
	for _, payload := range []string{"", "odd", "even", string(bytes.Repeat([]byte{0xff}, 1001))} {
		b := reply(payload)
		ip, udp := b[ethLen:ethLen+ipLen], b[ethLen+ipLen:]
		if got := sum(0, ip); got != 0xffff {
			t.Errorf("%d bytes: the IP header sums up to %#x", len(payload), got)
		}
		pseudo := uint32(17) + uint32(len(udp))
		if got := sum(uint32(sum(pseudo, ip[12:20])), udp); got != 0xffff {
			t.Errorf("%d bytes: the UDP packet sums up to %#x", len(payload), got)
		}
	}
}

func TestParseFrame(t *testing.T) {
	whole := reply("payload")
	binary.BigEndian.PutUint16(whole[ethLen+ipLen+2:], serverPort)
	f, ok := parseFrame(append(bytes.Clone(whole), "padding"...))
	if !ok || f.dst != netip.MustParseAddr("192.168.10.100") || string(f.payload) != "payload" || f.mac != (lease.MAC{2, 0, 0, 0, 0, 1}) {
		t.Errorf("got %+v, %v", f, ok)
	}
	for name, spoil := range map[string]func(b []byte){
		"IPv6":              func(b []byte) { b[12], b[13] = 0x86, 0xdd },
		"a fragment":        func(b []byte) { b[ethLen+6] = 0x20 },
		"TCP":               func(b []byte) { b[ethLen+9] = 6 },
		"to port 68":        func(b []byte) { b[ethLen+ipLen+3] = clientPort },
		"longer than it is": func(b []byte) { b[ethLen+2] = 0xff },
		"a UDP length of 7": func(b []byte) { b[ethLen+ipLen+4], b[ethLen+ipLen+5] = 0, 7 },
	} {
		b := bytes.Clone(whole)
		spoil(b)
		if _, ok := parseFrame(b); ok {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(reply("payload"))
	f.Add(arpProbe(lease.MAC{2}, netip.MustParseAddr("192.168.10.100")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, ok := parseFrame(b); ok && len(got.payload) > len(b)-headersLen {
			t.Errorf("%d bytes of payload out of %d", len(got.payload), len(b))
		}
		parseARPReply(b)
	})
}
