package kernel_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// As many connections of a source end as are asked for, in both families.
func TestEndFlows(t *testing.T) {
	nettest.Need(t, "nft", "ip")
	h := newHost(t)
	h.Run(t, `nft 'table inet track { chain c { type filter hook input priority 0; ct state new accept; }; }'; ip link set lo up; ip addr add fd00::5/128 dev lo nodad`)
	sources := []string{"127.0.0.5", "127.0.0.6", "fd00::5"}
	for _, source := range sources {
		to := map[bool]string{true: "127.0.0.1", false: "fd00::5"}[source != "fd00::5"]
		for port := 9000; port < 9020; port++ {
			c, err := h.ListenPacket("udp", netip.AddrPortFrom(netip.MustParseAddr(source), 0).String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to), uint16(port)))); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
	}
	count := func() (got [3]int) {
		var all map[netip.Addr]int
		h.in(func() (err error) { all, err = h.k.CountFlows(netdrv.FlowOwners{}); return err })
		for i, source := range sources {
			got[i] = all[netip.MustParseAddr(source)]
		}
		return got
	}
	if got := count(); got != [3]int{20, 20, 20} {
		t.Fatalf("sources have %v connections", got)
	}
	h.in(func() error {
		return h.k.EndFlows(netdrv.FlowOwners{}, map[netip.Addr]int{netip.MustParseAddr("127.0.0.6"): 7, netip.MustParseAddr("fd00::5"): 12, netip.MustParseAddr("192.0.2.1"): 3})
	})
	if got := count(); got != [3]int{20, 13, 8} {
		t.Errorf("sources have %v connections", got)
	}
}
