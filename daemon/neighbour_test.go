package daemon_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

// While a guest invents source addresses, or sends to addresses that are not there, by each
// kind of packet that makes neighbour entries, the kernel's table does not fill up: guests of
// its own network and new ones of another are served, also one with a static address that the
// daemon does not know, and the host reaches them. The table is one for all namespaces of
// the machine, so its limit is the machine's own.
func TestNeighbourEntriesAreShared(t *testing.T) {
	nettest.Need(t, "udhcpc", "ping", "dig")
	const rate, limit = 5000, 1000 // packets a second; gc_thresh3 is 1024
	flood := func(name string, of func(mac string, i int) []byte) {
		t.Run(name, func(t *testing.T) {
			w := nettest.New(t)
			d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
			d.CtlInput(t, fmt.Sprintf(wideNetwork, "wide", "nat", "wide0", 1, 40), "network", "create", "-f", "-")
			d.CtlInput(t, fmt.Sprintf(wideNetwork, "side", "route", "side0", 2, 41), "network", "create", "-f", "-")
			beside, lease := guest(t, w, "beside", "wide0")
			hostile, _ := guest(t, w, "hostile", "wide0")
			wire := openCable(t, hostile.Namespace, "eth0")
			stop := make(chan struct{})
			var sends sync.WaitGroup
			var sent atomic.Int64
			over := sync.OnceFunc(func() { close(stop); sends.Wait() })
			t.Cleanup(over)
			sends.Go(func() {
				begin, i := time.Now(), 0
				for {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
					for due := int(time.Since(begin).Seconds() * rate); i < due; i++ {
						_ = wire.send(of(hostile.MAC, i%12500))
						sent.Add(1)
					}
				}
			})
			made := func() int {
				out := w.Host.Run(t, "ip -4 neigh show nud all; ip -6 neigh show nud all")
				return strings.Count(out, "10.40.2") + strings.Count(out, "10.41.2") + strings.Count(out, "::beef:")
			}
			nettest.Eventually(t, "status names the network", func() error {
				if got := d.Ctl(t, "status"); !strings.Contains(got, "too many neighbour entries") {
					return fmt.Errorf("%d entries; status says %s", made(), got)
				}
				return nil
			})
			if got := d.Ctl(t, "status"); !strings.Contains(got, "is deleted: network wide") && !strings.Contains(got, "is deleted: network side") {
				t.Errorf("status says %s", got)
			}
			time.Sleep(time.Second) // in which the rules come, and the surplus is deleted
			other, _ := guest(t, w, "other", "side0")
			nettest.Eventually(t, "the new guest has IPv6", func() error {
				_, err := other.Try(t.Context(), "ping -6 -c 1 -W 1 fd00:41::1")
				return err
			})
			beside.Run(t, "ip addr add 10.40.3.3/16 dev eth0")
			entries, packets := newNeighbours(t), sent.Load()
			for range 5 {
				other.Run(t, "dig +tries=1 +time=2 @10.41.0.1 gateway.side A")
				other.Run(t, "ip neigh flush dev eth0; ping -c 1 -W 2 10.41.0.1 && ping -6 -c 1 -W 2 fd00:41::1")
				beside.Run(t, "dig +tries=1 +time=2 @10.40.0.1 gateway.wide A")
				beside.Run(t, "ping -c 1 -W 2 10.40.0.1 && ping -6 -c 1 -W 2 fd00:40::1")
				beside.Run(t, "ping -c 1 -W 2 -I 10.40.3.3 10.40.0.1")
				w.Host.Run(t, fmt.Sprintf("ip neigh flush to %[1]s; ping -c 1 -W 2 %[1]s", lease.Address.Addr()))
				if n := made(); n >= limit {
					t.Errorf("%d entries of invented addresses", n)
				}
			}
			entries, packets = newNeighbours(t)-entries, sent.Load()-packets
			if entries > packets/4 {
				t.Errorf("%d packets of the flood made %d entries", packets, entries)
			}
			over()
			nettest.Eventually(t, "nothing is said about neighbours any more", func() error {
				if got := d.Ctl(t, "status"); strings.Contains(got, "neighbour entries") {
					return fmt.Errorf("status says %s", got)
				}
				if got := w.Host.Run(t, "nft list ruleset"); strings.Contains(got, "neighbour") {
					return fmt.Errorf("the rules are\n%s", got)
				}
				return nil
			})
			if strings.Contains(d.Log(), "found changed by others") {
				t.Error("the rules under pressure were taken for a change by others")
			}
			if n := strings.Count(d.Log(), "more than its share of neighbour entries, of"); n != 1 {
				t.Errorf("%d warnings about one flood", n)
			}
		})
	}
	const gateway4, gateway6 = "10.40.0.1", "fd00:40::1"
	source4 := func(i int) string { return fmt.Sprintf("10.40.%d.%d", 200+i/250%50, 1+i%250) }
	source6 := func(i int) string { return fmt.Sprintf("fd00:40::beef:%x", i+1) }
	flood("echo from invented sources", func(mac string, i int) []byte {
		return toGateway4(mac, source4(i), gateway4, 1, echo4)
	})
	flood("DNS from invented sources", func(mac string, i int) []byte {
		return toGateway4(mac, source4(i), gateway4, 17, askA)
	})
	flood("ARP from invented senders", func(mac string, i int) []byte {
		return askARP(mac, source4(i), gateway4)
	})
	flood("to another network", func(mac string, i int) []byte {
		return toGateway4(mac, "10.40.0.9", strings.Replace(source4(i), "10.40.", "10.41.", 1), 1, echo4)
	})
	flood("neighbour solicitations from invented sources", func(mac string, i int) []byte {
		return toGateway6(mac, source6(i), gateway6, 58, solicitation(gateway6, mac))
	})
	flood("to another network in IPv6", func(mac string, i int) []byte {
		return toGateway6(mac, "fd00:40::9", strings.Replace(source6(i), ":40:", ":41:", 1), 58, []byte{128, 0, 0, 0, 0, 1, 0, 1})
	})
}

// newNeighbours is how many entries the kernel has made in both tables since the boot, in all
// namespaces; 0 where that cannot be read.
func newNeighbours(t *testing.T) (n int64) {
	t.Helper()
	for _, table := range []string{"arp_cache", "ndisc_cache"} {
		b, err := os.ReadFile("/proc/1/net/stat/" + table)
		if err != nil {
			return 0
		}
		for line := range strings.Lines(string(b)) { // of each processor, below the headings
			if made, err := strconv.ParseInt(strings.Fields(line)[1], 16, 64); err == nil {
				n += made
			}
		}
	}
	return n
}

// askARP is a broadcast request for the gateway's MAC.
func askARP(mac, src, dst string) []byte {
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, hw(mac)...)
	b = append(b, netip.MustParseAddr(src).AsSlice()...)
	b = append(append(b, make([]byte, 6)...), netip.MustParseAddr(dst).AsSlice()...)
	return ethernet("ff:ff:ff:ff:ff:ff", mac, unix.ETH_P_ARP, b)
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
