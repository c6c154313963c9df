package daemon_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// infrastructure are frames of switches, routers and DHCP servers, from a guest.
func (l *liar) infrastructure() map[string][]byte {
	me, all := l.guest.MAC, "ff02::1"
	tagged := func(typ uint16) []byte { return ethernet(everybody, me, typ, []byte{0, 10, 8, 0}) }
	return map[string][]byte{
		"bpdu":      ethernet("01:80:c2:00:00:00", me, 38, []byte{0x42, 0x42, 3}),
		"pvst":      ethernet("01:00:0c:cc:cc:cd", me, 50, []byte{0xaa, 0xaa, 3, 0, 0, 0x0c, 1, 0x0b}),
		"gvrp":      ethernet("01:80:c2:00:00:21", me, 38, []byte{0x42, 0x42, 3}),
		"vlan":      tagged(0x8100),
		"qinq":      tagged(0x88a8),
		"old qinq":  tagged(0x9100),
		"ra":        ipv6(me, l.ownLocal, all, 58, icmp6(134, "::")),
		"ra atomic": fragment6(me, l.ownLocal, all, 58, 0, icmp6(134, "::")),
		"no header": fragment6(me, l.ownLocal, all, 60, 1, []byte{58, 15, 1, 100, 0, 0, 0, 0}),
		"redirect6": ipv6(me, l.ownLocal, all, 58, icmp6(137, l.ownLocal)),
		"offer":     ipv4(me, l.own, "255.255.255.255", 17, udp(67, 68)),
		"offer 9":   ipv4(me, l.own, "255.255.255.255", 17, udp(9, 68)),
		"reply6":    ipv6(me, l.ownLocal, all, 17, udp(547, 546)),
	}
}

// arrives checks which frames come out of the uplink and to a neighbour.
func (l *liar) arrives(t *testing.T, when string, frames map[string][]byte, want bool) {
	t.Helper()
	uplink, neighbour := l.tell(t, when+" ", frames)
	for mark := range frames {
		if uplink[mark] != want || neighbour[mark] != want {
			t.Errorf("%s: %q leaves by the uplink %t, arrives at the neighbour %t, want %t", when, mark, uplink[mark], neighbour[mark], want)
		}
	}
}

