package dhcpd_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// A load of clients, by somebody else's generator, each lease on the disk before
// its ACK or REPLY. For DHCPv4 it is a relay on the link.
func TestPerfdhcp(t *testing.T) {
	six := managed()
	six.V6.Subnets[0].Ranges = []v6.Range{{Start: ip("fd00:10::"), End: ip("fd00:10::ffff:ffff:ffff:ffff")}}
	four := dhcpd.Config{Network: "lab", Interface: "br0", V4: []v4.Config{{
		Server: prefix("192.168.0.1/16"), Ranges: []v4.Range{{Start: ip("192.168.1.0"), End: ip("192.168.254.255")}},
	}}}
	for family, cfg := range map[string]dhcpd.Config{"-4": four, "-6": six} {
		t.Run(family, func(t *testing.T) {
			nettest.Need(t, "perfdhcp", "ip")
			l := newLink(t)
			l.Host.Address(t, "br0", "192.168.0.1/16")
			l.set(t, cfg)
			g := l.guest(t, "load")
			g.Address(t, "eth0", "192.168.0.5/16")
			sees(t, g, "ip -6 addr show dev eth0 scope link -tentative", "inet6 fe80::")
			// 1000 exchanges of 1000 clients, and time for the last to come back.
			p := g.Command(t.Context(), "perfdhcp", strings.Fields(family+" -l eth0 -r 500 -R 1000 -n 1000 -d 10 -W 2000000 all")...)
			out, err := p.CombinedOutput()
			if n := len(regexp.MustCompile(`(?m)^(drops|rejected leases|non unique addresses): 0$`).FindAllString(string(out), -1)); err != nil || n < 4 {
				t.Errorf("%v\n%s", err, out)
			}
			if n := len(l.leases.Leases("lab")); n != 1000 {
				t.Errorf("%d leases", n)
			}
		})
	}
}
