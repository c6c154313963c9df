package daemon_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// A guest asks from hundreds of addresses for names that are not answered, as fast as it
// can. A guest of the same network, and one of another, are answered meanwhile: the
// queries of invented addresses count for the port that they come by.
func TestForwardingIsShared(t *testing.T) {
	nettest.Need(t, "udhcpc", "dig")
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	for i := range 2 {
		d.CtlInput(t, fmt.Sprintf(`
name: lab%d
mode: nat
bridge: {name: lab%d}
subnets:
  - address: 192.168.1%d.1/24
    dhcp: {ranges: [{start: 192.168.1%d.100, end: 192.168.1%d.200}]}
  - address: fd00:1%d::1/64
dns: {domain: lab%d.test, forwarders: [{domain: silent.example, address: "203.0.113.77"}]}
`, i, i, i, i, i, i, i), "network", "create", "-f", "-")
	}
	hostile, _ := guest(t, w, "hostile", "lab0")
	near, _ := guest(t, w, "near", "lab0")
	far, _ := guest(t, w, "far", "lab1")
	mac, _ := net.ParseMAC(hostile.MAC)
	var bridge net.HardwareAddr
	if err := w.Host.Do(func() error {
		ifi, err := net.InterfaceByName("lab0")
		if err == nil {
			bridge = ifi.HardwareAddr
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	bad := newWire(t, hostile)
	gateway := netip.MustParseAddrPort("192.168.10.1:53")
	stop, done := make(chan struct{}), make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !over(stop); i++ {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 10, byte(2 + i%97)}), uint16(1024+rand.IntN(60000)))
			from := mac
			if i%3 == 0 { // and some with invented MACs
				from = invented()
			}
			bad.send(frame4(from, bridge, src, gateway, query(fmt.Sprintf("r%d.silent.example.", rand.Uint64()), dns.TypeA)))
			if i == 5000 {
				close(sent)
			}
			if i%10 == 0 {
				time.Sleep(time.Millisecond) // below what counts as a flood
			}
		}
	}()
	<-sent
	for _, g := range []struct {
		*nettest.Guest
		server string
	}{{near, "192.168.10.1"}, {far, "192.168.11.1"}} {
		for i := range 8 {
			for _, more := range []string{"", "+tcp "} {
				name := fmt.Sprintf("n%d%s.example.org", i, strings.Trim(more, "+ "))
				if out := g.Run(t, fmt.Sprintf("dig +tries=1 +time=3 %s@%s %s", more, g.server, name)); !strings.Contains(out, "status: NXDOMAIN") {
					t.Errorf("%s, asked of %s:\n%s", name, g.server, out)
				}
			}
		}
	}
	close(stop)
	<-done
}
