package daemon_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// wideNetwork is one in which there are more addresses than the host's neighbour table holds.
const wideNetwork = `
name: %s
mode: %s
bridge: {name: %s, mac: "02:00:00:00:0a:0%d"}
subnets:
  - {address: 10.%d.0.1/16, dhcp: {ranges: [{start: 10.%[5]d.1.1, end: 10.%[5]d.1.200}]}}
  - {address: "fd00:%[5]d::1/64", slaac: true}
`

// A guest that invents source addresses, or sends to addresses that are not there, makes the
// host create a bounded number of neighbour entries, by each packet that makes some. The table
// is one for all namespaces of the machine: the flood stays below its size, without the rules too.
func TestNeighbourEntriesAreLimited(t *testing.T) {
	nettest.Need(t, "udhcpc", "ping", "dig")
	const flood, limit4, limit6 = 850, 256, 512
	attack := func(name, mode string, limit int, of func(mac string, i int) []byte) {
		t.Run(mode+"/"+name, func(t *testing.T) {
			w := nettest.New(t)
			d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
			d.CtlInput(t, fmt.Sprintf(wideNetwork, "wide", mode, "wide0", 1, 40), "network", "create", "-f", "-")
			d.CtlInput(t, fmt.Sprintf(wideNetwork, "side", "route", "side0", 2, 41), "network", "create", "-f", "-")
			known, _ := guest(t, w, "known", "wide0")
			// Not ping: the replies that wait for invented neighbours use up the kernel's ICMP socket for 3 s.
			asks := func() { known.Run(t, "dig +tries=1 +time=2 @10.40.0.1 gateway.wide A") }
			asks()
			g, _ := guest(t, w, "hostile", "wide0")
			wire := openCable(t, g.Namespace, "eth0")
			begin := time.Now()
			for i := range flood {
				if err := wire.send(of(g.MAC, i)); err != nil {
					t.Fatal(err)
				}
				if i%50 == 0 {
					// Not ping: the replies that wait for invented neighbours use up the kernel's ICMP socket for 3 s.
					asks := func() { known.Run(t, "dig +tries=1 +time=2 @10.40.0.1 gateway.wide A") }
					asks()
				}
			}
			made := 0
			for _, family := range []string{"-4", "-6"} {
				out := w.Host.Run(t, "ip "+family+" neigh show nud all")
				made += strings.Count(out, "10.40.2") + strings.Count(out, "10.41.2") + strings.Count(out, "::beef:")
			}
			// A part of the burst shows that packets of this kind make entries.
			if most := limit + 4*int(time.Since(begin)/time.Second+1); made > most || made < limit/4 {
				t.Errorf("%d packets made %d entries, want at most %d, and no less than %d", flood, made, most, limit/4)
			}
			asks()
			other, _ := guest(t, w, "other", "side0")
			other.Run(t, "dig +tries=1 +time=2 @10.41.0.1 gateway.side A")
			nettest.Eventually(t, "a new guest of another network is answered", func() error {
				_, err := other.Try(t.Context(), "ping -c 1 -W 1 10.41.0.1 && ping -6 -c 1 -W 1 fd00:41::1")
				return err
			})
		})
	}
	const gateway4, gateway6 = "10.40.0.1", "fd00:40::1"
	source4 := func(i int) string { return fmt.Sprintf("10.40.2%02d.%d", i/200, 1+i%200) }
	source6 := func(i int) string { return fmt.Sprintf("fd00:40::beef:%x", i+1) }
	for _, mode := range []string{"nat", "route", "isolated"} {
		attack("echo from invented sources", mode, limit4, func(mac string, i int) []byte {
			return toGateway4(mac, source4(i), gateway4, 1, echo4)
		})
		attack("neighbour solicitations from invented sources", mode, limit6, func(mac string, i int) []byte {
			return toGateway6(mac, source6(i), gateway6, 58, solicitation(gateway6, mac))
		})
	}
	attack("DNS from invented sources", "nat", limit4, func(mac string, i int) []byte {
		return toGateway4(mac, source4(i), gateway4, 17, askA)
	})
	attack("refusals for invented sources", "isolated", limit4, func(mac string, i int) []byte {
		return toGateway4(mac, source4(i), "203.0.113.1", 1, echo4)
	})
	attack("to its own subnet", "nat", limit4, func(mac string, i int) []byte {
		return toGateway4(mac, "10.40.0.9", source4(i), 1, echo4)
	})
	for _, mode := range []string{"nat", "route"} {
		attack("to another network", mode, limit4, func(mac string, i int) []byte {
			return toGateway4(mac, "10.40.0.9", strings.Replace(source4(i), "10.40.", "10.41.", 1), 1, echo4)
		})
		attack("to another network in IPv6", mode, limit6, func(mac string, i int) []byte {
			return toGateway6(mac, "fd00:40::9", strings.Replace(source6(i), ":40:", ":41:", 1), 58, []byte{128, 0, 0, 0, 0, 1, 0, 1})
		})
	}
}

// echo4 is an echo request with its checksum.
var echo4 = []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}

// askA is a DNS query for gateway.wide in UDP without a checksum.
var askA = append([]byte{0x99, 0x99, 0, 53, 0, 38, 0, 0}, "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07gateway\x04wide\x00\x00\x01\x00\x01"...)

const wideMAC = "02:00:00:00:0a:01"

func toGateway4(mac, src, dst string, protocol byte, payload []byte) []byte {
	b := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 1, 0, 0, 64, protocol, 0, 0}
	b = append(append(b, netip.MustParseAddr(src).AsSlice()...), netip.MustParseAddr(dst).AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], onesComplement(b))
	return ethernet(wideMAC, mac, unix.ETH_P_IP, b, payload)
}

// toGateway6 fills in the checksum of ICMPv6.
func toGateway6(mac, src, dst string, next byte, payload []byte) []byte {
	addrs := append(netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice()...)
	binary.BigEndian.PutUint16(payload[2:], 0)
	binary.BigEndian.PutUint16(payload[2:], onesComplement(append([]byte{0, 0, 0, byte(len(payload)), 0, 0, 0, next}, append(addrs, payload...)...)))
	return ethernet(wideMAC, mac, unix.ETH_P_IPV6, []byte{0x60, 0, 0, 0, 0, byte(len(payload)), next, 255}, addrs, payload)
}

// solicitation has the option with the sender's MAC, of which the host makes an entry at once.
func solicitation(target, mac string) []byte {
	b := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
	return append(append(b, 1, 1), hw(mac)...)
}

// onesComplement is the Internet checksum (RFC 1071) of an even number of octets.
func onesComplement(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
