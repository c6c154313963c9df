package dhcpd

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/internal/limit"
)

// Whatever step of a frame's way breaks, it costs that frame: no lock stays held, and
// the panic is counted. The links lack the parts that the steps use.
func TestPanicCostsOneFrame(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	mac := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	discover, err := dhcpv4.NewDiscovery(mac)
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, headersLen)
	frame = append(frame, discover.ToBytes()...)
	fillHeaders(frame, lease.MAC(mac), broadcastMAC, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"))
	solicit, err := dhcpv6.NewSolicit(mac)
	if err != nil {
		t.Fatal(err)
	}
	frame6 := append(make([]byte, headers6Len), solicit.ToBytes()...)
	fillDHCPv6(frame6, lease.MAC(mac), lease.MAC(mac), netip.MustParseAddr("fe80::1"), netip.MustParseAddrPort("[fe80::2]:547"))

	l := &link{base: &base{log: quiet, counters: &counters{counts: map[Event]uint64{}}, ifi: &net.Interface{}}}
	l.prober = &prober{log: quiet, where: limit.DHCP4, open: map[netip.Addr]*probe{}}
	l6 := &link6{base: &base{log: quiet, counters: &counters{counts: map[Event]uint64{}}, ifi: &net.Interface{}}, pool: &v6.Pool{}}
	in := &ingress{log: quiet, where: limit.DHCP4, circuit: func([]byte) fair.Circuit { panic("circuit") }, dropped: func() {}}
	addr := netip.MustParseAddr("192.0.2.1")
	broken := func() { l.withPool(func(*v4.Pool) { panic("pool") }) }
	probing := func() *probe {
		q := &probe{
			timer: time.NewTimer(time.Hour), accept: func(lease.MAC) bool { return true },
			used: func(lease.MAC) { broken() }, unused: broken,
		}
		l.prober.open[addr] = q
		return q
	}
	free := func() bool {
		ok := l.mu.TryLock() && l.prober.mu.TryLock()
		l.mu.Unlock()
		l.prober.mu.Unlock()
		return ok
	}
	free6 := func() bool { ok := l6.mu.TryLock(); l6.mu.Unlock(); return ok }
	for name, c := range map[string]struct {
		do   func()
		at   limit.Component
		free func() bool
	}{
		"a frame is queued":      {func() { in.take(frame, time.Now()) }, limit.DHCP4, free},
		"DHCPv4":                 {func() { l.handle(fair.Origin{}, frame) }, limit.DHCP4, free},
		"DHCPv6":                 {func() { l6.handle(fair.Origin{}, frame6) }, limit.DHCP6, free6},
		"a probe's time is over": {func() { l.prober.timeout(addr, probing()) }, limit.DHCP4, free},
		"a probe is answered":    {func() { probing(); l.prober.replied(addr, lease.MAC{1}) }, limit.DHCP4, free},
	} {
		before := limit.Panics()[c.at]
		c.do()
		if n := limit.Panics()[c.at] - before; n != 1 {
			t.Errorf("%s: %d panics were counted", name, n)
		}
		if !c.free() {
			t.Errorf("%s: the lock stays held", name)
		}
	}
}
