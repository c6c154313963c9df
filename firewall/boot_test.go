package firewall

import (
	"slices"
	"testing"

	"github.com/vnetd/vnetd/firewall/example"
	"github.com/vnetd/vnetd/netdrv"
)

// On a limited network guests reach TFTP and HTTP, on the port of the definition, if the host
// serves boot files there, and do not if the definition names another server.
func TestBootFilesAreAmongTheServices(t *testing.T) {
	for name, c := range map[string]struct {
		boot *netdrv.Boot
		want []string
	}{
		"none":         {nil, []string{"tcp/53", "udp/53", "udp/67"}},
		"served":       {&netdrv.Boot{Root: "/srv/boot"}, []string{"tcp/53", "tcp/80", "udp/53", "udp/67", "udp/69"}},
		"another port": {&netdrv.Boot{Root: "/srv/boot", HTTPPort: 8080}, []string{"tcp/53", "tcp/8080", "udp/53", "udp/67", "udp/69"}},
		"only named":   {&netdrv.Boot{Files: []netdrv.BootFile{{File: "pxelinux.0"}}}, []string{"tcp/53", "udp/53", "udp/67"}},
	} {
		n := example.Network("lab", netdrv.Isolated, "lab0", "192.168.10.1/24")
		n.Subnets[0].DHCP = &netdrv.DHCP{Boot: c.boot}
		var got []string
		for _, s := range joined(servedByUs(&n)) {
			got = append(got, s.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