// On a bridge with an uplink, guests are hosts: what belongs to switches, routers and DHCP
// servers neither leaves nor reaches a neighbour, but where the definition allows it. What
// comes from outside passes, and so does what links send that are no guests of vnetd's.
func TestModeBridgeGuards(t *testing.T) {
	nettest.Need(t, "nft", "ip")
	for name, existing := range map[string]bool{"built": false, "existing": true} {
		t.Run(name, func(t *testing.T) {
			w := nettest.New(t)
			for _, table := range []string{"iptables", "ip6tables"} {
				w.Host.Sysctl(t, "net/bridge/bridge-nf-call-"+table, "0")
			}
			outside, g, n := w.Guest(t, "outside"), w.Guest(t, "guest"), w.Guest(t, "neighbour")
			d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
			l := &liar{guest: g, neighbour: n, own: "203.0.113.77", ownLocal: "fe80::ff:fe00:2", otherLocal: "fe80::ff:fe00:3"}
			wire := "eth0"
			if existing {
				w.Host.Bridge(t, "br0")
				w.Host.Enslave(t, outside.Port, "br0")
				w.Host.Enslave(t, n.Port, "br0")
				d.CtlInput(t, "{name: office, mode: bridge, bridge: {name: br0}}", "network", "create", "-f", "-")
				p := createPort(t, d, "office", "--link", "app0", "--mac", g.MAC)
				plug(t, w.Host, p, g, "ip link set vnic up")
				wire = "vnic"
			} else {
				d.CtlInput(t, fmt.Sprintf("{name: office, mode: bridge, bridge: {name: br0, uplinks: [%s]}}", outside.Port), "network", "create", "-f", "-")
				g.Attach(t, "br0")
				n.Attach(t, "br0")
				nettest.Eventually(t, "the guests have rules", func() error {
					if out := w.Host.Run(t, "nft list map bridge vnetd ports || true"); !strings.Contains(out, g.Port) || !strings.Contains(out, n.Port) {
						return fmt.Errorf("they have not:\n%s", out)
					}
					return nil
				})
			}
			l.wire, l.atNeighbour, l.atHost = openCable(t, g.Namespace, wire), openCable(t, outside.Namespace, "eth0"), openCable(t, n.Namespace, "eth0")
			honest := map[string][]byte{
				"any address": ipv4(g.MAC, "198.51.100.9", "255.255.255.255", 17, udp(9, 9)),
				"discover":    ipv4(g.MAC, "0.0.0.0", "255.255.255.255", 17, udp(68, 67)),
				"arp":         arp(g.MAC, g.MAC, "198.51.100.9", "198.51.100.1"),
				"solicits":    ipv6(g.MAC, l.ownLocal, "ff02::2", 58, icmp6(133, "::")),
				"fragment":    fragment6(g.MAC, l.ownLocal, "ff02::1", 17, 1, udp(9, 9)),
			}
			spoofed := map[string][]byte{
				"mac":     ipv4(n.MAC, l.own, "255.255.255.255", 17, udp(9, 9)),
				"arp mac": arp(g.MAC, n.MAC, l.own, "203.0.113.1"),
			}
			l.arrives(t, "at first", l.infrastructure(), false)
			l.arrives(t, "at first", honest, true)
			d.Ctl(t, "network", "set", "office", "filter.allow=[bpdu, vlan, ra, dhcp-server]")
			l.arrives(t, "allowed", l.infrastructure(), true)
			d.Ctl(t, "network", "set", "office", "filter.allow=", "filter.preset=clean-traffic")
			l.arrives(t, "clean", l.infrastructure(), false)
			l.arrives(t, "clean", spoofed, false)
			l.arrives(t, "clean", honest, true)

			// What comes from outside is not the guest's, nor is what another link of the host's bridge sends.
			from := []*nettest.Guest{outside}
			if existing {
				from = append(from, n)
			}
			for _, other := range from {
				at := &liar{guest: other, own: l.own, ownLocal: l.otherLocal, wire: openCable(t, other.Namespace, "eth0"), atNeighbour: l.wire, atHost: l.wire}
				at.arrives(t, "from "+other.Name, at.infrastructure(), true)
			}
			if !existing {
				return
			}
			d.Ctl(t, "port", "set", "app0", `addresses=[203.0.113.77, "2001:db8::77"]`)
			other := "2001:db8::78"
			l.arrives(t, "declared", map[string][]byte{
				"source":  ipv4(g.MAC, "198.51.100.9", "255.255.255.255", 17, udp(9, 9)),
				"arp":     arp(g.MAC, g.MAC, "203.0.113.1", "203.0.113.1"),
				"probe":   arp(g.MAC, g.MAC, "0.0.0.0", "203.0.113.1"),
				"source6": ipv6(g.MAC, other, "ff02::1", 17, udp(9, 9)),
				"claims":  ipv6(g.MAC, l.ownLocal, "ff02::1", 58, icmp6(136, other)),
				"dad":     ipv6(g.MAC, "::", "ff02::1", 58, icmp6(135, other)),
			}, false)
			l.arrives(t, "declared", map[string][]byte{
				"own":      ipv4(g.MAC, l.own, "255.255.255.255", 17, udp(9, 9)),
				"own arp":  arp(g.MAC, g.MAC, l.own, "203.0.113.1"),
				"own6":     ipv6(g.MAC, "2001:db8::77", "ff02::1", 17, udp(9, 9)),
				"own dad":  ipv6(g.MAC, "::", "ff02::1", 58, icmp6(135, "2001:db8::77")),
				"local na": ipv6(g.MAC, l.ownLocal, "ff02::1", 58, icmp6(136, l.ownLocal)),
			}, true)
		})
	}
}
