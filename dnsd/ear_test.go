package dnsd

import (
	"hash/maphash"
	"net/netip"
	"testing"
	"time"
)

// A flooder is who sends nearly all while others ask, too.
func TestFlooder(t *testing.T) {
	one, two := addr("192.168.10.50"), addr("fd00:10::51")
	for name, tt := range map[string]struct {
		second int // of ten packets
		want   netip.Addr
	}{
		"alone": {0, netip.Addr{}}, "one and somebody": {1, one}, "two alike": {5, netip.Addr{}}, "the second": {9, two},
	} {
		f := fairness{seed: maphash.MakeSeed()}
		found := netip.Addr{}
		for i := range 3 * window {
			from := one
			if i%10 < tt.second {
				from = two
			}
			f.admit(from)
			if client, ok := f.flooder(); ok {
				found = client
			}
		}
		if found != tt.want {
			t.Errorf("%s: %v, want %v", name, found, tt.want)
		}
	}
}

// The kernel drops what a flooder sends, hears others meanwhile, and the flooder
// again after a while. A change of the configuration between forgets nothing.
func TestIgnoredForAWhile(t *testing.T) {
	needWorld(t)
	cfg := lab()
	s, _ := start(t, resolvConf(t), cfg)
	for at, guest := range map[string]string{"192.168.10.1": "192.168.10.50", "fd00:10::1": "fd00:10::50"} {
		answered := func(netns string) bool {
			return len(dig(t, netns, "@"+at, "+time=1", "+tries=1", "web.lab.test", "A").lines) == 1
		}
		each := func(f func(*ear)) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, e := range s.networks[cfg.Network].listeners[netip.AddrPortFrom(addr(at), 53)].udp {
				f(e)
			}
		}
		if !answered("guest") {
			t.Fatalf("%s is not answered", guest)
		}
		each(func(e *ear) {
			if !e.ignore(addr(guest), time.Hour) || e.ignore(addr("192.168.10.51"), time.Hour) {
				t.Error("one at a time is ignored")
			}
		})
		other := cfg
		other.Clients = []netip.Prefix{netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("fd00:10::/64")}
		if err := s.Set(other); err != nil {
			t.Fatal(err)
		}
		if answered("guest") {
			t.Errorf("%s is answered", guest)
		}
		if at == "192.168.10.1" && !answered("neighbour") {
			t.Error("another guest is not answered")
		}
		each((*ear).hearAgain)
		each(func(e *ear) { e.ignore(addr(guest), time.Millisecond) })
		eventually(t, guest+" is heard again", func() bool { return answered("guest") })
	}
}
