package dnsd

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// The kernel drops what a flooder sends, hears others meanwhile, and the flooder
// again after a while. A change of the configuration between forgets nothing.
func TestIgnoredForAWhile(t *testing.T) {
	needWorld(t)
	cfg := lab()
	s, _ := start(t, resolvConf(t), cfg)
	mac := macOf(t, "guest")
	for at, guest := range map[string]string{"192.168.10.1": "192.168.10.50", "fd00:10::1": "fd00:10::50"} {
		answered := func(netns string) bool {
			return len(dig(t, netns, "@"+at, "+time=1", "+tries=1", "web.lab.test", "A").lines) == 1
		}
		e := s.networks[cfg.Network].listeners[netip.AddrPortFrom(addr(at), 53)].udp
		if !answered("guest") {
			t.Fatalf("%s is not answered", guest)
		}
		e.least = time.Hour
		if !e.ignore(flooder{mac, addr(guest)}.filter()) || e.ignore(flooder{mac, addr("192.168.10.51")}.filter()) {
			t.Error("one at a time is ignored")
		}
		other := cfg
		other.Clients = []netip.Prefix{netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("fd00:10::/64")}
		if err := s.Set(other); err != nil {
			t.Fatal(err)
		}
		if answered("guest") {
			t.Errorf("%s is answered", guest)
		}
		if !answered("neighbour") {
			t.Error("another guest is not answered")
		}
		e.hearAgain()
		e.least, e.over = deafTime, time.Time{}
		e.ignore(flooder{mac, addr(guest)}.filter())
		eventually(t, guest+" is heard again", func() bool { return answered("guest") })
	}
}

// Who floods on as soon as it is heard is not heard for longer each time.
func TestDeafForLongerEachTime(t *testing.T) {
	needWorld(t)
	conn, err := socket{}.listenUDP(mustAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	e := &ears{socks: []*net.UDPConn{conn}, at: mustAddrPort("127.0.0.1:53"), least: deafTime}
	for _, tt := range []struct{ quiet, want time.Duration }{
		{time.Hour, deafTime},
		{deafTime / 2, 2 * deafTime},
		{0, 4 * deafTime},
		{0, deafest},
		{0, deafest},
		{2 * deafTime, deafTime},
	} {
		e.over = time.Now().Add(-tt.quiet)
		if !e.ignore(fromPrefix(netip.MustParsePrefix("192.168.10.50/32"), overhear)) || e.span != tt.want {
			t.Errorf("after %s: deaf for %s, want %s", tt.quiet, e.span, tt.want)
		}
		e.hearAgain()
	}
}
